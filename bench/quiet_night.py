"""A night with nothing new, beside `dbt build` of the same project on the same warehouse, plus the imports."""

from __future__ import annotations

from bench.measure import Figure
from bench.world import Bench, around, home, seconds

IMPORTS = ("prefect", "prefect_dbt", "great_expectations", "duckdb", "httpx")


def figures(bench: Bench) -> list[Figure]:
    """Measure, in turn: the night, `dbt build`, the imports."""
    with home() as place:
        bench.night(place)
        bench.dbt_build(place)  # it parses everything once; from then on it parses what changed
        bench.imports(place, *IMPORTS)
        nights, builds, imports, doubled = [], [], [], []
        for _ in range(bench.runs):
            nights.append(bench.night(place))
            builds.append(bench.dbt_build(place))
            imports.append(bench.imports(place, *IMPORTS))
            doubled.append(bench.imports(place, "dbt.cli.main"))
    operations = sum(s["applied"] for _, summary in nights for s in summary["syncs"].values())
    if operations or any(summary["requests"] for _, summary in nights):
        raise SystemExit(f"A quiet night was not quiet: {operations} records were sent.")
    before, after = zip(*(around(done, summary) for done, summary in nights), strict=True)
    stages = [seconds(summary) for _, summary in nights]
    peer = [build.wall + imported.wall for build, imported in zip(builds, imports, strict=True)]
    strict = [both - twice.wall for both, twice in zip(peer, doubled, strict=True)]
    walls = [done.wall for done, _ in nights]
    between = [
        done.wall - b - a - sum(stage.values())
        for (done, _), b, a, stage in zip(nights, before, after, stages, strict=True)
    ]
    return [
        Figure("nightshift run, whole process", walls, at_most=20),
        Figure("  before the flow: imports, server and sandbox start", before),
        *(Figure(f"  {name}", [stage[name] for stage in stages]) for name in stages[0]),
        Figure("  between the stages", between),
        Figure("  after the flow: queues, server and sandbox end", after),
        Figure("dbt build, whole process", [build.wall for build in builds], kind="peer"),
        Figure("the imports, whole process", [one.wall for one in imports], kind="peer"),
        Figure("dbt build + imports", peer, kind="peer"),
        Figure("nightshift run / (dbt build + imports)", _ratios(walls, peer), unit="x", at_most=1.5),
        Figure("  the same, dbt's own imports counted once", _ratios(walls, strict), unit="x"),
        Figure("CPU of nightshift run and its servers", [done.cpu for done, _ in nights], unit="s CPU"),
        Figure("CPU of dbt build", [build.cpu for build in builds], unit="s CPU", kind="peer"),
    ]


def _ratios(ours: list[float], theirs: list[float]) -> list[float]:
    return [a / b for a, b in zip(ours, theirs, strict=True)]
