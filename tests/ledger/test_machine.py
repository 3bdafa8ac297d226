"""Nights in any order with any answers: whatever happens in between, an undisturbed night makes the CRM the model."""

from __future__ import annotations

import json
from itertools import count, cycle

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from flows import plan
from flows.records import Operation, Outcome, Receipt, Record, Value
from tests.plan.world import NAMES, ROWS, Rows, World, line, near

FATES = ("applied", "rejected", "lost before", "lost after", "said lost before", "said lost after")
"""What can become of a record. Lost: no receipt; said lost: a receipt that says unknown. Before or after the write."""


class Nights(RuleBasedStateMachine):
    """The CRM is a dict that only a push writes to; the test knows what each record's last answer was."""

    world: World

    @initialize(rows=ROWS)
    def start(self, rows: Rows) -> None:
        self.world.reset()
        self.crm: dict[str, tuple[str, dict[str, Value]]] = {}
        self.ids = count(1)
        self.wanted = rows
        self.refused: dict[str, int] = {}
        self.different: set[str] = set()
        self.dead: plan.Plan | None = None
        self.world.model(rows)

    @rule(data=st.data())
    def edit(self, data: st.DataObject) -> None:
        self.wanted = data.draw(near(self.wanted))
        self.world.model(self.wanted)

    @rule(data=st.data(), fate=st.sampled_from(FATES))
    def second_thoughts(self, data: st.DataObject, fate: str) -> None:
        """An edit meets its fate and is taken back: nothing seems to differ, but the CRM may hold the edit."""
        before = self.wanted
        self.edit(data)
        self.night([fate], None)
        self.wanted = before
        self.world.model(before)

    @rule(
        fates=st.lists(st.sampled_from(FATES), min_size=1, max_size=7),
        torn=st.none() | st.integers(1, 400),
        most=st.none() | st.integers(1, 4),
    )
    def night(self, fates: list[str], torn: int | None, most: int | None = None) -> None:
        """A night; where it is torn, it dies while it writes its last receipts, and the next night finds them.

        Its requests may not be enough for all of it: what is left out is still wanted.
        """
        self._merge_what_a_dead_run_left()
        self.different = {r.external_id for batch in self.world.plan().batches for r in batch.records()}
        self.world.most = most
        made = self.world.plan()
        self.world.most = None
        fate = cycle(fates)
        (made.folder / "receipts").mkdir(parents=True, exist_ok=True)
        for batch in made.batches:
            receipts = [self._meet(batch.operation, record, next(fate)) for record in batch.records()]
            text = "".join(line(receipt) for receipt in receipts if receipt).encode()
            if batch is made.batches[-1] and torn is not None:
                text = text[:-torn]
            (made.folder / "receipts" / f"{batch.name}.jsonl").write_bytes(text)
        self.dead = made
        if torn is None:
            self._merge_what_a_dead_run_left()

    @rule()
    def quiet_night(self) -> None:
        """All goes well."""
        self._merge_what_a_dead_run_left()
        made = self.world.plan()
        self.different = set()
        self.world.answer(made, lambda operation, record: self._meet(operation, record, "applied"))
        self.world.merge(made)
        self.refused.clear()
        assert {key: tuple(values.get(n) for n in NAMES) for key, (_, values) in self.crm.items()} == self.wanted
        assert self.world.held() == self.wanted
        assert self.world.db.execute("select * from sync.doubts") == []
        assert self.world.plan().operations == 0

    @invariant()
    def everything_agrees(self) -> None:
        if not self.world.db.exists("sync", f"ledger__{self.world.sync.name}"):
            return
        assert self.world.replayed() == self.world.as_text()
        if self.dead is None:
            assert self.world.open_rejections() == self.refused

    def teardown(self) -> None:
        if hasattr(self, "crm"):
            self.quiet_night()

    def _meet(self, operation: Operation, record: Record, fate: str) -> Receipt | None:
        """What the CRM does with a record: upsert by external id, update and delete by id, as Salesforce does."""
        key, missing = record.external_id, ("", {})
        crm_id = self.crm.get(key, missing)[0]
        if fate == "rejected":
            return Receipt(key, Outcome.REJECTED, record.crm_id, code="NO", message="refused")
        if fate in ("applied", "lost after", "said lost after"):
            if operation is Operation.ARCHIVE:
                # push looks up whom it only knows by external id
                if record.crm_id in (None, crm_id):
                    self.crm.pop(key, None)
            elif operation is Operation.UPDATE:
                assert record.crm_id == crm_id, "an update of a record that is not there"
                self.crm[key] = (crm_id, {**self.crm[key][1], **record.values})
            else:
                crm_id = crm_id or f"id-{next(self.ids)}"
                self.crm[key] = (crm_id, {**self.crm.get(key, missing)[1], **record.values})
        if fate == "applied":
            return Receipt(key, Outcome.APPLIED, crm_id or record.crm_id)
        if fate.startswith("said"):
            return Receipt(key, Outcome.UNKNOWN, record.crm_id, code="NO_ANSWER", message="no answer")
        return None

    def _merge_what_a_dead_run_left(self) -> None:
        if self.dead is None:
            return
        dead, self.dead = plan.load(self.dead.folder), None
        self._expect_refusals(dead)
        merged = self.world.merge(dead)
        assert sum(m.applied + m.rejected + m.unknown for m in merged.values()) == dead.operations
        state = self.world.state()
        assert self.world.merge(dead)[self.world.sync.name].applied == 0
        assert self.world.state() == state, "merged a second time"

    def _expect_refusals(self, dead: plan.Plan) -> None:
        """Open exactly while refused and wanted: a record that did not differ wants nothing any more."""
        before = {key: times for key, times in self.refused.items() if key in self.different}
        for path in (dead.folder / "receipts").glob("*.jsonl"):
            for text in path.read_bytes().split(b"\n"):
                try:
                    receipt = json.loads(text)
                except ValueError:
                    continue
                key = receipt["external_id"]
                if receipt["outcome"] == "rejected":
                    before[key] = before.get(key, 0) + 1
                elif receipt["outcome"] == "applied":
                    before.pop(key, None)
        self.refused = before


def test_nights_converge(shared_world: World) -> None:
    class Machine(Nights):
        world = shared_world

    quick = settings(
        max_examples=15,
        stateful_step_count=8,
        deadline=None,
        phases=(Phase.reuse, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Machine, settings=quick)
