"""Held plans and what people decide about them: ``sync.plans`` from the plan to its push.

A plan is *planned*, or *held* where it goes over a guard; a held one is *approved* or *rejected*; an approved one is
*pushed*, or *void* where it is no longer what would be planned. Who decided, when and why stays in its row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from flows import journal, ledger, report
from flows.errors import ConfigError
from flows.plan import Plan, SyncPlan
from flows.records import Batch
from flows.settings import Settings
from flows.summary import PlanState, PlanSummary
from flows.summary.story import counted
from flows.warehouse import Warehouse, literal, quoted

Kind = Literal["night", "retry", "revert"]
"""What a plan is of: the models against the ledger, open rejections alone, or the values before another run."""

_DECIDABLE = frozenset({"planned", "held", "approved"})


@dataclass(frozen=True, slots=True)
class Standing:
    """How a plan stands; times are UTC.

    Attributes:
        run_id: the run that made it.
        hash: over all that would be sent.
        target: the run's target.
        kind: how it is made again.
        reverts: for a revert, the run that it takes back.
        planned_at: when it was made.
        held: the guards that it goes over, in words.
        state: planned, held, approved, rejected, void or pushed.
        decided_at: when a person decided.
        decided_by: who.
        reason: why.
        void_because: what moved since.
        flow_run_id: Prefect's flow run that waits for the decision; None where none does.
    """

    run_id: str
    hash: str
    target: str
    kind: Kind
    reverts: str | None
    planned_at: datetime
    held: tuple[str, ...]
    state: PlanState
    decided_at: datetime | None
    decided_by: str | None
    reason: str | None
    void_because: str | None
    flow_run_id: str | None

    @property
    def decision(self) -> str:
        """Who decided what, when and why, in words."""
        why = f": {self.reason}" if self.reason else ""
        return f"{self.state} by {self.decided_by} at {self.decided_at:%Y-%m-%d %H:%M} UTC{why}"

    @property
    def summary(self) -> PlanSummary:
        """What a run's summary says of it."""
        at = self.decided_at and self.decided_at.replace(tzinfo=UTC)
        return PlanSummary(self.hash, self.state, self.decided_by, at, self.reason)


_COLUMNS = ", ".join(Standing.__dataclass_fields__)


def _read(db: Warehouse, where: str, *values: str) -> list[Standing]:
    rows = db.rows(f"select {_COLUMNS} from sync.plans where {where} order by planned_at desc, run_id desc", values)
    return [Standing(**{**row, "held": tuple(row["held"] or ())}) for row in rows]


def of_run(db: Warehouse, run_id: str) -> Standing | None:
    """How a run's plan stands; None where it made none."""
    return next(iter(_read(db, "run_id = ?", run_id)), None)


def of_flow_run(db: Warehouse, flow_run_id: str) -> Standing | None:
    """How the last plan stands that one of Prefect's flow runs made; None where it made none."""
    return next(iter(_read(db, "flow_run_id = ?", flow_run_id)), None)


def waiting(db: Warehouse) -> list[Standing]:
    """The plans that wait for a decision, or for their push; newest first."""
    return _read(db, "state in ('held', 'approved')")


def find(db: Warehouse, words: str) -> Standing:
    """Find the plan that a person means.

    Args:
        db: the warehouse.
        words: a run's id, or the beginning of a plan's hash.

    Raises:
        ConfigError: there is none, or the beginning fits several plans.
    """
    # Every hash begins with nothing, which is what an unset variable of a shell gives. And nobody filed a plan that was
    # only made to see whether an approved one stands, and left behind by a process that was killed.
    by_hash = "starts_with(hash, lower(?)) and target is not null"
    found = _read(db, "run_id = ?", words) or (_read(db, by_hash, words) if words else [])
    # The same plan may have been made by several runs: the newest of them stands for it.
    if len({plan.hash for plan in found}) == 1:
        return found[0]
    fits = ", ".join(f"{plan.hash[:12]} of run {plan.run_id}" for plan in found[:5])
    raise ConfigError(
        f"{words!r} fits {len(found)} plans: {fits}." if found else f"No plan {words!r} is known.",
        safe="Nothing was decided, nothing was sent.",
        todo="nightshift status lists the plans that wait; name one by its run's id.",
    )


