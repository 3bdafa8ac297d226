"""Names of modules: a deployment puts the folder of its flow on Python's path, where they stand before others."""

from __future__ import annotations

import sys

from tests.conftest import PROJECT


def test_no_module_hides_one_of_pythons_own() -> None:
    names = {path.stem for path in (PROJECT / "flows").iterdir()}
    assert "nightly" in names
    assert not names & set(sys.stdlib_module_names)
