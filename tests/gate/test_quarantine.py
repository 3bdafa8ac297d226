"""Rows that fail are held back one by one, since when and with what; they go when they pass, or by hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from flows import gate
from flows.errors import ConfigError, GateFailed
from flows.gate.catalogue import COLUMNS
from flows.records import MASK
from flows.warehouse import Warehouse, quoted
from tests.gate.test_catalogue import ROWS, items

EMAIL = "- expect_column_values_to_match_regex: {column: email, regex: '@'}\n"
AMOUNT = "- expect_column_values_to_be_between: {column: amount, min_value: 0}\n"


class Model:
    """crm.people with its suite: rewritten and judged night by night."""

    def __init__(self, db: Warehouse, folder: Path) -> None:
        self.db, self.path, self.nights = db, folder / "people.yml", count(1)
        self.suite(EMAIL)
        db.execute("create schema crm")
        db.execute("create table crm.people (id varchar, email varchar, amount decimal(9, 2), secret varchar)")

    def suite(self, expectations: str, head: str = "") -> None:
        self.path.write_text(f"table: crm.people\n{head}\nexpectations:\n{expectations}", encoding="utf-8")

    def rows(self, *rows: tuple[Any, ...]) -> None:
        self.db.execute("delete from crm.people")
        for row in rows:
            self.db.execute("insert into crm.people values (?, ?, ?, ?)", (*row, *[None] * (4 - len(row))))

    def night(self, keys: dict[str, str] | None = None, **arguments: Any) -> gate.GateReport:
        [suite] = gate.with_keys([gate.load_suite(self.path)], {"crm.people": "id"} if keys is None else keys)
        return gate.check(suite, self.db, run_id=f"n{next(self.nights)}", stage="crm", **arguments)

    def held(self) -> dict[str, str | None]:
        return dict(self.db.execute("select key, value from quality.quarantine where ended_at is null"))

    def ended(self) -> list[tuple[str, str]]:
        return [
            (key, how)
            for key, how in self.db.execute(
                "select key, ended_as from quality.quarantine where ended_at is not null order by ended_at, key"
            )
        ]

    def release(self, key: str) -> None:
        self.db.execute(
            "update quality.quarantine set ended_at = now()::timestamp, ended_as = 'released', released_by = 'me', "
            "reason = 'why' where key = ? and ended_at is null",
            (key,),
        )


@pytest.fixture
def model(warehouse: Warehouse, tmp_path: Path) -> Model:
    return Model(warehouse, tmp_path)


def counts(report: gate.GateReport) -> tuple[int, int, int, int]:
    held = report.quarantine
    assert held is not None
    return held.held, held.new, held.released, held.released_by_hand


def test_a_row_is_held_while_it_fails_and_goes_when_it_passes(model: Model) -> None:
    model.rows(("1", "a@b"), ("2", "nobody"), ("3", "none"), ("4", None))
    report = model.night()
    assert model.held() == {"2": "nobody", "3": "none"}
    assert counts(report) == (2, 2, 0, 0)
    [result] = report.results
    assert (result.on_fail, result.quarantined_rows, result.unexpected_rows, result.stops) == (
        "quarantine",
        2,
        2,
        False,
    )
    gate.verdict([report])
    model.rows(("1", "a@b"), ("2", "c@d"), ("3", "other"))
    assert counts(model.night()) == (1, 0, 1, 0)
    assert (model.held(), model.ended()) == ({"3": "other"}, [("2", "passed")])
    model.rows(("2", "again"))
    assert counts(model.night()) == (1, 1, 1, 0)
    assert (model.held(), model.ended()) == ({"2": "again"}, [("2", "passed"), ("3", "gone")])
    told = model.db.execute(
        "select since_run_id, last_run_id, expectation, column_name, severity from quality.quarantine "
        "order by since_at, key"
    )
    assert [row[:2] for row in told] == [("n1", "n1"), ("n1", "n2"), ("n3", "n3")]
    assert {row[2:] for row in told} == {("expect_column_values_to_match_regex", "email", "critical")}


def test_a_release_holds_while_what_failed_stays_the_same(model: Model) -> None:
    model.rows(("1", "nobody"), ("2", "none"))
    model.night()
    model.release("1")
    assert counts(model.night()) == (1, 0, 0, 1)
    assert counts(model.night()) == (1, 0, 0, 0), "told once"
    assert model.held() == {"2": "none"}
    model.rows(("1", "a@b"), ("2", "none"))
    model.night()
    model.rows(("1", "nobody"), ("2", "none"))
    model.night()
    assert set(model.held()) == {"2"}, "the value that was let go is as it was"
    model.rows(("1", "somebody"), ("2", "none"))
    assert counts(model.night()) == (2, 1, 0, 0)
    assert model.held() == {"1": "somebody", "2": "none"}


def test_a_row_that_fails_twice_is_one_row(model: Model) -> None:
    model.suite(EMAIL + AMOUNT)
    model.rows(("1", "nobody", -1), ("2", "a@b", -5))
    report = model.night()
    assert counts(report) == (2, 2, 0, 0)
    assert [result.quarantined_rows for result in report.results] == [1, 2]
    assert report.quarantine is not None
    assert {(row.key, row.column, row.value) for row in report.quarantine.shown} == {
        ("1", "email", "nobody"),
        ("1", "amount", "-1.00"),
        ("2", "amount", "-5.00"),
    }
    model.rows(("1", "a@b", -1), ("2", "a@b", 5))
    assert counts(model.night()) == (1, 0, 1, 0)


def test_what_could_not_be_judged_releases_nothing(model: Model) -> None:
    condition = "row_condition: coalesce(secret::int, 2) > 1"
    model.suite(f"{EMAIL}  {condition}\n{AMOUNT}")
    model.rows(("1", "nobody", 1), ("2", "a@b", -1))
    assert counts(model.night()) == (2, 2, 0, 0)
    model.rows(("1", "a@b", 1, "not a number"), ("2", "a@b", 1))
    report = model.night()
    assert [result.evaluated for result in report.results] == [False, True]
    assert counts(report) == (1, 0, 1, 0)
    assert set(model.held()) == {"1"}
    with pytest.raises(GateFailed, match="could not be judged"):
        gate.verdict([report])
    model.db.execute("drop table crm.people")
    assert model.night().quarantine is None
    assert set(model.held()) == {"1"}


def test_a_model_that_is_not_synced_any_more_holds_no_row(model: Model) -> None:
    model.rows(("1", "nobody", 1))
    model.night()
    [suite] = gate.with_keys([gate.load_suite(model.path)], {})
    gate.withdraw(model.db, [suite])
    assert (model.held(), model.ended()) == ({}, [("1", "withdrawn")])


def test_what_nothing_asks_for_any_more_is_let_go(model: Model) -> None:
    model.suite(EMAIL + AMOUNT)
    model.rows(("1", "nobody", 1), ("2", "a@b", -1))
    model.night()
    model.suite(EMAIL + AMOUNT + "  on_fail: report\n")
    assert counts(model.night()) == (1, 0, 1, 0)
    assert model.ended() == [("2", "withdrawn")]
    model.suite(AMOUNT.replace("0", "-1"))
    model.night()
    assert (model.held(), model.ended()) == ({}, [("2", "withdrawn"), ("1", "withdrawn")])
    model.suite(EMAIL)
    model.night()
    assert set(model.held()) == {"1"}
    [judged] = gate.with_keys([gate.load_suite(model.path)], {"crm.people": "id"})
    gate.withdraw(model.db, [judged])
    assert set(model.held()) == {"1"}
    gate.withdraw(model.db, [])
    assert model.held() == {}


@pytest.mark.parametrize("told_by", ["suite", "caller"])
def test_personal_values_are_masked_and_yet_known_to_change(model: Model, told_by: str) -> None:
    both = "- expect_column_pair_values_to_be_equal: {column_A: email, column_B: id}\n"
    query = "- unexpected_rows_expectation: {unexpected_rows_query: 'select id, email from {batch}'}\n"
    query += "  on_fail: quarantine\n"
    model.suite(EMAIL + both + query, "pii: [email]" if told_by == "suite" else "")
    arguments = {"pii": {"crm.people": ["email"]}} if told_by == "caller" else {}
    model.rows(("1", "nobody"))
    report = model.night(**arguments)
    values = {value for (value,) in model.db.execute("select value from quality.quarantine")}
    assert values == {MASK, f"email={MASK}, id=1"}
    assert "nobody" not in repr(report)
    assert "nobody" not in repr(model.db.execute("select * from quality.quarantine"))
    model.release("1")
    assert counts(model.night(**arguments))[0] == 0
    model.rows(("1", "somebody"))
    assert counts(model.night(**arguments))[0] == 1


@pytest.mark.parametrize(
    "selected", ["email as amount", "email as who, lower(email)", "amount", "'x' || email as id_2"]
)
def test_a_query_may_give_a_personal_value_any_name(model: Model, selected: str) -> None:
    query = f"select id, {selected} from {{batch}}"
    model.suite(f'- unexpected_rows_expectation: {{unexpected_rows_query: "{query}"}}\n  on_fail: quarantine\n')
    model.rows(("1", "nobody", 5))
    report = model.night(pii={"crm.people": ["email"]})
    assert counts(report)[0] == 1
    kept = repr((report, model.db.execute("select * from quality.quarantine")))
    assert MASK in kept
    assert "nobody" not in kept
    model.release("1")
    assert counts(model.night(pii={"crm.people": ["email"]}))[0] == 0, "it is known that nothing changed"
    model.rows(("1", "somebody", 6))
    assert counts(model.night(pii={"crm.people": ["email"]}))[0] == 1, "and that something did"


def test_a_query_holds_the_rows_that_it_names(model: Model) -> None:
    query = "select id, amount, secret from {batch} where amount < 0 -- debts"
    model.suite(f"- unexpected_rows_expectation: {{unexpected_rows_query: '{query}'}}\n  on_fail: quarantine\n")
    model.rows(("1", "a@b", -1, "<b>=1+1</b>"), ("2", "a@b", 1))
    report = model.night()
    assert model.held() == {"1": "amount=-1.00, secret=<b>=1+1</b>"}
    assert not report.stops
    joined = "select p.id from {batch} as p join crm.people as other using (id) where p.amount < 0"
    model.suite(f"- unexpected_rows_expectation: {{unexpected_rows_query: '{joined}'}}\n  on_fail: quarantine\n")
    model.night()
    assert model.held() == {"1": None}
    model.suite(f"- unexpected_rows_expectation: {{unexpected_rows_query: '{query}'}}\n")
    assert model.night().stops, "without on_fail it speaks of the table"


def test_a_row_that_a_query_finds_several_times_is_one(model: Model) -> None:
    query = "select id, visit from {batch}, range(3) as visits (visit) where email is null"
    model.suite(f"- unexpected_rows_expectation: {{unexpected_rows_query: '{query}'}}\n  on_fail: quarantine\n")
    model.rows(*((str(n), None if n < 20 else "a@b") for n in range(400)))
    report = model.night()
    gate.verdict([report])
    assert counts(report) == (20, 20, 0, 0)
    model.rows(*((str(n), None if n < 21 else "a@b") for n in range(400)))
    with pytest.raises(GateFailed, match="21 of 400 rows"):
        gate.verdict([model.night()])


def test_a_release_of_a_row_that_is_found_several_times_holds_in_any_order(model: Model) -> None:
    query = "select id, visit from {batch} join crm.visits using (id)"
    model.suite(f"- unexpected_rows_expectation: {{unexpected_rows_query: '{query}'}}\n  on_fail: quarantine\n")
    model.rows(("1", "a@b"), ("2", "a@b"))
    for visits, held in (("321", "12"), ("123", "2"), ("213", "2"), ("2133", "2"), ("214", "12"), ("21", "12")):
        table = (
            "create or replace table crm.visits as select id, visit from (select unnest(string_split(?, '')) as visit)"
        )
        model.db.execute(f"{table}, (select unnest(['1', '2']) as id)", (visits,))
        model.night(pii={"crm.visits": ()})
        assert model.held() == {key: min(visits) for key in held}
        if visits == "321":
            model.release("1")


def test_a_query_that_does_not_name_rows_cannot_hold_them(model: Model) -> None:
    query = "select amount from {batch} where amount < 0"
    model.suite(f"- unexpected_rows_expectation: {{unexpected_rows_query: '{query}'}}\n  on_fail: quarantine\n")
    model.rows(("1", "a@b", 1))
    [result] = model.night().results
    assert result.detail == "could not be judged: on_fail: quarantine holds rows by id, which the query does not select"
    assert result.stops


def test_more_than_the_share_stops_the_run_and_changes_nothing(model: Model) -> None:
    model.rows(*((str(n), "nobody" if n < 20 else "a@b") for n in range(400)))
    model.night()
    assert len(model.held()) == 20
    before = model.db.execute("select * from quality.quarantine order by key")
    model.rows(*((str(n), "nobody" if n < 21 else "a@b") for n in range(400)))
    report = model.night()
    assert report.quarantine is not None
    assert (report.quarantine.refused, counts(report)) == (21, (20, 0, 0, 0))
    with pytest.raises(GateFailed) as raised:
        gate.verdict([report])
    assert "crm.people: 21 of 400 rows would be held back, and max_quarantined is 5%" in raised.value.what
    assert "Nothing was sent" in raised.value.safe
    assert model.db.execute("select * from quality.quarantine order by key") == before
    model.suite(EMAIL, "max_quarantined: 21")
    gate.verdict([model.night()])
    assert len(model.held()) == 21
    model.suite(EMAIL, "max_quarantined: 20")
    with pytest.raises(GateFailed, match="max_quarantined is 20"):
        gate.verdict([model.night()])


def test_a_share_of_little_means_nothing(model: Model) -> None:
    model.rows(*((str(n), "nobody") for n in range(19)))
    gate.verdict([model.night()])
    assert len(model.held()) == 19
    model.rows(*((str(n), "nobody") for n in range(20)))
    with pytest.raises(GateFailed, match="20 of 20 rows"):
        gate.verdict([model.night()])


def test_what_was_released_does_not_count_as_held(model: Model) -> None:
    model.suite(EMAIL, "max_quarantined: 2")
    model.rows(("1", "nobody"), ("2", "none"))
    model.night()
    model.release("1")
    model.rows(("1", "nobody"), ("2", "none"), ("3", "nil"))
    gate.verdict([model.night()])
    assert set(model.held()) == {"2", "3"}


@pytest.mark.parametrize(
    ("severity", "on_fail", "keyed", "follows"),
    [
        ("critical", None, True, "quarantine"),
        ("critical", None, False, "report"),
        ("warning", None, True, "report"),
        ("info", None, True, "report"),
        ("critical", "stop", True, "stop"),
        ("critical", "report", True, "report"),
        ("warning", "quarantine", True, "quarantine"),
        ("warning", "stop", False, "stop"),
    ],
)
def test_what_follows(model: Model, severity: str, on_fail: str | None, keyed: bool, follows: str) -> None:
    model.suite(EMAIL + f"  severity: {severity}\n" + (f"  on_fail: {on_fail}\n" if on_fail else ""))
    model.rows(("1", "nobody"))
    report = model.night(None if keyed else {})
    [result] = report.results
    assert (result.on_fail, result.stops) == (follows, follows == "stop")
    assert bool(model.held()) is (follows == "quarantine")
    assert model.db.scalar("select on_fail from quality.results") == follows


def test_rows_of_a_table_that_is_no_synced_model_cannot_be_held(model: Model) -> None:
    model.suite(AMOUNT + EMAIL + "  on_fail: quarantine\n")
    with pytest.raises(ConfigError) as raised:
        model.night({"crm.others": "id"})
    assert f"{model.path}:5: on_fail: quarantine: crm.people is no synced model" in raised.value.what


def test_with_mostly_rows_are_held_only_while_the_share_is_missed(model: Model) -> None:
    model.suite("- expect_column_values_to_match_regex: {column: email, regex: '@', mostly: 0.5}\n")
    model.rows(("1", "nobody"), ("2", "a@b"))
    report = model.night()
    assert (model.held(), report.results[0].samples) == ({}, ("nobody",))
    model.rows(("1", "nobody"), ("2", "a@b"), ("3", "none"))
    model.night()
    assert set(model.held()) == {"1", "3"}


def test_rows_without_a_key_are_the_plans_to_tell(model: Model) -> None:
    model.rows((None, "nobody"), ("", "nobody"), ("1", "nobody"), ("1", "none"))
    assert counts(model.night()) == (1, 1, 0, 0)


def test_every_expectation_on_rows_holds_the_rows_that_sql_finds(
    lines: Warehouse, suite: Callable[[str, str], gate.Suite]
) -> None:
    [keyed] = gate.with_keys([suite(items(ROWS), "table: raw.lines\nmax_quarantined: 100%")], {"raw.lines": "number"})
    report = gate.check(keyed, lines, run_id="tuesday", stage="crm")
    for (name, arguments, judged, failing), result in zip(ROWS, report.results, strict=True):
        held = lines.execute("select key from quality.quarantine where expectation_id = ? order by key", (result.id,))
        assert held == lines.execute(
            f"select number from raw.lines where ({judged}) and ({failing}) order by number"
        ), (name, arguments)
        assert result.quarantined_rows == len(held)


def test_columns_may_be_called_what_they_are_in_a_file(
    lines: Warehouse, suite: Callable[[str, str], gate.Suite]
) -> None:
    def called(told: object) -> object:
        return [called(each) for each in told] if isinstance(told, list) else f"{told}: 'x' (EUR) a.b[1] 100% {{y}}\\"

    counted = [lines.execute(f"select count(*) from raw.lines where ({j}) and ({f})")[0][0] for _, _, j, f in ROWS]
    for column in lines.columns("raw.lines"):
        lines.execute(f'alter table raw.lines rename column "{column}" to {quoted(str(called(column)))}')
    cases = [(name, {k: called(v) if k in COLUMNS else v for k, v in told.items()}) for name, told, *_ in ROWS]
    [keyed] = gate.with_keys(
        [suite(items(cases), "table: raw.lines\nmax_quarantined: 100%")], {"raw.lines": str(called("number"))}
    )
    report = gate.check(keyed, lines, run_id="tuesday", stage="crm")
    assert [(r.expectation, r.unexpected_rows, r.quarantined_rows) for r in report.results] == [
        (name, count, count) for (name, *_), count in zip(ROWS, counted, strict=True)
    ]


def test_values_that_stand_twice_among_the_rows_that_are_judged(model: Model) -> None:
    unique = "- expect_column_values_to_be_unique: {column: email}\n"
    model.rows(("1", "a@b", 1), ("2", "a@b", 2), ("3", "c@d", 3), ("4", "c@d", 0), ("5", None), ("6", None))
    model.suite(unique)
    model.night()
    assert model.held() == {"1": "a@b", "2": "a@b", "3": "c@d", "4": "c@d"}
    model.suite(unique + "  row_condition: amount > 0\n")
    model.night()
    assert model.held() == {"1": "a@b", "2": "a@b"}


def test_the_same_question_is_known_by_the_same_id(model: Model) -> None:
    def ids(expectations: str, head: str = "") -> list[str]:
        model.suite(expectations, head)
        suite = gate.load_suite(model.path)
        return [suite.id(expectation) for expectation in suite.expectations]

    [one] = ids(EMAIL)
    [other, again] = ids(AMOUNT + EMAIL + "  severity: info\n  description: Why.\n  owner: a@b.c\n", "owner: d@e.f")
    [narrow] = ids(EMAIL + "  row_condition: amount > 0\n")
    assert one == again
    assert len({one, other, narrow}) == 3
