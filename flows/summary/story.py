"""How the night went, in words: the same words on the page, in the terminal and in notifications."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from flows.summary import GateSummary, RunSummary, SyncSummary, advice
from flows.summary.findings import AnomalySummary, FindingSummary, ForecastSummary

Level = Literal["bad", "warn"]
AFTER = "crm_after"
"""The gate's stage on what the CRM gave back."""
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MOST_NAMED = 5
"""Most fields that are named in one line."""
MOST_EXPLAINED = 3
"""Most codes of one sync's rejections of which each is explained."""


@dataclass(frozen=True, slots=True)
class Attention:
    """Something that a person should look at.

    Attributes:
        level: bad needs a person, warn can wait.
        text: what, and how many; names and counts only, never a record's values.
        todo: what to do, or what happens by itself.
        section: the page's section that shows it (an id there).
    """

    level: Level
    text: str
    todo: str
    section: str


def counted(count: int, one: str, many: str = "") -> str:
    """Say a count in words: ``1 record``, ``2,144 records``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def budgeted(forecast: ForecastSummary) -> str:
    """Say a forecast in words: ``main: 19 requests of 99,981 left today, about 0.1 s at the allowed rate``."""
    left = "" if forecast.left is None else f" of {forecast.left:,} left today"
    by = "at the allowed rate" if forecast.seconds_by == "rate" else "as earlier pushes took"
    rate = "" if forecast.seconds is None else f", about {duration(forecast.seconds)} {by}"
    return f"{forecast.name}: {counted(forecast.requests, 'request')}{left}{rate}"


def found(finding: FindingSummary) -> str:
    """Say a finding in one line; it holds values, masked where they are personal."""
    field = f"{finding.object}.{finding.field}" if finding.field else finding.object
    if finding.kind == "schema":
        sides = (("was", finding.before), ("is", finding.after))
        told = ", ".join(f"{side} {value}" for side, value in sides if value is not None)
        return f"{field}: {finding.what}" + (f" ({told})" if told else "")
    such = f", such as {', '.join(example.external_id for example in finding.examples)}" if finding.examples else ""
    if finding.kind == "attached":
        return f"{finding.sync} to {field}: {finding.what} ({counted(finding.rows, 'record')}{such})"
    return f"{finding.sync}.{finding.column} to {field}: {finding.what} ({counted(finding.rows, 'row')}{such})"


def was_sent(summary: RunSummary) -> bool:
    """Whether the run came as far as the push."""
    return any(stage.name == "push" for stage in summary.stages)


def headline(summary: RunSummary) -> str:
    """Say in one sentence how the run went."""
    operations, applied = summary.total("operations"), summary.total("applied")
    run = _NAMES[summary.kind]
    if summary.state == "running":
        return f"{run} is still running"
    if summary.state == "failed":
        stage = next((stage.name for stage in summary.stages if stage.state == "failed"), None)
        where = f" in {stage.replace('_', ' ')}" if stage else ""
        sent = f"{counted(applied, 'change')} had been applied" if applied else "nothing reached the CRM"
        return f"{run} failed{where}; {sent}"
    if summary.state == "held":
        stands = _STANDS.get(summary.plan.state) if summary.plan else None
        return f"{counted(operations, 'change')} {stands or 'held for approval; nothing was sent'}"
    if summary.kind == "adopt":
        found = [sync.adopted for sync in summary.syncs if sync.adopted]
        wanted, known = sum(item.wanted for item in found), sum(item.known + item.found for item in found)
        return f"The CRM is known to hold {known:,} of {counted(wanted, 'record')}"
    if not operations:
        return kept_here(summary) or _NOTHING[summary.kind]
    if not was_sent(summary):
        return f"{counted(operations, 'change')} planned; nothing was sent"
    if applied == operations:
        return f"{counted(applied, 'change is', 'changes are')} in the CRM"
    return f"{applied:,} of {counted(operations, 'change')} are in the CRM"


def kept_here(summary: RunSummary) -> str:
    """Say that nothing was sent since something may not go yet; empty where all is in the CRM."""
    held = sum(table.held for table in summary.quarantine)
    waiting = summary.total("waiting") + summary.total("withheld") + summary.total("left")
    told = [counted(held, "row is held back", "rows are held back")] if held else []
    told += [counted(waiting, "record waits", "records wait")] if waiting else []
    return f"Nothing was sent: {' and '.join(told)}" if told else ""


_NAMES = {"night": "The night", "retry": "The retry", "revert": "The revert", "adopt": "The adoption"}
_NOTHING = {
    "night": "Nothing to do: the CRM is up to date",
    "retry": "Nothing to do: no rejection is open",
    "revert": "Nothing to do: there is nothing left to take back",
}
_STANDS = {
    "approved": "approved and not pushed yet",
    "rejected": "rejected; nothing was sent",
    "void": "no longer wanted as they were planned; nothing was sent",
}


def decision(summary: RunSummary) -> str | None:
    """Say who decided about the run's plan, when and why; None where nobody had to."""
    plan = summary.plan
    if plan is None or plan.decided_by is None or plan.decided_at is None:
        return None
    what = "Rejected" if plan.state == "rejected" else "Approved"
    return f"{what} by {plan.decided_by} at {plan.decided_at:%Y-%m-%d %H:%M} UTC" + (
        f": {plan.reason}" if plan.reason else ""
    )


