"""How each stage is joined to the next; what nights and errands by day share. Their tasks are in `flows.tasks`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from threading import Thread

from prefect import unmapped
from prefect.runtime import flow_run

from flows import (
    approvals,
    budget,
    extract,
    gate,
    journal,
    ledger,
    personal,
    plan,
    preflight,
    progress,
    project,
    push,
    reconcile,
    returned,
    tasks,
    transform,
)
from flows.approvals import Kind
from flows.errors import ApprovalVoid, ConfigError, MappingUnfit, PlanHeld, PushError
from flows.gate.results import Stage
from flows.journal import Journal
from flows.project import Connection, Project, Source, Sync
from flows.quality import anomalies
from flows.records import Batch
from flows.settings import Settings
from flows.summary import collect
from flows.warehouse import Error, Warehouse, first_line


def configure(settings: Settings, db: Warehouse) -> tuple[Project, dict[Stage, list[gate.Suite]]]:
    """Read what is declared, and take up what a run that was killed has left.

    Args:
        settings: the target.
        db: the warehouse.

    Returns:
        The project, and the suites of each gate.
    """
    connections = project.load_connections(settings.profiles / "connections.yml", settings.target)
    declared = project.load(transform.parse(settings), connections)
    budget.check_most(declared.connections, declared.syncs)
    _merge_what_a_dead_run_left(settings, db)
    _make_ledgers(db, declared)
    keys = {sync.relation.replace('"', ""): sync.external_id_column for sync in declared.syncs}
    raw, crm = gate.suites_before(settings.expectations, declared.tables, keys)
    models = {sync.name: sync.external_id_column for sync in declared.syncs}
    after = gate.suites_after(settings.expectations / "crm_after", models)
    declared = replace(declared, personal=personal.columns(db, declared, [*raw, *crm, *after]))
    return declared, {"raw": raw, "crm": crm, "crm_after": after}


def _make_ledgers(db: Warehouse, declared: Project) -> None:
    """Have every sync's ledger before anything is judged: a suite may ask it, also when there was no push yet."""
    for sync in declared.syncs:
        try:
            ledger.ensure(db, sync.name, sync.types)
        except Error as error:
            raise ConfigError(
                f"{sync.declared_in}: {sync.name}: the type of a mapped column is none of DuckDB's: "
                + first_line(error),
                safe="Nothing ran, nothing was sent.",
                todo="Correct that column's data_type.",
            ) from error


def from_plan_on(
    db: Warehouse,
    run: Journal,
    declared: Project,
    folder: Path,
    kind: Kind = "night",
    *,
    after: Sequence[gate.Suite] = (),
    reverts: str | None = None,
    send: bool = True,
) -> None:
    """Plan, see that the CRM fits and no guard is in the way, and push.

    The CRM is looked at before a guard holds the plan, so that nobody approves what it cannot take.

    Args:
        db: the warehouse.
        run: the run's journal.
        declared: the project.
        folder: the run's folder.
        kind: what is planned.
        after: the suites on what the CRM gives back.
        reverts: for a revert, the run to take back.
        send: False ends after the guards.

    Raises:
        PlanHeld: the plan goes over a guard, or over the day's requests, and nobody has approved it.
    """
    with run.stage("plan"):
        try:
            made = tasks.make_plan(db, run.summary.run_id, declared, folder, kind, reverts)
        except MappingUnfit:
            # The plan reads the CRM sync by sync, and stops at the first that does not fit: all of it is told at once.
            see_that_it_fits(db, run, declared, declared.syncs)
            raise
        run.count_requests(made.requests)
        run.note(syncs=tuple(collect.sync(item, declared.sync(item.sync)) for item in made.syncs))
        run.note(findings=tuple(collect.attached(i, declared.sync(i.sync)) for i in made.syncs if i.attached))
        if made.batches:
            counts, pace = budget.counts(made.batches), budget.pace(journal.latest(db, budget.RUNS))
            run.note(forecast=budget.forecast(declared.connections, declared.syncs, counts, pace))
        plan_of = approvals.file(
            db,
            made.run_id,
            target=run.summary.target,
            kind=kind,
            reverts=reverts,
            flow_run_id=flow_run.id if tasks.in_deployment() else None,
            send=send,
        )
        run.note(plan=plan_of.summary)
    if send:
        with run.stage("preflight"):
            look_ahead(db, run, declared, made)
    approved = plan_of.state == "approved"
    if made.held:
        with run.stage("guard"):
            if not approved:
                raise _over_guard(run, declared, made, send=send)
    if send:
        push_plan(db, run, declared, made, folder, after=after, approved=approved)


