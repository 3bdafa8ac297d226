"""The protocol that every connector keeps, and the values it speaks in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from flows.crm.forms import Form
from flows.project import Sync
from flows.records import Batch, Operation, Receipt, Record


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """One field of a CRM object, as the CRM describes it.

    Attributes:
        name: the API name.
        type: the CRM's own type name.
        createable: whether a create may set it.
        updateable: whether an update may set it.
        nullable: whether it may be empty.
        length: most characters; None where there is no such limit.
        precision: digits in all; None where it is not a number.
        scale: digits after the point; None where it is not a number.
        external_id: whether records can be found by it, and it is unique.
        picklist: the values that are accepted; None where any is.
        references: the objects that a lookup may point to.
        relationship: for a lookup, the name under which the parent's own fields are reached.
        defaulted: whether a create that leaves it out gets a value from the CRM.
        case_sensitive: of an external id, whether ``a`` and ``A`` are two records.
    """

    name: str
    type: str
    createable: bool = True
    updateable: bool = True
    nullable: bool = True
    length: int | None = None
    precision: int | None = None
    scale: int | None = None
    external_id: bool = False
    picklist: tuple[str, ...] | None = None
    references: tuple[str, ...] = ()
    relationship: str | None = None
    defaulted: bool = False
    case_sensitive: bool = True


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """A CRM object, as the CRM describes it.

    Attributes:
        name: the API name.
        fields: by API name.
        createable: whether this login may create its records.
        updateable: whether this login may update them.
        deletable: whether this login may archive or delete them.
        lacks: the permission that this login has not, where one of these is for lack of it and the CRM has a name for
            it; else empty.
        goes_with: objects whose records the CRM deletes with a record of this one, each with the lookup that leads
            here; of those alone that people work on by themselves.
    """

    name: str
    fields: dict[str, FieldInfo]
    createable: bool = True
    updateable: bool = True
    deletable: bool = True
    lacks: str = ""
    goes_with: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Child:
    """A record that the CRM deletes with another one.

    Attributes:
        external_id: of that other one.
        object: the child's object.
        id: its CRM id; None where this login may not read the object, so that nobody knows whether there is one.
    """

    external_id: str
    object: str
    id: str | None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a connector has used so far.

    Attributes:
        requests: HTTP requests sent, retries included.
        retries: how many of them repeated an earlier one.
        api_used: requests that count against the CRM's day, None where the CRM did not say.
        api_limit: the CRM's requests a day, None where the CRM did not say.
    """

    requests: int = 0
    retries: int = 0
    api_used: int | None = None
    api_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a CRM will still take.

    Attributes:
        left: requests that are left of the day; None where the CRM did not say.
        most: requests a day; None where the CRM did not say.
        per_second: requests a second that we may send; None for no limit.
    """

    left: int | None = None
    most: int | None = None
    per_second: float | None = None


@runtime_checkable
class Checks(Protocol):
    """A connector that can say more of a mapping than `Connector.describe` shows."""

    async def mismatches(self, sync: Sync) -> list[str]:
        """Say where a sync's mapping and the CRM disagree, beyond what `describe` shows.

        Returns:
            One sentence for each mismatch, with object and field.

        Raises:
            ConfigError: the login is refused, or the CRM has no such object.
            PushError: the CRM did not answer.
        """
        ...


@runtime_checkable
class Cascades(Protocol):
    """A connector whose CRM deletes other records together with one."""

    def children(self, sync: Sync, known: Sequence[Record]) -> AsyncIterator[list[Child]]:
        """Find what the CRM would delete together with records.

        Args:
            sync: which object.
            known: external id and CRM id of each record; one whose CRM id is None is looked for by its external id.

        Yields:
            Their children, of the objects of `ObjectInfo.goes_with`.

        Raises:
            PushError: the CRM did not answer.
            ConfigError: the login is refused.
        """
        ...


class Connector(Protocol):
    """One connection to one CRM. Made for one event loop; used as ``async with``."""

    async def __aenter__(self) -> Connector:
        """Open the connection pool; no request is sent yet."""
        ...

    async def __aexit__(self, *exc: object) -> None:
        """Close the connection pool."""
        ...

    @property
    def usage(self) -> Usage:
        """What this connector has sent so far."""
        ...

    def batch_size(self, operation: Operation, count: int) -> int:
        """How many records a batch file should hold when ``count`` records get this operation."""
        ...

    def requests(self, sync: Sync, operation: Operation, *counts: int) -> int:
        """About how many requests it takes to write so many records of a sync, and to read them back.

        Made from what is known without asking: requests that a refusal causes are not in it. It never falls as there
        are more records, and is 0 for none.

        Args:
            sync: what is written.
            operation: what is to be done.
            counts: records of each depth (`flows.records.Batch.depth`), which have files of their own.
        """
        ...

    async def limits(self) -> Limits:
        """Ask the CRM what is left of the day.

        Raises:
            ConfigError: the login is refused.
            PushError: the CRM did not answer.
        """
        ...

    async def describe(self, object_name: str) -> ObjectInfo:
        """Describe an object.

        Raises:
            ConfigError: the login is refused, or the CRM has no such object.
            PushError: the CRM did not answer.
        """
        ...

    async def forms(self, sync: Sync) -> Mapping[str, Form]:
        """Say which texts of a sync the CRM keeps, or compares, in a form of its own.

        Returns:
            CRM field, also that of the external id -> the form, for those where it has one.

        Raises:
            PushError: the CRM did not answer.
            ConfigError: the login is refused, or a mapped field does not exist.
        """
        ...

    def write(self, sync: Sync, batch: Batch) -> AsyncIterator[list[Receipt]]:
        """Write a batch.

        Creates go by external id, so that a repeat makes no second record; updates and archives by CRM id.

        Yields:
            Receipts as the CRM answers; in all exactly one for each record of the batch, keyed by external id.

        Raises:
            PushError: the batch could not be tried (no further receipts come; those yielded stand).
            ConfigError: the login is refused.
        """
        ...

    def read(self, sync: Sync, known: Sequence[Record]) -> AsyncIterator[list[Record]]:
        """Read records back.

        Args:
            sync: which object and which fields.
            known: external id and CRM id of each record; one whose CRM id is None is looked for by its external id.
                The values that were sent to it, where they are known: a CRM that keeps a value in a form of its own
                (an e-mail in small letters) then gives back what was sent.

        Yields:
            The records that the CRM holds, each with all mapped fields, decoded to the sync's types as DuckDB gives
            them: decimals of the declared scale, naive UTC datetimes for TIMESTAMP, None for an empty text, a lookup
            as the parent's external id. A value that does not fit its type comes as it is, so that it shows up as
            a difference. One that it does not hold, has archived, or holds under another external id, is absent;
            one that it holds under the same in other letters comes under ours, where it does not tell them apart.

        Raises:
            PushError: the CRM did not answer.
            ConfigError: the login is refused, or a mapped field does not exist.
        """
        ...