def inline(todo: str) -> str:
    """Say in one line what to do, its commands in backticks; in an error each of them has a line of its own."""
    lines = todo.splitlines()
    ways = [f"`{line}`" for line in lines if line.startswith("nightshift ")]
    return " ".join([*(line for line in lines if not line.startswith("nightshift ")), " or ".join(ways)]).strip()


def attention(summary: RunSummary) -> tuple[Attention, ...]:
    """List what a person should look at, the most pressing first; empty after a good night."""
    found: list[Attention] = []
    if summary.error:
        level: Level = "warn" if summary.state == "held" else "bad"
        found.append(Attention(level, summary.error.what, summary.error.todo, "error"))
    for sync in summary.syncs:
        found.extend(attention_of(sync))
    found.extend(_of_quarantine(summary))
    found.extend(_of_findings(summary.findings))
    found.extend(_of_what_came_back(summary))
    before = [gate for gate in summary.gates if not gate.passed and gate.stage != AFTER]
    critical = [gate for gate in before if gate.severity == "critical" and not _is_told_by_row(gate, summary)]
    if critical:
        others = any(gate.severity == "critical" and gate not in critical for gate in before)
        text = f"{counted(len(critical), 'critical expectation')} failed" + " and held back no rows" * others
        text += f": {_judged(critical)}"
        found.append(Attention("bad", text, "See which rows, and mend them at their source.", "expectations"))
    broken = [model.name for model in summary.models if model.status in ("error", "fail", "runtime error")]
    if broken:
        text = f"{counted(len(broken), 'model')} could not be built: {', '.join(broken[:5])}"
        found.append(Attention("bad", text, "Read dbt's message above, and mend the model.", "models"))
    warned = [gate for gate in before if gate.severity == "warning"]
    if warned:
        text = f"{counted(len(warned), 'expectation')} of severity warning failed: {_judged(warned)}"
        todo = "Nothing was stopped by it. Look whether the data or the rule is wrong."
        found.append(Attention("warn", text, todo, "expectations"))
    found.extend(_of_anomalies(summary))
    for source in summary.sources:
        if source.freshness in ("warn", "error"):
            text = f"{source.name} is not fresh ({source.freshness})"
            found.append(Attention("warn", text, "Ask its owner whether the delivery stopped.", "sources"))
        if source.warnings:
            text = f"{source.name}: {counted(len(source.warnings), 'warning')}"
            found.append(Attention("warn", text, "See the table of sources.", "sources"))
    found.extend(Attention("warn", problem.what, problem.todo, "main") for problem in summary.problems)
    for told in summary.notified:
        if not told.sent:
            text = f"{told.channel} could not be told of this run"
            found.append(Attention("warn", text, f"{told.detail} See `notify` in connections.yml.", "main"))
    return tuple(sorted(found, key=lambda item: item.level != "bad"))


