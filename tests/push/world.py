"""A sync of accounts on a real sandbox, its plans, and the connector between: push and read back are tested on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from flows.project import MappedField, SalesforceConnection, Sync
from flows.records import Batch, Operation, Record, Value, read_receipts, write_batch
from tests.nightly.world import Crm
from tests.syncs import sync

ACCOUNTS = sync(
    "crm_accounts",
    "Account",
    "account_id",
    (
        MappedField("name", "Name", "varchar"),
        MappedField("country", "BillingCountry", "varchar", pii=True),
        MappedField("orders", "Order_Count__c", "bigint"),
        MappedField("value", "Lifetime_Value__c", "decimal(14,2)"),
        MappedField("first", "First_Order_Date__c", "date"),
    ),
    declared_in="models/crm/_crm__models.yml",
)


def rows(count: int) -> dict[str, dict[str, Value]]:
    """Accounts by external id, with a value for each field."""
    return {
        f"k{i}": {
            "Name": f"Näme {i}",
            "BillingCountry": "France",
            "Order_Count__c": i,
            "Lifetime_Value__c": Decimal("10.50"),
            "First_Order_Date__c": date(2010, 12, 1),
        }
        for i in range(count)
    }


@dataclass
class World:
    """A sandbox and a run's folder."""

    crm: Crm
    folder: Path
    sync: Sync = ACCOUNTS
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def connection(self) -> SalesforceConnection:
        ready = self.crm.running.ready
        given: dict[str, Any] = {
            "kind": "salesforce",
            "url": self.crm.url,
            "client_id": ready.client_id,
            "client_secret": SecretStr(ready.client_secret),
            "poll_seconds": 0.02,
            "deadline_seconds": 5,
        }
        return SalesforceConnection(**{**given, **self.settings})

    @property
    def receipts(self) -> Path:
        return self.folder / "receipts"

    def batch(self, operation: Operation, rows: Mapping[str, Mapping[str, Value]], **ids: str | None) -> Batch:
        """A batch file as a plan writes it; ids are the CRM's."""
        self.folder.mkdir(parents=True, exist_ok=True)
        records = [Record(key, ids.get(key), values) for key, values in rows.items()]
        return write_batch(self.folder / f"{operation}.parquet", self.sync.name, operation, records, self.sync.types)

    def outcomes(self, batch: Batch) -> dict[str, str]:
        return {r.external_id: r.outcome.value for r in read_receipts(self.receipts / f"{batch.name}.jsonl")}

    def ids(self) -> dict[str, str]:
        return self.crm.ids()["Account"]
