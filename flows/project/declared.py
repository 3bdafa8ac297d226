"""What people write in YAML: under ``config.meta`` in dbt, and in ``profiles/connections.yml``.

Unknown keys are errors. `flows.project` turns what is declared here into the values that the stages work from.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Literal, Required, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, SecretStr, field_validator
from pydantic_core import CoreSchema, core_schema
from typing_extensions import TypedDict


def _share_or_count(value: object) -> object:
    """Read ``5%`` as the share 0.05 and leave a whole number as a count of records; a variable's value is a text."""
    if isinstance(value, str) and (found := re.fullmatch(r"\s*(\d+)(\.\d+)?\s*(%?)\s*", value)):
        whole, rest, percent = found.groups(default="")
        number = Decimal(whole + rest)
        return float(number / 100) if percent else float(number) if rest else int(whole)
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise ValueError(f"found {value!r}, expected a share such as 5% or a whole number of records")
    return value


def part(share: float, rows: int) -> Decimal:
    """A share of so many rows, exactly as it is written: 29% of 100 are 29, which floats make a little less."""
    return Decimal(str(share)) * rows


class Declared(BaseModel):
    """What people write in YAML: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Threshold = Annotated[float | int, BeforeValidator(_share_or_count), Field(ge=0)]
"""A float is a share of the ledger's records (``5%`` = 0.05), an int is a count of records."""

Share = Annotated[float, BeforeValidator(_share_or_count), Field(ge=0, le=1)]
"""A share such as ``80%`` (0.8)."""

Policy = Literal["always", "if_empty", "if_unchanged"]
"""When a field is sent: whenever it differs; while the CRM holds nothing; while it holds what we last sent."""

Nulls = Literal["clear", "ignore"]
"""What no value means: the CRM's value is cleared, or left as it is."""


class Guard(Declared):
    """What a plan may do without being approved; see `flows.plan.over_guard`.

    Attributes:
        first_run: creates of a first run, when the sync has not written any record yet.
        max_creates: creates once the ledger holds anything.
        max_updates: updates.
        max_archives: archives.
        max_changes: updates and archives together.
        fields: CRM field -> updates that change it.
        at_least: a share is not checked below so many records; that of archives is from 10 records on, whatever this
            says.
    """

    first_run: int | None = Field(default=50_000, ge=0)
    max_creates: Threshold | None = None
    max_updates: Threshold | None = None
    max_archives: Threshold | None = 0.05
    max_changes: Threshold | None = None
    fields: dict[str, Threshold] = Field(default_factory=dict)
    at_least: int = Field(default=100, ge=0)


class Anomalies(Declared):
    """What of a table is unusual: ``config.meta.anomalies`` on a source's table or a model (`flows.quality.anomalies`).

    Attributes:
        runs: so many days of the same weekday are compared with, one run a day.
        width: how far from the median is unusual, in deviations.
        ignore: the columns that are not looked at.
    """

    runs: int = Field(default=8, ge=4)
    width: float = Field(default=4, gt=0)
    ignore: list[str] = Field(default_factory=list)


class FilesExtract(Declared):
    """A folder of files, each loaded once.

    Attributes:
        path: a glob, relative to the project folder.
        format: taken from the files' names where absent.
        changed: what to do about a file whose content changed after it was loaded.
        date_in_name: whether a file's name holds the day it arrived (``2010-12-01``); needed for ``--as-of``.
        missing: what to do where ``--as-of`` names a day that has no file.
        delimiter: what stands between two fields of a CSV file.
        shrunken: below this share of the rows that the table once held, nothing that depends on it is archived.
    """

    kind: Literal["files"]
    path: str
    strategy: Literal["append", "replace"] = "append"
    format: Literal["csv", "parquet", "json"] | None = None
    changed: Literal["error", "reload"] = "error"
    date_in_name: bool = False
    missing: Literal["error", "warning"] = "error"
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    shrunken: Share = 0.8