def attention_of(sync: SyncSummary) -> list[Attention]:
    """List what a person should look at in one sync."""
    found: list[Attention] = []
    if refused := sync.rejected - sync.gone:
        codes = ", ".join(f"{code} ({count:,})" for code, count in sync.rejection_codes.items())
        text = f"{_records(sync, refused, 'was', 'were')} rejected: {codes}"
        todo = _to_mend([*sync.rejection_codes])
        found.append(Attention("bad", text, f"{todo} Every run tries again until they succeed.", "rejections"))
    if sync.gone:
        text = f"{_records(sync, sync.gone, 'was', 'were')} deleted in the CRM by somebody"
        level: Level = "bad" if sync.deleted == "report" else "warn"
        found.append(Attention(level, text, advice.GONE[sync.deleted], "rejections"))
    here = f"sync-{sync.name}"
    if sync.withheld:
        text = f"{_records(sync, sync.withheld, 'has', 'have')} left {sync.name} and may not be archived yet"
        todo = "A source shrank. Ask its owner; if it is meant to be small, lower its `shrunken`."
        if sync.attached:
            text = f"{_records(sync, sync.withheld, 'is', 'are')} not archived, since the CRM would also delete "
            text += others(sync.attached)
            todo = (
                "Move or delete these in the CRM, or let this login read them; the next night, or revert, looks again."
            )
        found.append(Attention("warn", text, todo, here))
    if sync.left:
        text = f"{_records(sync, sync.left, 'waits', 'wait')} for the next run: this one's requests are used up"
        todo = f"Nothing; or raise `max_requests` of the connection {sync.crm}."
        found.append(Attention("warn", text, todo, here))
    if sync.mismatched:
        text = f"{_records(sync, sync.mismatched, 'reads', 'read')} back otherwise than sent"
        todo = "Look for an automation or a person that edits these fields in the CRM."
        found.append(Attention("bad", text, todo, "mismatches"))
    if sync.unknown:
        text = f"{_records(sync, sync.unknown, 'has', 'have')} no answer from the CRM"
        found.append(Attention("warn", text, "The next run sends them again; a repeat is harmless.", "changes"))
    return found


def _to_mend(codes: Sequence[str]) -> str:
    """Say what to do about records that the CRM refuses for these reasons."""
    known = [advice.ADVICE[code] for code in codes if code in advice.ADVICE]
    if not known or len(known) < len(codes) or len(codes) > MOST_EXPLAINED:
        return "Mend the values at their source."
    return known[0] if len(known) == 1 else " ".join(map("{}: {}".format, codes, known))


def others(attached: Mapping[str, int]) -> str:
    """Say what would be deleted with records, though the plan does not archive it (`SyncSummary.attached`)."""
    named = [f"{name} ({count:,})" if count else f"{name} (not readable)" for name, count in attached.items()]
    return f"what the plan does not archive: {_some(named)}"


def _records(sync: SyncSummary, count: int, one: str, many: str) -> str:
    return counted(count, f"{sync.object} record {one}", f"{sync.object} records {many}")


def remarks(sync: SyncSummary) -> tuple[str, ...]:
    """Say what of a sync's plan people may want to know, and need not act on; counts and names only."""
    told = []
    if sync.kept:
        fields = ", ".join(f"{name} ({count:,})" for name, count in sync.kept.items())
        told.append(f"{sync.name}: people's values stay in {fields}")
    if sync.unmatched:
        rows = counted(sync.unmatched, "row has", "rows have")
        told.append(f"{sync.name}: {rows} no record in the CRM, and this sync creates none")
    return (*told, *sync.notes)


def _judged(gates: Sequence[GateSummary]) -> str:
    """Say which expectations, of which tables; names and counts only."""
    tables = [
        (table, ", ".join(map(_question, judged)))
        for table, judged in groupby(gates[:MOST_NAMED], key=lambda gate: gate.table)
    ]
    more = len(gates) - MOST_NAMED
    return "; ".join(f"{asked} in {table}" for table, asked in tables) + (f" and {more:,} more" if more > 0 else "")


def _question(gate: GateSummary) -> str:
    """Say what an expectation looks at, and how many rows fail it: ``email (12 rows)``."""
    query = gate.expectation == "unexpected_rows_expectation"
    named = gate.column or ("a query" if query else gate.expectation.removeprefix("expect_"))
    return named + (f" ({counted(gate.unexpected_rows, 'row')})" if gate.unexpected_rows else "")


def _is_told_by_row(gate: GateSummary, summary: RunSummary) -> bool:
    """Whether what fails is told row by row, with what to do: it is held back, or a person has let it go."""
    refused = any(table.name == gate.table and table.refused is not None for table in summary.quarantine)
    return gate.on_fail == "quarantine" and gate.unexpected_rows is not None and not refused


def _of_quarantine(summary: RunSummary) -> Iterator[Attention]:
    """One line for each table of which rows are held back; what too many of them would mean is told as the error."""
    for table in summary.quarantine:
        if not table.held:
            continue
        causes = _some([f"{cause.removeprefix('expect_')} ({rows:,})" for cause, rows in table.causes.items()])
        fresh = f", {table.new:,} of them since tonight" if table.new else ""
        text = f"{counted(table.held, 'row is', 'rows are')} held back in {table.name}{fresh}: {causes}"
        todo = (
            "Mend them at their source: each goes out as soon as it passes. `nightshift quarantine list` shows them, "
            "`nightshift quarantine release` lets one go as it is."
        )
        yield Attention("bad" if table.new else "warn", text, todo, "quarantine")
    if waiting := sum(sync.waiting for sync in summary.syncs):
        text = f"{counted(waiting, 'record waits', 'records wait')} for a parent that is held back"
        yield Attention("warn", text, "They go out with it.", "quarantine")


