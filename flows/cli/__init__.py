"""The ``nightshift`` command. Heavy imports happen inside the commands, so that help is quick."""

from __future__ import annotations

import atexit
import gc
import sys

# Each module adds its commands; help lists them in this order.
# isort: off
from flows.cli import nights, decisions, errands, quality, looks, world  # noqa: F401

# isort: on
from flows.cli.common import app, tell
from flows.errors import NightshiftError

__all__ = ["app", "main"]


def main() -> None:
    """Run the command; an error of Nightshift is told in three lines and gives its own exit code."""
    # Python would look through all that was imported once more before it ends: nearly two seconds for nothing. Not
    # before that end: whoever calls this as a function, as the tests do, goes on and wants garbage collected.
    atexit.register(gc.freeze)
    try:
        app(standalone_mode=True)
    except NightshiftError as error:
        tell(error)
        sys.exit(error.exit_code)