def to_push(db: Warehouse, words: str | None) -> Standing:
    """Find the approved plan that is to be pushed.

    Args:
        db: the warehouse.
        words: a run's id or the beginning of a plan's hash; None where there is only one.

    Raises:
        ConfigError: it is not approved, there is none, or there are several.
    """
    if words is not None:
        plan = find(db, words)
        if plan.state != "approved":
            raise not_approved(plan)
        return plan
    approved = _read(db, "state = 'approved'")
    if len(approved) == 1:
        return approved[0]
    listed = ", ".join(plan.run_id for plan in approved)
    raise ConfigError(
        f"{len(approved)} plans are approved: {listed}." if approved else "No plan is approved.",
        safe="Nothing was sent.",
        todo="Name one of them with --plan." if approved else "nightshift approve PLAN; nightshift status lists them.",
    )


def commands(plan: Standing) -> list[str]:
    """What a person can call next for a plan that waits."""
    target = "" if plan.target == "sandbox" else f" --target {plan.target}"
    if plan.state == "approved":
        return [f"nightshift push --plan {plan.run_id}{target}"]
    return [
        f"nightshift approve {plan.run_id} --push{target}",
        f"nightshift reject {plan.run_id} --reason TEXT{target}",
    ]


def not_approved(plan: Standing) -> ConfigError:
    """Say how a plan stands that cannot be pushed as it is, and what to do."""
    told = {
        "planned": "is not approved",
        "held": "is held and not approved",
        "rejected": f"was {plan.decision}" if plan.decided_at else "was rejected",
        "void": f"is void: {plan.void_because}",
        "pushed": "was pushed already",
    }
    todo = {
        "planned": commands(plan)[0],
        "held": commands(plan)[0],
        "pushed": "nightshift run sends what is left, if anything is.",
    }
    return ConfigError(
        f"The plan of run {plan.run_id} {told[plan.state]}.",
        safe="Nothing was sent.",
        todo=todo.get(plan.state, "nightshift run plans anew."),
    )


def file(
    db: Warehouse, run_id: str, *, target: str, kind: Kind, reverts: str | None, flow_run_id: str | None, send: bool
) -> Standing:
    """Note whose plan a run has just made; one that a person approved before needs no new approval.

    Where it is made to be sent, it takes the place of the plans of its kind that still waited.

    Args:
        db: the warehouse; the plan's row is there.
        run_id: the run.
        target: the run's target.
        kind: what the plan is of.
        reverts: for a revert, the run that it takes back.
        flow_run_id: Prefect's flow run, if it can wait for a decision.
        send: whether the run goes on to push.
    """
    with db.transaction():
        db.execute(
            "update sync.plans set target = ?, kind = ?, reverts = ?, flow_run_id = ?, state = 'planned' "
            "where run_id = ?",
            (target, kind, reverts, flow_run_id, run_id),
        )
        [plan] = _read(db, "run_id = ?", run_id)
        if send:
            for old in waiting(db):
                if (old.kind, old.reverts) == (kind, reverts):
                    _replace(db, old, plan)
    [plan] = _read(db, "run_id = ?", run_id)
    return plan


def _replace(db: Warehouse, old: Standing, new: Standing) -> None:
    if old.hash != new.hash:
        void(db, old.run_id, f"run {new.run_id} planned anew, and it came out otherwise")
        return
    if old.state == "approved":
        db.execute(
            "update sync.plans set state = 'approved', decided_at = ?, decided_by = ?, reason = ? where run_id = ?",
            (old.decided_at, old.decided_by, old.reason, new.run_id),
        )
    void(db, old.run_id, f"run {new.run_id} made the same plan and goes on with it")


def mark(db: Warehouse, run_id: str, state: Literal["held", "pushed"]) -> None:
    """Note that a plan is held; or, right before its first request, that it is pushed: an approval is used once."""
    db.execute("update sync.plans set state = ? where run_id = ?", (state, run_id))


def void(db: Warehouse, run_id: str, because: str) -> None:
    """Note that a plan can no longer be pushed, and why; who approved it stays."""
    db.execute("update sync.plans set state = 'void', void_because = ? where run_id = ?", (because, run_id))


def decide(
    db: Warehouse,
    settings: Settings,
    plan: Standing,
    state: Literal["approved", "rejected"],
    *,
    by: str,
    reason: str | None,
) -> Standing:
    """Note a person's decision, in the run's summary and on its page too. The same once more changes nothing.

    Args:
        db: the warehouse.
        settings: where the page is.
        plan: the plan.
        state: approved or rejected; an approval can be taken back until the plan is pushed.
        by: who decides.
        reason: why.

    Returns:
        How the plan stands now.

    Raises:
        ConfigError: it is pushed, void, or rejected.
    """
    if plan.state == state:
        return plan
    if plan.state not in _DECIDABLE:
        raise not_approved(plan)
    db.execute(
        "update sync.plans set state = ?, decided_at = now(), decided_by = ?, reason = ? where run_id = ?",
        (state, by, reason or None, plan.run_id),
    )
    [decided] = _read(db, "run_id = ?", plan.run_id)
    _tell(db, settings, decided)
    return decided