class RestExtract(Declared):
    """A paginated JSON API.

    Attributes:
        url: the first page.
        key: the column that identifies a record (for ``merge``).
        cursor: the column that says when a record last changed; its highest value so far is sent as ``cursor_param``.
        cursor_param: query parameter for the lowest ``cursor`` wanted.
        until_param: query parameter for the highest ``cursor`` wanted (``--as-of``).
        records: the key of the page's list of records.
        next: the key of the next page's token; null or absent on the last page.
        page_param: query parameter for that token.
        page_size: records a page.
        page_size_param: query parameter for it.
        timeout_seconds: how long one answer may keep silent.
        deadline_seconds: how long one page is tried for, with all its repetitions.
        shrunken: below this share of the rows that the table once held, nothing that depends on it is archived.
    """

    kind: Literal["rest"]
    url: str
    strategy: Literal["append", "replace", "merge"] = "merge"
    key: str | None = None
    cursor: str | None = None
    cursor_param: str = "updated_since"
    until_param: str | None = "updated_until"
    records: str = "items"
    next: str = "next"
    page_param: str = "page"
    page_size: int = Field(default=1000, gt=0)
    page_size_param: str = "limit"
    timeout_seconds: float = Field(default=30, gt=0)
    deadline_seconds: float = Field(default=300, gt=0)
    shrunken: Share = 0.8


class ExternalId(Declared):
    """The model's key column, and the CRM field that holds it."""

    column: str
    field: str


class Lookup(Declared):
    """The parent sync of a column, and the CRM's reference field.

    Attributes:
        sync: the parent's model; may be the model itself.
        field: the reference field (Salesforce), or the parent's object type (HubSpot).
        association: for HubSpot, the association's type: a label, or the number of a type that HubSpot defines; the
            default type where absent.
    """

    sync: str
    field: str
    association: str | int | None = None


class SyncMeta(Declared):
    """What a model is kept in step with: ``config.meta.sync``.

    Attributes:
        crm: the connection's name.
        object: the CRM object.
        external_id: the model's key column, and the CRM field that holds it.
        mode: ``upsert``; ``create_only`` (what the CRM holds is left alone); ``update_only`` (what it does not hold is
            left out); ``mirror`` (archives what left the model, of the records that we wrote).
        nulls: what no value means in this sync's columns; a column may say otherwise.
        deleted: what to do about a record that somebody deleted in the CRM: ``report`` it each night, ``recreate`` it,
            or ``forget`` it until it has left the model.
        guard: what a plan may do without being approved.
    """

    crm: str = "main"
    object: str
    external_id: ExternalId
    mode: Literal["upsert", "create_only", "update_only", "mirror"] = "upsert"
    nulls: Nulls = "clear"
    deleted: Literal["report", "recreate", "forget"] = "report"
    guard: Guard = Guard()


class SalesforceConnection(Declared):
    """How to reach a Salesforce org.

    Attributes:
        url: the org's My Domain URL (or the login URL).
        auth: ``client_credentials`` needs client_id and client_secret, ``jwt`` needs client_id, username and
            private_key (a PEM text);
            audience is the JWT's ``aud``, the login URL, and is the connection's url where absent.
        requests_per_second: our own ceiling over all tasks; 0 for none.
        collections_up_to: the most records of one operation that go by sObject Collections; above, Bulk API 2.0.
        poll_seconds: first pause between two looks at a bulk job.
        deadline_seconds: how long one request is tried for, with all its repetitions.
        max_requests: the most requests that one night may plan to send; what is over them waits for the next night; see
            `flows.budget.check_most` for the least.
    """

    kind: Literal["salesforce"]
    url: str
    auth: Literal["client_credentials", "jwt"] = "client_credentials"
    client_id: str
    client_secret: SecretStr | None = None
    username: str | None = None
    private_key: SecretStr | None = None
    audience: str | None = None
    requests_per_second: float = Field(default=0, ge=0)
    collections_up_to: int = Field(default=2000, ge=0)
    poll_seconds: float = Field(default=0.5, gt=0)
    deadline_seconds: float = Field(default=600, gt=0)
    max_requests: int | None = Field(default=None, gt=0)