def _over_guard(run: Journal, declared: Project, made: plan.Plan, *, send: bool) -> PlanHeld:
    """What to say of a plan that goes over its guards; an approved one is pushed as far as the day's requests go."""
    why = [*made.held]
    if send:
        _ask_what_is_left(run, declared)
        why += [f"today's requests are not enough for it: {short}" for short in budget.over(run.summary.forecast)]
    return PlanHeld(
        "The plan goes over its guards:\n" + "\n".join(f"  - {reason}" for reason in why),
        safe="Nothing was sent to the CRM; the ledger is as it was.",
        todo="Look at the plan, then decide; or change the model or its guard, and run again.",
    )


def _ask_what_is_left(run: Journal, declared: Project) -> None:
    """Complete the forecast by what is left of each CRM's day, and the time that the plan takes."""
    forecast, requests = budget.ask(declared.connections, run.summary.forecast)
    run.note(forecast=forecast)
    run.count_requests(requests)


def see_that_it_stands(db: Warehouse, declared: Project, approved: plan.Plan) -> None:
    """Make an approved plan again, from the model and the ledger as they are now; void it where it comes out otherwise.

    Raises:
        ApprovalVoid: it does.
    """
    plan_of = approvals.to_push(db, approved.run_id)
    again, scratch = f"{approved.run_id}-again", approved.folder / "again"
    try:
        made = tasks.make_plan(db, again, declared, scratch, plan_of.kind, plan_of.reverts)
        why = approvals.moved(db, plan_of, approved, made)
    finally:
        db.execute("delete from sync.plans where run_id = ?", (again,))
        shutil.rmtree(scratch, ignore_errors=True)
    if why:
        approvals.void(db, approved.run_id, "; ".join(why))
        raise ApprovalVoid(
            f"The plan of run {approved.run_id} is not what would be sent now, so that its approval is void:\n"
            + "\n".join(f"  - {reason}" for reason in why),
            safe="Nothing was sent to the CRM; the ledger is as it was.",
            todo="Run again: nightshift run (or retry, or revert, as the plan was made) plans anew, and is held anew "
            "where a guard is in the way.",
        )


def push_plan(
    db: Warehouse,
    run: Journal,
    declared: Project,
    made: plan.Plan,
    folder: Path,
    *,
    after: Sequence[gate.Suite] = (),
    approved: bool = False,
) -> None:
    """See whether the day is long enough, push wave by wave, read back, judge what came back.

    Args:
        db: the warehouse.
        run: the run's journal.
        declared: the project.
        made: the plan.
        folder: the run's folder.
        after: the suites on what the CRM gives back.
        approved: whether a person approved this plan.
    """
    with run.stage("budget"):
        _ask_what_is_left(run, declared)
        budget.check(run.summary.forecast, approved=approved)
    approvals.mark(db, made.run_id, "pushed")
    if after and made.batches:
        # Beside the push, which waits for the CRM; a night has it imported already.
        Thread(target=gate.warm_up, name="warm-up", daemon=True).start()
    try:
        with run.stage("push"):
            try:
                _push(run, declared, made, folder)
            finally:
                # Whatever happened, what the CRM acknowledged is acknowledged.
                merged = ledger.merge(db, made.run_id, made.batches, folder / "receipts", made.terms)
                run.note(syncs=collect.with_outcomes(run.summary.syncs, merged))
        with run.stage("reconcile"):
            _reconcile(db, run, declared, made, folder)
        _judge_after(db, run, declared, after)
        if unknown := run.summary.total("unknown"):
            raise _unanswered(unknown)
    finally:
        run.note(
            syncs=tuple(
                collect.with_details(db, made.run_id, item, declared.sync(item.name).pii) for item in run.summary.syncs
            )
        )


