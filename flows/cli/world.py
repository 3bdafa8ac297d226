"""``nightshift sandbox``: the staging world."""

from __future__ import annotations

import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flows import orchestration
from flows.cli.common import Output, OutputOption, app
from flows.errors import ConfigError


class Throttle(StrEnum):
    """Whether the sandbox enforces the CRM's rates."""

    off = "off"
    real = "real"


@app.command(epilog="Example: nightshift sandbox --port 8765 --store /tmp/crm.sqlite --throttle real")
def sandbox(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")] = 0,
    store: Annotated[Path | None, typer.Option(help="SQLite file that keeps the records; else memory.")] = None,
    throttle: Annotated[Throttle, typer.Option(help="real enforces the CRM's rates.")] = Throttle.off,
    faults: Annotated[Path | None, typer.Option(help="A script of faults; see docs/how-to/sandbox.md.")] = None,
    output: OutputOption = Output.text,
    end_with_stdin: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Run a staging world on this machine: a Salesforce, a HubSpot, and the sources that the sample project reads."""
    from dataclasses import asdict

    from flows.sandbox.config import Ready, SandboxConfig
    from flows.sandbox.faults import BadScript
    from flows.sandbox.server import serve

    def ready(told: Ready) -> None:
        if output is Output.json:
            sys.stdout.write(json.dumps(asdict(told)) + "\n")
        else:
            for name, value in asdict(told).items():
                sys.stdout.write(f"{name:<14} {value}\n")
            sys.stdout.write("Ctrl-C stops it.\n")
        sys.stdout.flush()

    if end_with_stdin:
        orchestration.end_with(sys.stdin.buffer)
    config = SandboxConfig(
        store=store, throttle=throttle.value, faults=faults, retail_files=os.environ.get("RETAIL_FILES") or None
    )
    try:
        serve(config, port=port, on_ready=ready)
    except BadScript as error:
        raise ConfigError(
            f"{faults}: {error}", todo="docs/how-to/sandbox.md has the form of a script of faults."
        ) from error
    except OSError as error:
        raise ConfigError(
            f"The sandbox cannot use {error.filename or f'port {port}'}: {error.strerror}.",
            todo="Name a file that is there, or another --port (0 takes a free one).",
        ) from error
