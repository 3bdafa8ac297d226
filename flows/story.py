"""How the night went, in words: the same words on the page, in the terminal and in notifications."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flows.summary import RunSummary, SyncSummary

Level = Literal["bad", "warn"]


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


def was_sent(summary: RunSummary) -> bool:
    """Whether the run came as far as the push."""
    return any(stage.name == "push" and stage.state != "skipped" for stage in summary.stages)


def headline(summary: RunSummary) -> str:
    """Say in one sentence how the night went."""
    operations, applied = summary.total("operations"), summary.total("applied")
    if summary.state == "running":
        return "The night is still running"
    if summary.state == "failed":
        stage = next((stage.name for stage in summary.stages if stage.state == "failed"), None)
        where = f" in {stage.replace('_', ' ')}" if stage else ""
        sent = f"{counted(applied, 'change')} had been applied" if applied else "nothing reached the CRM"
        return f"The night failed{where}; {sent}"
    if summary.state == "held":
        return f"{counted(operations, 'change')} held for approval; nothing was sent"
    if not operations:
        return "Nothing to do: the CRM is up to date"
    if not was_sent(summary):
        return f"{counted(operations, 'change')} planned; nothing was sent"
    if applied == operations:
        return f"{counted(applied, 'change is', 'changes are')} in the CRM"
    return f"{applied:,} of {counted(operations, 'change')} are in the CRM"


def attention(summary: RunSummary) -> tuple[Attention, ...]:
    """List what a person should look at, the most pressing first; empty after a good night."""
    found: list[Attention] = []
    if summary.error:
        level: Level = "warn" if summary.state == "held" else "bad"
        found.append(Attention(level, summary.error.what, summary.error.todo, "error"))
    for sync in summary.syncs:
        found.extend(_of_sync(sync))
    critical = [gate for gate in summary.gates if not gate.passed and gate.severity == "critical"]
    if critical:
        text = f"{counted(len(critical), 'critical expectation')} failed"
        found.append(Attention("bad", text, "See which rows, and mend them at their source.", "expectations"))
    broken = [model.name for model in summary.models if model.status in ("error", "fail", "runtime error")]
    if broken:
        text = f"{counted(len(broken), 'model')} could not be built: {', '.join(broken[:5])}"
        found.append(Attention("bad", text, "Read dbt's message above, and mend the model.", "models"))
    warned = [gate for gate in summary.gates if not gate.passed and gate.severity == "warning"]
    if warned:
        text = f"{counted(len(warned), 'expectation')} of severity warning failed"
        found.append(Attention("warn", text, "Nothing was stopped by it.", "expectations"))
    for source in summary.sources:
        if source.freshness in ("warn", "error"):
            text = f"{source.name} is not fresh ({source.freshness})"
            found.append(Attention("warn", text, "Ask its owner whether the delivery stopped.", "sources"))
        if source.warnings:
            text = f"{source.name}: {counted(len(source.warnings), 'warning')}"
            found.append(Attention("warn", text, "See the table of sources.", "sources"))
    return tuple(sorted(found, key=lambda item: item.level != "bad"))


def _of_sync(sync: SyncSummary) -> list[Attention]:
    found: list[Attention] = []
    if sync.rejected:
        codes = ", ".join(f"{code} ({count:,})" for code, count in sync.rejection_codes.items())
        one, many = f"{sync.object} record was", f"{sync.object} records were"
        text = f"{counted(sync.rejected, one, many)} rejected: {codes}"
        todo = "Mend the values at their source; every run tries again until they succeed."
        found.append(Attention("bad", text, todo, "rejections"))
    if sync.mismatched:
        one, many = f"{sync.object} record reads", f"{sync.object} records read"
        text = f"{counted(sync.mismatched, one, many)} back otherwise than sent"
        todo = "Look for an automation or a person that edits these fields in the CRM."
        found.append(Attention("bad", text, todo, "mismatches"))
    if sync.unknown:
        one, many = f"{sync.object} record has", f"{sync.object} records have"
        text = f"{counted(sync.unknown, one, many)} no answer from the CRM"
        found.append(Attention("warn", text, "The next run sends them again; a repeat is harmless.", "changes"))
    return found


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