def _of_findings(findings: Sequence[FindingSummary]) -> Iterator[Attention]:
    """One line for each sync with values that its CRM will not take, and for each object that changed under a sync."""
    syncs: dict[str, Counter[str]] = {}
    objects: dict[str, list[str]] = {}
    for finding in findings:
        if finding.kind == "value":
            syncs.setdefault(finding.sync or "", Counter())[finding.field or ""] += finding.rows
        elif finding.kind == "schema" and (finding.field is None or finding.sync is not None):
            objects.setdefault(finding.object, []).append(f"{finding.field or finding.object} ({finding.what})")
    for sync, fields in syncs.items():
        listed = _some([f"{field} ({rows:,})" for field, rows in fields.most_common()])
        text = f"{sync} holds values that the CRM does not take as they are: {listed}"
        yield Attention("warn", text, "Mend them in the model, or let the CRM's field take them.", "findings")
    for name, changes in objects.items():
        text = f"{name} is not in the CRM as it was at the last run: {_some(changes)}"
        yield Attention("warn", text, "Look whether the mapping and the model still fit.", "findings")


def _of_what_came_back(summary: RunSummary) -> Iterator[Attention]:
    """One line for each table of what the CRM gave back that is not as it was meant to be."""
    tables: dict[str, list[GateSummary]] = {}
    for gate in summary.gates:
        if gate.stage == AFTER and not gate.passed and gate.severity != "info":
            tables.setdefault(gate.table, []).append(gate)
    for table, failed in tables.items():
        level: Level = "bad" if any(gate.severity == "critical" for gate in failed) else "warn"
        named = _some([_question(gate) for gate in failed])
        text = f"{counted(len(failed), 'expectation')} on what the CRM gave back failed in {table}: {named}"
        todo = "All is written. Look for an automation, a rule or a field in the CRM that changes what was sent."
        yield Attention(level, text, todo, "expectations")


def unusual(found: AnomalySummary, weekday: str) -> str:
    """Say an anomaly in words: ``500 rows, usual are 873 to 1,127 (8 Mondays, median 1,000)``."""
    what = {
        "rows": "{} rows",
        "nulls": f"{{}} of {found.column} empty",
        "sum": f"{found.column} adds up to {{}}",
        "age": f"{found.column or 'the newest row'} is {{}} old",
    }[found.metric]
    low, high, median = (figure(found, value) for value in (found.low, found.high, found.median))
    usual = f"usual is at most {high}" if found.metric == "age" else f"usual are {low} to {high}"
    return f"{what.format(figure(found, found.value))}, {usual} ({found.days} {weekday}s, median {median})"


def figure(found: AnomalySummary, value: float) -> str:
    """Say a figure as people read it: ``1,204`` rows, ``4.7%``, ``1.5 days``."""
    if found.metric == "nulls":
        return f"{value:.1%}"
    if found.metric == "age":
        return f"{value:,.1f} days"
    return f"{value:,.0f}" if found.metric == "rows" or abs(value) >= 1000 else f"{value:,.4g}"


def weekday(summary: RunSummary) -> str:
    """The weekday that a run's figures are compared by: of its as-of day, else of the day it began."""
    return _WEEKDAYS[(summary.as_of or summary.started_at).weekday()]


def _of_anomalies(summary: RunSummary) -> Iterator[Attention]:
    """One line for each table with figures that are unusual for the weekday."""
    tables: dict[str, list[str]] = {}
    day = weekday(summary)
    for found in summary.anomalies:
        tables.setdefault(found.table, []).append(unusual(found, day))
    for table, figures in tables.items():
        text = f"{table} is unlike other {day}s: {_some(figures, '; ')}"
        yield Attention("warn", text, "Nothing was stopped by it. Look whether the delivery is whole.", "anomalies")


def _some(items: Sequence[str], between: str = ", ") -> str:
    more = len(items) - MOST_NAMED
    return between.join(items[:MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def duration(seconds: float | None) -> str:
    """Say seconds the way people do: ``0.4 s``, ``14.2 s``, ``3 min 05 s``, ``1 h 02 min``."""
    if seconds is None:
        return "still running"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"
