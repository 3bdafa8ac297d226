"""The sandbox that a run on the target ``sandbox`` starts for itself: a process of its own, records kept in home."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from flows.errors import NightshiftError


@contextmanager
def sandbox(home: Path, target: str) -> Iterator[None]:
    """Have a sandbox for the body, unless ``SANDBOX_URL`` names one or another target is used.

    Sets ``SANDBOX_URL``, ``SHOP_URL`` and ``RETAIL_FILES`` (where it is not set: generated invoices) for the body.

    Args:
        home: Nightshift's home; the sandbox keeps its records in ``sandbox/``.
        target: the run's target.

    Raises:
        NightshiftError: it did not start.
    """
    if target != "sandbox":
        yield
        return
    before = dict(os.environ)
    if not os.environ.get("RETAIL_FILES"):
        os.environ["RETAIL_FILES"] = generated_invoices(home)
    if os.environ.get("SANDBOX_URL"):
        os.environ.setdefault("SHOP_URL", os.environ["SANDBOX_URL"] + "/shop")
        yield
        return
    process = _start(home)
    try:
        ready = _ready(process, home)
        os.environ.update(SANDBOX_URL=ready["base_url"], SHOP_URL=ready["base_url"] + "/shop")
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        for name in ("SANDBOX_URL", "SHOP_URL", "RETAIL_FILES"):
            if name in before:
                os.environ[name] = before[name]
            else:
                os.environ.pop(name, None)


def generated_invoices(home: Path) -> str:
    """Make the sample of invoice files, the same ones every time; returns their glob."""
    from flows.sandbox.sources.invoices import generate

    folder = home / "sandbox" / "retail"
    generate(folder)
    return str(folder / "*.csv.gz")


def _start(home: Path) -> subprocess.Popen[bytes]:
    log = home / "sandbox" / "sandbox.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    store = home / "sandbox" / "crm.sqlite"
    with log.open("wb") as errors:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "flows.cli",
                "sandbox",
                "--store",
                str(store),
                "--port",
                str(_last_port(home)),
                "--output",
                "json",
                "--end-with-stdin",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )


def _last_port(home: Path) -> int:
    """The port of the last time, if it is free; else 0. An address that stays spares dbt a full parse every night."""
    try:
        port = int((home / "sandbox" / "port").read_text())
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except (OSError, ValueError, OverflowError):
        return 0
    return port


def _ready(process: subprocess.Popen[bytes], home: Path) -> dict[str, str]:
    output: IO[bytes] | None = process.stdout
    line = output.readline() if output is not None else b""
    if not line:
        raise NightshiftError(
            f"The sandbox did not start; see {home / 'sandbox' / 'sandbox.log'}.", safe="Nothing ran."
        )
    ready: dict[str, str] = json.loads(line)
    (home / "sandbox" / "port").write_text(ready["base_url"].rpartition(":")[2])
    return ready