def see_that_it_fits(
    db: Warehouse, run: Journal, declared: Project, written: Sequence[Sync], batches: Sequence[Batch] = ()
) -> None:
    """Ask the CRMs that are written to what their objects are now; tell what changed, and stop where they do not fit.

    Values that they will not take are counted before that, so that one run tells all that is wrong.

    All objects of such a CRM are described, those with nothing to write too: what it changed tonight is told tonight.

    Args:
        db: the warehouse.
        run: the run's journal.
        declared: the project.
        written: the syncs that are to be written, or adopted.
        batches: what is to be written to them.

    Raises:
        ConfigError: lists every mismatch of the syncs that are to be written.
        PushError: a CRM did not answer.
    """
    crms = {sync.crm for sync in written}
    looked_at = [sync for sync in declared.syncs if sync.crm in crms]
    described = preflight.describe(declared.connections, looked_at)
    run.count_requests(described.requests)
    changed = preflight.drift(db, described, looked_at, run.summary.run_id)
    preflight.keep(db, run.summary.run_id, described)
    # What the CRM has changed may be why the mapping does not fit any more.
    # What the plan found stays.
    before = (finding for finding in run.summary.findings if finding.kind == "attached")
    run.note(findings=(*before, *preflight.planned_values(db, described, written, batches), *changed))
    preflight.check(described, written)


def look_ahead(db: Warehouse, run: Journal, declared: Project, made: plan.Plan) -> None:
    """See that the CRM fits what a plan writes; see `see_that_it_fits`."""
    written = [declared.sync(item.sync) for item in made.syncs if item.operations]
    see_that_it_fits(db, run, declared, written, made.batches)


def _unanswered(records: int) -> PushError:
    return PushError(
        f"The CRM gave no answer for {records:,} record{'s' if records > 1 else ''}: they may or may not be written.",
        safe="The ledger moved only for records that were answered. The next run sends the others again; "
        "none of them is made twice.",
        todo="Look whether the CRM is up, then run again.",
    )


def _merge_what_a_dead_run_left(settings: Settings, db: Warehouse) -> None:
    """Move the ledger forward from receipts of runs that were killed before they could."""
    left = db.execute("select run_id from sync.plans where state = 'pushed' and merged_at is null order by planned_at")
    for (run_id,) in left:
        folder = settings.run_folder(run_id)
        if any((folder / "receipts").glob("*.jsonl")):
            old = plan.load(folder)
            merged = ledger.merge(db, run_id, old.batches, folder / "receipts", old.terms)
            tasks.log(f"merged {sum(m.applied for m in merged.values())} receipts of run {run_id}, which was killed")


def extract_all(settings: Settings, db: Warehouse, run: Journal, sources: Sequence[Source]) -> None:
    """Extract all sources side by side; if any fails, the others' rows stay and the run stops."""
    extract.prepare(sources, db)
    extracted = tasks.results(
        tasks.extract_source.map(
            sources,
            unmapped(db),
            run_id=run.summary.run_id,
            as_of=run.summary.as_of,
            project_dir=unmapped(settings.project),
        )
    )
    run.note(sources=tuple(collect.source(done) for done in extracted))


def look_for_anomalies(db: Warehouse, run: Journal, tables: Sequence[anomalies.Table]) -> None:
    """Tell what is unusual for the weekday; a table that cannot be measured stops nothing, as nothing of this does."""
    day = run.summary.as_of or run.summary.started_at.date()
    todo = "Nothing was stopped by it. The run's error.txt says why; `anomalies: false` turns a table off."
    for table in tables:
        with run.spared(f"{table.name} could not be compared with its history", todo):
            found = anomalies.look(db, run.summary.run_id, [table], day)
            run.note(anomalies=(*run.summary.anomalies, *found))


