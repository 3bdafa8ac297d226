"""``python -m bench [quiet-night] [first-night] [orchestration] [plan] [bulk] [hubspot] [gate] [page]``."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from bench import bulk, first_night, gate, hubspot, measure, orchestration, page, plan, quiet_night, world

ALL = {
    "quiet-night": quiet_night.figures,
    "first-night": first_night.figures,
    "orchestration": orchestration.figures,
    "plan": plan.figures,
    "bulk": bulk.figures,
    "hubspot": hubspot.figures,
    "gate": gate.figures,
    "page": page.figures,
}


def main() -> None:
    """Measure what was asked for, print each table when it is there, and the JSON line last."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Nightshift on this machine.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(ALL)}; all where absent")
    parser.add_argument("--files", metavar="GLOB", help="invoice files; else those beside the checkout, else a sample")
    parser.add_argument("--runs", type=int, default=3, help="how often each thing is measured (3)")
    parser.add_argument("--records", type=int, help="how many records bulk and hubspot push, in place of their own")
    parser.add_argument("--output", choices=("text", "json"), default="text", help="json: one line and nothing else")
    asked = parser.parse_args()
    if unknown := set(asked.names) - ALL.keys():
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    if asked.runs < 1:
        parser.error("--runs must be 1 or more")
    bench, text = world.choose(asked.files, asked.runs), asked.output == "text"
    bench.records = asked.records
    told: dict[str, Any] = {"machine": measure.machine(), "data": bench.data}
    if text:
        _introduce(told)
    for name in asked.names or ALL:
        bench.load, bench.notes = measure.Load(), []
        figures = ALL[name](bench)
        told[name] = {figure.name.strip(): figure.as_dict() for figure in figures}
        told[name]["load"] = bench.load.seen
        if text:
            measure.show(name, figures, bench.load)
            for note in bench.notes:
                sys.stdout.write(f"{note}\n\n")
        sys.stdout.flush()
    if not text:
        sys.stdout.write(json.dumps(told, ensure_ascii=False) + "\n")


def _introduce(told: dict[str, Any]) -> None:
    machine = told["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    sys.stdout.write(
        f"{machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']}, {machine['date']}\n"
        f"{versions}\ndata: {told['data']}\n\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
