"""The ``rest`` source against a real web server: paging, increments, and what a second night leaves alone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from flows.project import RestExtract, Source
from flows.warehouse import Warehouse
from tests.extract.conftest import PEOPLE, Web, World, person

pytestmark = pytest.mark.filterwarnings("error")


def test_pages_become_rows_with_types_page_and_run(api: World, web: Web) -> None:
    odd = person(3, name='Ö "Q", 小', consent=None, score=12.345, updated_at="2010-12-01T10:00:00+02:00")
    web.pages([person(1), person(2, consent=False, score="7")], [odd])
    done = api.night()
    assert (done.rows, done.files_or_pages) == (3, 2)
    assert (done.cursor_before, done.cursor_after) == (None, "2010-12-01T08:00:00Z")
    now = api.rows("max(_extracted_at)")[0][0]
    at = datetime.fromisoformat("2010-12-01T08:00:00")
    assert api.rows() == [
        ("1", "P1", True, Decimal("1.50"), at, now, "run-1", "1"),
        ("2", "P2", False, Decimal("7.00"), at, now, "run-1", "1"),
        ("3", 'Ö "Q", 小', None, Decimal("12.35"), at, now, "run-1", "2"),
    ]
    assert web.asked == [{"limit": "1000"}, {"limit": "1000", "page": "2"}]


def test_the_next_night_asks_from_the_cursor_and_changes_nothing_that_is_equal(api: World, web: Web) -> None:
    web.pages([person(1, day=1), person(2, day=3)])
    api.night()
    first = api.rows()
    web.pages([person(2, day=3)])
    done = api.night()
    assert web.asked[-1] == {"limit": "1000", "updated_since": "2010-12-03T08:00:00Z"}
    assert (done.rows, done.cursor_before) == (0, "2010-12-03T08:00:00Z")
    assert api.rows() == first
    web.pages([person(2, day=4, name="New"), person(3, day=4)])
    assert api.night().rows == 2
    assert api.rows("id, name, _run_id", "id") == [("1", "P1", "run-1"), ("2", "New", "run-3"), ("3", "P3", "run-3")]
    web.pages([])
    assert api.night().cursor_after == "2010-12-04T08:00:00Z"
    web.pages([])
    api.night()
    assert web.asked[-1]["updated_since"] == "2010-12-04T08:00:00Z"


def test_of_one_key_the_newest_wins_and_of_equally_new_ones_the_last(api: World, web: Web) -> None:
    web.pages(
        [person(1, day=5, name="new"), person(2, day=2, name="a")], [person(1, day=4), person(2, day=2, name="b")]
    )
    api.night()
    assert api.rows("id, name") == [("1", "new"), ("2", "b")]
    web.pages([person(1, day=3, name="older"), person(2, day=2, name="corrected")])
    assert api.night().rows == 1
    assert api.rows("id, name") == [("1", "new"), ("2", "corrected")]


def test_as_of_asks_for_an_end_and_keeps_it_even_if_the_source_does_not(api: World, web: Web) -> None:
    web.pages([person(1, day=1), person(2, day=2, updated_at="2010-12-02T23:59:59.999999Z"), person(3, day=3)])
    done = api.night(date(2010, 12, 2))
    assert web.asked == [{"limit": "1000", "updated_until": "2010-12-02T23:59:59.999999Z"}]
    assert [row[0] for row in api.rows("id")] == ["1", "2"]
    assert done.warnings == ("Left out 1 records that changed after 2010-12-02.",)
    assert done.cursor_after == "2010-12-02T23:59:59.999999Z"


def test_a_date_in_the_future_does_not_hide_later_changes(api: World, web: Web) -> None:
    web.pages([person(1, updated_at="9999-01-01T00:00:00Z"), person(2)])
    done = api.night()
    assert "is 9999-01-01T00:00:00Z, in the future" in done.warnings[0]
    after = datetime.fromisoformat(str(done.cursor_after))
    assert timedelta() <= datetime.now(UTC) - after < timedelta(minutes=5)


def test_a_cursor_may_be_a_number(api: World, web: Web) -> None:
    api.source = Source("n.n", "n__n", {"id": "varchar", "version": "bigint"}, api.source.extract)
    api.declare(cursor="version", cursor_param="after", until_param=None)
    web.pages([{"id": 1, "version": 9}, {"id": 2, "version": 10}])
    api.night(date(2010, 12, 1))
    web.pages([])
    api.night(date(2010, 12, 2))
    assert web.asked[-1] == {"limit": "1000", "after": "10"}


def test_numbers_arrive_as_they_were_written(api: World, web: Web) -> None:
    api.source = Source("n.n", "n__n", {"id": "varchar", "amount": "decimal(38,18)"}, api.source.extract)
    api.declare(cursor=None)
    body = '{"items": [{"id": 98765432109876543210987, "amount": 12345678901234.123456789012345678}]}'
    web.script(Response(body, media_type="application/json"))
    api.night()
    assert api.rows("id, amount") == [("98765432109876543210987", Decimal("12345678901234.123456789012345678"))]


def test_append_adds_and_knows_the_boundary_again(api: World, web: Web) -> None:
    api.declare(strategy="append")
    web.pages([person(1, day=1), person(1, day=2)])
    api.night()
    web.pages([person(1, day=2), person(2, day=2), person(1, day=3)])
    assert api.night().rows == 2
    assert len(api.rows()) == 4


@pytest.mark.parametrize("key", ["id", None])
def test_replace_makes_the_table_what_the_source_is(api: World, web: Web, key: str | None) -> None:
    api.declare(strategy="replace", key=key)
    web.pages([person(1), person(2), person(3)])
    api.night()
    before = api.rows()
    assert api.night().rows == 0
    assert api.rows() == before
    web.pages([person(1), person(3, name="x"), person(4)])
    api.night()
    assert "updated_since" not in web.asked[-1]
    assert api.rows("id, name", "id") == [("1", "P1"), ("3", "x"), ("4", "P4")]


def test_an_emptied_table_is_read_from_the_beginning(api: World, web: Web) -> None:
    web.pages([person(1)])
    api.night()
    api.warehouse.execute(f"delete from {api.source.relation}")
    assert api.night().rows == 1
    assert "updated_since" not in web.asked[-1]


def test_extra_keys_are_reported_and_absent_ones_are_null(api: World, web: Web) -> None:
    short = {key: value for key, value in person(2).items() if key != "score"}
    web.pages([person(1, colour="red"), short])
    assert api.night().warnings == ("Left out 'colour', declared by nobody.",)
    assert api.rows("score", "id") == [(Decimal("1.50"),), (None,)]


def test_progress_counts_pages(api: World, web: Web) -> None:
    web.pages([person(1)], [person(2)])
    told: list[tuple[int, int | None]] = []
    api.night(progress=lambda done, total: told.append((done, total)))
    assert told == [(1, None), (2, None)]


MOMENT = st.integers(0, 6 * 24 - 1)
UPDATES = st.lists(st.tuples(st.integers(1, 6), MOMENT, st.integers(0, 3)), max_size=25)


def _server(updates: list[tuple[int, int, int]], size: int) -> Any:
    """The newest version of every id that is not later than the end asked for, paged."""

    def answer(request: Request) -> Response:
        query = request.query_params
        since, until = query.get("updated_since", ""), query["updated_until"]
        newest: dict[int, dict[str, Any]] = {}
        for number, hour, score in sorted(updates, key=lambda update: update[1]):
            at = f"2010-12-{1 + hour // 24:02}T{hour % 24:02}:00:00Z"
            if at <= until:
                newest[number] = person(number, score=score, updated_at=at)
        found = sorted(
            (one for one in newest.values() if one["updated_at"] >= since), key=lambda one: one["updated_at"]
        )
        start = int(query.get("page", 0))
        more = start + size < len(found)
        return JSONResponse({"items": found[start : start + size], "next": start + size if more else None})

    return answer


@settings(max_examples=25, deadline=None)
@given(
    updates=UPDATES,
    nights=st.sets(st.integers(1, 6), max_size=6),
    size=st.integers(1, 4),
    strategy=st.sampled_from(["merge", "replace"]),
)
def test_any_split_into_nights_ends_in_the_same_table(
    tmp_path_factory: pytest.TempPathFactory,
    web_server: Web,
    updates: list[tuple[int, int, int]],
    nights: set[int],
    size: int,
    strategy: str,
) -> None:
    # One version of a record at one moment: which of two would be the newest is nobody's to know.
    unique = list({(number, hour): (number, hour, score) for number, hour, score in updates}.values())
    web_server.answer = _server(unique, size)
    home = tmp_path_factory.mktemp("nights")
    declared = RestExtract(kind="rest", url=f"{web_server.url}/p", key="id", cursor="updated_at", strategy=strategy)
    with Warehouse.open(home / "w.duckdb", threads=2) as opened:
        split = World(opened, home / "in", Source("a.split", "a__split", PEOPLE, declared))
        whole = World(opened, home / "in", Source("a.whole", "a__whole", PEOPLE, declared))
        for night in sorted(nights):
            split.night(date(2010, 12, night))
        split.night(date(2010, 12, 6))
        whole.night(date(2010, 12, 6))
        assert split.rows(", ".join(PEOPLE)) == whole.rows(", ".join(PEOPLE))
        before = split.rows()
        assert split.night(date(2010, 12, 6)).rows == 0
        assert split.rows() == before
