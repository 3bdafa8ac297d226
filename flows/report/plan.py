"""A plan for people: Markdown, as it is pasted into a pull request."""

from __future__ import annotations

from itertools import groupby

from flows.summary import RunSummary, SyncSummary
from flows.summary.story import attention_of, budgeted, found, kept_here, remarks
from flows.summary.writing import cell, prose


def plan_markdown(summary: RunSummary) -> str:
    """Say in Markdown what a run would change in the CRM.

    Args:
        summary: a run that ended after its plan, or later; personal data is masked in it.

    Returns:
        A table over all syncs, then for each sync its changed fields and a few records before and after.
    """
    if not summary.syncs:
        return "\n".join(["No plan was made.", "", *_error(summary)])
    lines = [
        f"# Plan of run {summary.run_id}",
        "",
        f"Target {summary.target}" + (f", as of {summary.as_of}" if summary.as_of else "") + ".",
        "",
        "| sync | object | creates | updates | archives |",
        "|---|---|--:|--:|--:|",
        *(f"| {s.name} | {s.object} | {s.creates:,} | {s.updates:,} | {s.archives:,} |" for s in summary.syncs),
        "",
    ]
    if not summary.total("operations"):
        lines += [f"{kept_here(summary) or 'Nothing to do: the CRM is as the models want it'}.", ""]
    lines += [f"Forecast for {budgeted(item)}.\n" for item in summary.forecast]
    lines += _error(summary)
    if summary.findings:
        lines += ["## Before the push", "", *(f"- {cell(found(finding))}" for finding in summary.findings), ""]
    for sync in summary.syncs:
        lines += _sync(sync)
    return "\n".join(lines)


def _error(summary: RunSummary) -> list[str]:
    """What ended a run, and what to do."""
    if summary.error is None:
        return []
    told = [f"> **{summary.state.capitalize()}.** " + cell(summary.error.what), ""]
    return [*told, f"**Next:** {prose(summary.error.todo)}", ""] if summary.error.todo else told


def _sync(sync: SyncSummary) -> list[str]:
    told = [*(f"{item.text}." for item in attention_of(sync)), *(f"{remark}." for remark in remarks(sync))]
    if not sync.operations and not told:
        return []
    lines = [f"## {sync.name} → {sync.object}", ""]
    lines += [*(f"- {cell(one)}" for one in told), ""] if told else []
    if sync.fields:
        lines += ["| field | updates that change it |", "|---|--:|"]
        lines += [f"| {name} | {count:,} |" for name, count in sync.fields.items()] + [""]
    if sync.samples:
        lines += ["| record | operation | field | before | after |", "|---|---|---|---|---|"]
        for (external_id, operation), samples in groupby(sync.samples, lambda s: (s.external_id, s.operation)):
            for sample in samples:
                cells = (external_id, operation, sample.field, sample.before, sample.after)
                lines.append("| " + " | ".join(map(cell, cells)) + " |")
        lines.append("")
    return lines
