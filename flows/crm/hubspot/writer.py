"""Writing records: 100 a request, several requests in flight; then their associations.

Creates are upserts by the unique property and updates go by id, so a repeat is harmless. An archive is answered by 204
for the whole request and passes over ids that no record has: it is harmless to repeat too, and the records are taken
to be gone. Whether they are is seen when they are read back.

Source: https://developers.hubspot.com/docs/api-reference/crm-objects-v3/guide
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from flows.crm.flight import in_flight
from flows.crm.hubspot.batch import Item, Settler, Verdict, inputs, unanswered
from flows.crm.hubspot.client import Client, Problem
from flows.crm.hubspot.outgoing import Outgoing, outgoing
from flows.crm.hubspot.parents import MOST, MOST_LINKS, Parents
from flows.crm.hubspot.shape import Shape
from flows.errors import NightshiftError
from flows.records import Batch, Operation, Outcome, Receipt

GROUPS = 3
"""Groups of up to 1,000 records that are under way at once: while one is associated, or its receipts are brought to
the disk, others are written."""
MISSING = "OBJECT_NOT_FOUND"
"""What HubSpot says of an id that no record has, or that of an archived one."""
VERBS = {Operation.CREATE: "upsert", Operation.UPDATE: "update", Operation.ARCHIVE: "archive"}


@dataclass(slots=True)
class Done:
    """What became of a group.

    Attributes:
        receipts: of the records that have one.
        failure: why others have none.
    """

    receipts: list[Receipt] = field(default_factory=list)
    failure: NightshiftError | None = None

    def note(
        self,
        record: Outgoing,
        verdict: Verdict,
        crm_id: str | None,
        lookup: str = "",
        *,
        created: bool | None = None,
    ) -> None:
        """Write down a verdict that is not good: of a record, or of its lookup.

        Args:
            record: the record.
            verdict: what is held against it.
            crm_id: its id, where it is known.
            lookup: the field that could not be written, where it is a lookup.
            created: of a record that was written before its lookup failed, whether it is new. So a refused record
                whose receipt says this is in HubSpot all the same, with its other fields as they were sent.
        """
        if isinstance(verdict, Problem):
            receipt = Receipt(
                record.external_id,
                Outcome.REJECTED,
                crm_id,
                created,
                verdict.code,
                verdict.message,
                (lookup,) if lookup else verdict.fields,
                verdict.other_id,
                gone=not lookup and verdict.code == MISSING and record.crm_id in verdict.names,
            )
            self.receipts.append(receipt)
        elif isinstance(verdict, NightshiftError) and (unanswered(verdict) or crm_id != record.crm_id):
            # Written, or perhaps written, but without the last word.
            self.receipts.append(
                Receipt(record.external_id, Outcome.UNKNOWN, crm_id, code="NO_ANSWER", message=verdict.what)
            )
        elif isinstance(verdict, NightshiftError):
            self.failure = self.failure or verdict


async def write(client: Client, shape: Shape, batch: Batch) -> AsyncIterator[list[Receipt]]:
    """Write a batch.

    Args:
        client: the requests' way out.
        shape: the sync as HubSpot sees it.
        batch: the batch; read as there is room for its records.

    Yields:
        One receipt for each record, a group's together.

    Raises:
        PushError: a request could not be tried, or got no answer while others still waited.
        ConfigError: the token is refused.
    """
    writer = _Writer(client, shape, batch.operation)
    failure: NightshiftError | None = None

    def work() -> Iterator[Callable[[], Coroutine[Any, Any, Done]]]:
        for group in _groups(outgoing(shape, batch), MOST_LINKS):
            if failure is not None:
                return
            yield partial(writer.group, group)

    async for done in in_flight(work(), GROUPS):
        failure = failure or done.failure
        if done.receipts:
            yield done.receipts
    if failure is not None:
        raise failure


def _groups(records: Iterable[Outgoing], most: int) -> Iterator[list[Outgoing]]:
    group: list[Outgoing] = []
    for record in records:
        group.append(record)
        if len(group) == most:
            yield group
            group = []
    if group:
        yield group


class _Writer:
    def __init__(self, client: Client, shape: Shape, operation: Operation) -> None:
        self._client = client
        self._shape = shape
        self._operation = operation
        self._settler = Settler()
        self._parents = Parents(client, shape)

    async def group(self, records: Sequence[Outgoing]) -> Done:
        """Write up to 1,000 records and their associations."""
        done = Done()
        if self._operation is Operation.ARCHIVE:
            for record, verdict in await self._send(records):
                if isinstance(verdict, Mapping):
                    done.receipts.append(Receipt(record.external_id, Outcome.APPLIED, record.crm_id))
                else:
                    done.note(record, verdict, record.crm_id)
            return done
        try:
            records = await self._with_parents(records, done)
        except NightshiftError as error:
            return Done(done.receipts, error)
        written: list[tuple[Outgoing, str, bool | None]] = []
        for record, verdict in await self._send(records):
            if isinstance(verdict, Mapping):
                written.append((record, str(verdict["id"]), verdict.get("new")))
            else:
                done.note(record, verdict, record.crm_id)
        await self._link(written, done)
        return done

    async def _send(self, records: Sequence[Outgoing]) -> Iterable[tuple[Outgoing, Verdict]]:
        path = f"{self._client.objects(self._shape.object)}/batch/{VERBS[self._operation]}"

        async def send(items: Sequence[Item]) -> dict[str, Any]:
            return await self._client.post(path, inputs(items))

        by_id = {record.crm_id: f"n{number}" for number, record in enumerate(records)}

        def key_of(result: Mapping[str, Any]) -> str | None:
            trace = result.get("objectWriteTraceId")
            return str(trace) if trace is not None else by_id.get(result["id"])

        # How a record is called in errors: by what the input names it by, and by the trace.
        create, archive = self._operation is Operation.CREATE, self._operation is Operation.ARCHIVE
        items = [
            Item(
                key := f"n{number}",
                f"{record.body}}}" if archive else f'{record.body},"objectWriteTraceId":"{key}"}}',
                (record.external_id if create else record.crm_id or "",),
            )
            for number, record in enumerate(records)
        ]
        verdicts = await self._settler.settle(items, send, key_of, MOST)
        return ((record, verdicts[item.key]) for item, record in zip(items, records, strict=True))

    async def _with_parents(self, records: Sequence[Outgoing], done: Done) -> list[Outgoing]:
        """Refuse the records whose parent HubSpot does not hold, before anything of them is written."""
        fit = list(records)
        for name, lookup in self._shape.lookups.items():
            ids = await self._parents.ids(lookup, _keys(fit, name))
            absent = [r for r in fit if (key := r.lookups.get(name)) and str(key) not in ids]
            if lookup.parent == self._shape.object:
                # The parent may be among those that are written together; it is looked for again after that.
                siblings = {record.external_id for record in fit}
                absent = [record for record in absent if str(record.lookups[name]) not in siblings]
            for record in absent:
                done.note(record, self._no_parent(name, record), record.crm_id, name)
            refused = {record.external_id for record in absent}
            fit = [record for record in fit if record.external_id not in refused]
        return fit

    def _no_parent(self, name: str, record: Outgoing) -> Problem:
        lookup = self._shape.lookups[name]
        parent = f"{lookup.parent} record whose {lookup.external_id} is {record.lookups[name]!r}"
        return Problem("PARENT_NOT_FOUND", f"HubSpot holds no {parent}.")

    async def _link(self, written: Sequence[tuple[Outgoing, str, bool | None]], done: Done) -> None:
        """Associate records that are written; each has its receipt after that."""
        failed: dict[str, tuple[Verdict, str]] = {}
        fresh = frozenset(crm_id for _, crm_id, new in written if new)
        for name, lookup in self._shape.lookups.items():
            sent = {crm_id: r for r, crm_id, _ in written if name in r.lookups and crm_id not in failed}
            try:
                ids = await self._parents.ids(lookup, _keys(sent.values(), name))
            except NightshiftError as error:
                failed |= dict.fromkeys(sent, (error, name))
                continue
            wanted: dict[str, str | None] = {}
            for crm_id, record in sent.items():
                key = record.lookups[name]
                if not key:
                    wanted[crm_id] = None
                elif str(key) in ids:
                    wanted[crm_id] = ids[str(key)]
                else:
                    failed[crm_id] = (self._no_parent(name, record), name)
            verdicts = await self._parents.link(self._settler, name, wanted, fresh)
            failed |= {crm_id: (verdict, name) for crm_id, verdict in verdicts.items()}
        for record, crm_id, new in written:
            if crm_id in failed:
                verdict, name = failed[crm_id]
                done.note(record, verdict, crm_id, name, created=bool(new))
                if isinstance(verdict, NightshiftError) and not unanswered(verdict):
                    done.failure = done.failure or verdict
            else:
                created = bool(new) if self._operation is Operation.CREATE else None
                done.receipts.append(Receipt(record.external_id, Outcome.APPLIED, crm_id, created))


def _keys(records: Iterable[Outgoing], name: str) -> list[str]:
    return [str(key) for record in records if (key := record.lookups.get(name))]