class HubSpotConnection(Declared):
    """How to reach a HubSpot account.

    Attributes:
        url: where the API answers.
        token: the access token of a private app.
        paths: which of HubSpot's paths are used: ``v3`` (the associations' are v4) or those of a dated version.
        requests_per_10_seconds: our own ceiling over all tasks, in any ten seconds; 0 for none.
        deadline_seconds: how long one request is tried for, with all its repetitions.
        max_requests: the most requests that one night may plan to send; what is over them waits for the next night; see
            `flows.budget.check_most` for the least.
    """

    kind: Literal["hubspot"]
    url: str = "https://api.hubapi.com"
    token: SecretStr
    paths: Literal["v3", "2026-03"] = "v3"
    requests_per_10_seconds: int = Field(default=190, ge=0)
    deadline_seconds: float = Field(default=600, gt=0)
    max_requests: int | None = Field(default=None, gt=0)


Connection = SalesforceConnection | HubSpotConnection
"""A connection to a CRM; its ``kind`` says which connector speaks it."""
KINDS = frozenset({"salesforce", "hubspot"})
"""The kinds of CRMs. What is named in a CRM may be named for each kind: ``{salesforce: Name, hubspot: name}``."""


class SourceConnection(Declared):
    """What a source's API wants to be told with every request; headers are secret."""

    headers: dict[str, SecretStr] = Field(default_factory=dict)


Occasion = Literal["success", "failure", "held", "quality", "rejections"]
"""What a channel may be told of; `flows.notify.occasions` says which nights are which."""


class ChannelRules(TypedDict, total=False):
    """A channel as people write it; a bare URL is one that is told of everything.

    Attributes:
        url: where to, as apprise knows it; secret as a whole.
        on: what it is told of.
        rejections_over: so many rejected records are not worth a message.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]  # pydantic's way to say it of a TypedDict

    url: Required[SecretStr]
    on: Annotated[list[Occasion], Field(min_length=1)]
    rejections_over: Annotated[int, Field(ge=0)]


class Channel(SecretStr):
    """A notification channel: its URL, which is secret as a whole, and what it is told of.

    Attributes:
        on: the occasions.
        rejections_over: it is told of rejections where there are more than so many.
        place: which of several it is, from 1; 0 for the only one.
    """

    def __init__(
        self, url: str, on: frozenset[Occasion] = frozenset(get_args(Occasion)), rejections_over: int = 0
    ) -> None:
        super().__init__(url)
        self.on, self.rejections_over, self.place = on, rejections_over, 0

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read a URL, or a mapping of `ChannelRules`."""
        rules = handler.generate_schema(ChannelRules)
        read = core_schema.no_info_before_validator_function(_as_rules, rules)
        return core_schema.no_info_after_validator_function(cls._of, read)

    @classmethod
    def _of(cls, rules: ChannelRules) -> Channel:
        on = frozenset(rules.get("on", get_args(Occasion)))
        return cls(rules["url"].get_secret_value(), on, rules.get("rejections_over", 0))


def _as_rules(value: object) -> object:
    if isinstance(value, dict):
        # To YAML 1.1 a bare `on` is the truth value true, and so is a key.
        return {"on" if key is True else key: inner for key, inner in value.items()}
    return {"url": value} if isinstance(value, str) else value


class TargetConnections(Declared):
    """One target: its CRMs and source credentials by name, and whom to notify."""

    crms: dict[str, Annotated[Connection, Field(discriminator="kind")]]
    sources: dict[str, SourceConnection] = Field(default_factory=dict)
    notify: list[Channel] = Field(default_factory=list)

    @field_validator("notify")
    @classmethod
    def _those_that_are_set(cls, channels: list[Channel]) -> list[Channel]:
        """A channel whose variable is empty is not wanted; the others are told apart by where they stand."""
        if len(channels) > 1:
            for place, channel in enumerate(channels, start=1):
                channel.place = place
        return [channel for channel in channels if channel.get_secret_value().strip()]
