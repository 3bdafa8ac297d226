"""The sandbox that push is tested on."""

from tests.push.conftest import world

__all__ = ["world"]