def judge(db: Warehouse, run: Journal, stage: Stage, suites: Sequence[gate.Suite], pii: Mapping[str, Set[str]]) -> None:
    """Judge every suite's table, show all of it, then decide; ``pii`` is `Project.personal`."""
    if stage == "crm":
        gate.withdraw(db, suites)
    reports = _check(db, run, stage, suites, pii)
    held = (collect.quarantine(done) for done in reports)
    run.note(quarantine=(*run.summary.quarantine, *(table for table in held if table is not None)))
    gate.verdict(reports)


def _check(
    db: Warehouse, run: Journal, stage: Stage, suites: Sequence[gate.Suite], pii: Mapping[str, Set[str]]
) -> list[gate.GateReport]:
    reports = [tasks.check_suite(suite, db, run.summary.run_id, stage, pii) for suite in suites]
    run.note(gates=(*run.summary.gates, *(found for done in reports for found in collect.gates(done))))
    return reports


def _push(run: Journal, declared: Project, made: plan.Plan, folder: Path) -> None:
    for wave in push.waves(made.batches, declared.syncs):
        objects = ", ".join(sorted({sync.object for sync, _ in wave}))
        with progress.bar(f"push {objects}", sum(batch.count for _, batch in wave)) as bar:
            pushed = tasks.results(
                tasks.push_batch.map(*_columns(declared, wave), unmapped(folder / "receipts"), unmapped(bar.advance))
            )
        run.count_requests(sum(done.usage.requests for done in pushed))
        if not any(done.applied or done.rejected for done in pushed):
            # The CRM is gone: what follows would only wait for nothing, and children lack their parents.
            raise _unanswered(sum(done.unknown for done in pushed))


def _reconcile(db: Warehouse, run: Journal, declared: Project, made: plan.Plan, folder: Path) -> None:
    """Read back everything that was written, batch by batch."""
    pairs = [(declared.sync(batch.sync), batch) for batch in made.batches]
    if not pairs:
        return
    with progress.bar("read back", sum(batch.count for _, batch in pairs)) as bar:
        read = tasks.results(
            tasks.read_back_batch.map(
                *_columns(declared, pairs),
                unmapped(folder / "receipts"),
                unmapped(folder / "readback"),
                unmapped(bar.advance),
            )
        )
    run.count_requests(sum(done.usage.requests for done in read))
    files = [folder / "readback" / f"{done.batch}.jsonl" for done in read]
    reconcile.record_mismatches(db, run.summary.run_id, files)
    sync_of = {batch.name: batch.sync for batch in made.batches}
    _keep_what_came_back(db, run, declared, sync_of, read, folder / "readback")
    run.note(syncs=collect.with_readback(run.summary.syncs, sync_of, read))


def _keep_what_came_back(
    db: Warehouse,
    run: Journal,
    declared: Project,
    sync_of: Mapping[str, str],
    read: Sequence[reconcile.ReadBack],
    folder: Path,
) -> None:
    """Take what was read back into the warehouse; its files are of no more use, and hold personal data."""
    for sync in declared.syncs:
        files = [reconcile.returned_file(folder, done.batch) for done in read if sync_of[done.batch] == sync.name]
        if returned.keep(db, run.summary.run_id, sync, files):
            returned.take_up(db, run.summary.run_id, sync)
        for file in files:
            file.unlink(missing_ok=True)


def _judge_after(db: Warehouse, run: Journal, declared: Project, suites: Sequence[gate.Suite]) -> None:
    """Judge what this run read back; where it read nothing back there is nothing to judge."""
    read = returned.tables(db, run.summary.run_id, [suite.table for suite in suites])
    judged = [suite for suite in suites if suite.table in read]
    if not judged:
        return
    with run.stage("gate_crm_after"):
        gate.verdict_after(_check(db, run, "crm_after", judged, declared.personal))


def _columns(
    declared: Project, pairs: Sequence[tuple[Sync, Batch]]
) -> tuple[list[Connection], list[Sync], list[Batch]]:
    """What mapped tasks take: connections, syncs and batches side by side."""
    return [declared.connections[sync.crm] for sync, _ in pairs], [s for s, _ in pairs], [b for _, b in pairs]
