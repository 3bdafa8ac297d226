"""dbt's docs of a small project, built by the real dbt and looked at in a real browser, opened from disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner

from flows import transform
from flows.docs_sites import WHEN, build, dbt_docs
from flows.settings import Settings
from flows.summary import ModelSummary, RunSummary
from flows.warehouse import Warehouse
from tests.report.example import quiet
from tests.sites.conftest import Opened

PROFILES = """
small:
  target: sandbox
  outputs:
    sandbox: {type: duckdb, path: "{{ env_var('NIGHTSHIFT_WAREHOUSE') }}", schema: main}
"""
MODELS = """
models:
  - name: people
    description: Everybody. </script><script>document.title = 'owned'</script>
    config: {meta: {url: "https://user:T0pS3cret@shop.example/people"}}
    columns:
      - {name: person_id, description: Who it is.}
"""


class World:
    """A project of one model, a warehouse that dbt builds, and a home."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(folder / "project", folder / "home", "sandbox")
        for name, text in {
            "dbt_project/dbt_project.yml": "{name: small, profile: small, version: '1.0'}",
            "dbt_project/models/people.sql": "select '1' as person_id, 'Anna' as name -- built at {{ run_started_at }}",
            "dbt_project/models/_models.yml": MODELS,
            "profiles/profiles.yml": PROFILES,
        }.items():
            path = self.settings.project / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def built(self) -> None:
        """Run dbt, as a night does."""
        os.environ.update(transform.environment(self.settings))
        places = {
            "--project-dir": self.settings.dbt_project,
            "--profiles-dir": self.settings.profiles,
            "--target-path": self.settings.dbt_target,
        }
        words = [str(word) for place in places.items() for word in place]
        assert dbtRunner().invoke(["--quiet", "--log-level-file", "none", "build", *words]).success

    def page(self, run: str) -> Path:
        return self.settings.reports / run / "dbt-docs" / "index.html"

    def docs(self, run: str, *, shared: bool = True) -> Path:
        with Warehouse.open(self.settings.warehouse) as db:
            dbt_docs.build(self.settings, db, self.page(run), shared=shared)
        return self.page(run)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    before = dict(os.environ)
    made = World(tmp_path)
    made.built()
    yield made
    DuckDBConnectionManager.close_all_connections()
    os.environ.clear()
    os.environ.update(before)


def test_it_opens_from_disk_asks_for_nothing_and_holds_no_credential(
    world: World, look: Callable[[Path], Opened]
) -> None:
    page = world.docs("r1")
    opened = look(page)

    opened.page.goto(f"{page.as_uri()}#!/model/model.small.people")
    opened.page.get_by_text("Who it is.").first.wait_for()

    text = opened.text()
    assert "Who it is." in text
    assert "VARCHAR" in text  # of the catalog
    assert "document.title = 'owned'" not in opened.page.title()
    assert opened.console == []
    assert opened.outside == []
    held = page.read_text(encoding="utf-8")
    assert "https://shop.example/people" in held
    assert "T0pS3cret" not in held


def test_nights_share_a_page_while_nothing_changes(world: World) -> None:
    first = world.docs("r1")
    world.built()
    second = world.docs("r2")
    assert first.samefile(second)

    (world.settings.dbt_project / "models" / "people.sql").write_text("select '1' as person_id, 'Z' as name")
    world.built()
    third = world.docs("r3")
    assert not third.samefile(second)
    assert "'Z' as name" in third.read_text(encoding="utf-8")
    assert "'Z' as name" not in second.read_text(encoding="utf-8")

    with Warehouse.open(world.settings.warehouse) as db:
        db.execute("create table main.other (column_that_came varchar)")
    fourth = world.docs("r4")
    assert not fourth.samefile(third)
    assert len(list((world.settings.dbt_target / "docs").iterdir())) == 1
    assert not world.docs("r5", shared=False).samefile(fourth)
    assert world.docs("r5").exists()  # a second time in its place
    assert [file.name for file in world.page("r5").parent.iterdir()] == ["index.html"]


def _night(*, models: bool = True) -> RunSummary:
    return RunSummary(
        *("r1", "sandbox", "done", quiet().started_at),
        models=(ModelSummary("people", "success", 0.1),) if models else (),
    )


def _build(world: World, night: RunSummary) -> tuple[bool, tuple[str, ...]]:
    with Warehouse.open(world.settings.warehouse) as db:
        sites = build(world.settings, night, db)
    assert (sites.dbt_docs == world.page("r1")) == world.page("r1").exists()
    return sites.dbt_docs is not None, sites.problems


def test_the_setting_says_when(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WHEN, "never")
    assert _build(world, _night()) == (False, ())

    monkeypatch.delenv(WHEN)
    assert _build(world, _night(models=False)) == (False, ())
    assert _build(world, _night()) == (True, ())

    shared = world.page("r1").stat().st_ino
    monkeypatch.setenv(WHEN, "always")
    assert _build(world, _night()) == (True, ())
    assert world.page("r1").stat().st_ino != shared

    monkeypatch.setenv(WHEN, "sometimes")
    _, problems = _build(world, _night())
    assert problems == (f"{WHEN} is 'sometimes', expected always, changed, never; it was taken as changed",)


def test_what_goes_wrong_is_told_and_nothing_is_raised(world: World) -> None:
    (world.settings.dbt_target / "manifest.json").write_text("{", encoding="utf-8")

    there, [problem] = _build(world, _night())

    assert not there
    assert problem.startswith("dbt docs could not be built: JSONDecodeError: ")