def _tell(db: Warehouse, settings: Settings, plan: Standing) -> None:
    """Let the run that made the plan say what was decided."""
    run = journal.load(db, plan.run_id)
    if run is None:
        return
    run = replace(run, plan=plan.summary)
    if run.error and plan.state == "rejected":
        told = f"{run.error.what}\nThe plan was {plan.decision}."
        run = replace(run, error=replace(run.error, what=told, todo="The next night plans anew."))
    elif run.error:
        run = replace(run, error=replace(run.error, todo=commands(plan)[0]))
    if run.page:
        run = replace(run, page=str(report.write_page(run, settings.reports / run.run_id, db)))
    journal.write(db, run)


def moved(db: Warehouse, plan: Standing, approved: Plan, now: Plan) -> list[str]:
    """Say why a plan is no longer the one that was approved.

    Args:
        db: the warehouse.
        plan: how it stands.
        approved: as it was approved.
        now: as it would be made now.

    Returns:
        A sentence for each sync that differs: what moved, and how the counts differ; empty when the plans are equal.
    """
    if approved.hash == now.hash:
        return []
    then = {sync.sync: sync for sync in approved.syncs}
    told = []
    for new in now.syncs:
        old = then.pop(new.sync, None)
        if old is None:
            told.append(f"{new.sync} was not synced then")
        elif why := _what_moved(db, plan, old, new):
            told.append(f"{new.sync}: {why} ({_counts(old)} approved, {_counts(new)} now)")
    told += [f"{name} is not synced any more" for name in then]
    return told or ["the records are the same, but they would be sent in other batches"]


def _counts(sync: SyncPlan) -> str:
    counts = {"create": sync.creates, "update": sync.updates, "archive": sync.archives}
    return ", ".join(counted(count, name) for name, count in counts.items() if count) or "nothing"


def _what_moved(db: Warehouse, plan: Standing, old: SyncPlan, new: SyncPlan) -> str:
    """Which of declaration, ledger, model and CRM makes a sync's plan differ; empty when it does not."""
    if dict(old.types) != dict(new.types):
        return "the fields that are mapped, or their types, are other ones"
    names = list(old.types)
    for table, sync in (("plan_then", old), ("plan_now", new)):
        db.execute(f"create or replace temp table {table} as {_records(sync.batches, names)}")
    db.execute(
        "create or replace temp table ledger_moved as "
        f"select _external_id as external_id from {ledger.relation(new.sync)} "
        # A record that was only found in the CRM has no time, but the run that found it has one in its name.
        "where _acked_at > $at or (_acked_at is null and _run_id > $run) "
        "union select external_id from sync.changes where sync = $sync and changed_at > $at "
        "union select external_id from sync.forgotten where sync = $sync and forgotten_at > $at",
        {"at": plan.planned_at, "run": plan.run_id, "sync": new.sync},
    )
    values = "".join(f" or t.{quoted(name)} is distinct from n.{quoted(name)}" for name in names)
    differ, otherwise, by_ledger = db.execute(
        f"with pairs as (select coalesce(t.external_id, n.external_id) as id, "
        "t.external_id is not null and n.external_id is not null as twice, "
        f"(false{values}) as otherwise, t._operation is distinct from n._operation "
        "or t.crm_id is distinct from n.crm_id or t.changed is distinct from n.changed as sent "
        "from plan_then t full join plan_now n using (external_id)) "
        "select count(*) filter (not twice or otherwise or sent), "
        "count(*) filter ((twice and otherwise) or (not twice and id not in (from ledger_moved))), "
        "count(*) filter (id in (from ledger_moved) and (not twice or sent)) from pairs"
    )[0]
    if not differ:
        return ""
    found = []
    if by_ledger:
        found.append(f"the ledger moved for {by_ledger:,} of its records")
    if otherwise:
        found.append(f"the model moved for {counted(otherwise, 'record')}")
    return " and ".join(found) or f"what the CRM or the ledger holds of {counted(differ, 'record')} moved"


def _records(batches: Sequence[Batch], names: Sequence[str]) -> str:
    """SQL: what a plan would send to one sync."""
    fields = "".join(f", {quoted(name)}" for name in names)
    parts = [
        f"select {literal(batch.operation.value)} as _operation, external_id, crm_id, changed{fields} "
        f"from read_parquet({literal(str(batch.path))})"
        for batch in batches
    ]
    nothing = "".join(f", null as {quoted(name)}" for name in names)
    empty = f"select '' as _operation, '' as external_id, '' as crm_id, []::varchar[] as changed{nothing} where false"
    return " union all ".join([*parts, empty])
