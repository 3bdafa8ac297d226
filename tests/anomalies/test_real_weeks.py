"""Weeks of the real till, replayed: ordinary days, Sundays and Christmas stay quiet, and half a file does not."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import yaml

from flows import extract
from flows.project import Source
from flows.project.declared import Anomalies, FilesExtract
from flows.quality import anomalies
from flows.summary.findings import AnomalySummary
from flows.warehouse import Warehouse
from tests.conftest import PROJECT

FIRST, LAST = date(2010, 12, 1), date(2011, 3, 16)


class Till:
    """The till's files, day by day."""

    def __init__(self, db: Warehouse, real: Path, folder: Path) -> None:
        folder.mkdir()
        document = yaml.safe_load((PROJECT / "dbt_project/models/staging/retail/_retail__sources.yml").read_text())
        [table] = document["sources"][0]["tables"]
        self.source = Source(
            name="retail.invoice_lines",
            table=table["identifier"],
            columns={column["name"]: column["data_type"] for column in table["columns"]},
            extract=FilesExtract(
                kind="files", path=str(folder / "*.csv.gz"), format="csv", date_in_name=True, missing="warning"
            ),
            anomalies=Anomalies.model_validate(table["config"]["meta"]["anomalies"]),
        )
        self.db, self.real, self.folder = db, real / "data" / "online-retail" / "by-day", folder
        extract.prepare([self.source], db)

    def night(self, day: date, share: float = 1.0) -> Sequence[AnomalySummary]:
        """One night, for which so large a share of the day's file arrives; there are days without a file."""
        there = self.real / f"{day}.csv.gz"
        if there.exists() and share == 1:
            shutil.copy2(there, self.folder / there.name)
        elif there.exists():
            lines = gzip.decompress(there.read_bytes()).splitlines(keepends=True)
            (self.folder / there.name).write_bytes(gzip.compress(b"".join(lines[: int(len(lines) * share)])))
        run_id = f"night-{day}"
        self.db.execute(
            "insert into ops.runs (run_id, target, as_of, started_at, state) values (?, 'test', ?, now(), 'done')",
            (run_id, day),
        )
        extract.extract(self.source, self.db, run_id=run_id, as_of=day, project_dir=self.folder)
        return anomalies.look(self.db, run_id, anomalies.of_sources([self.source]), day)


def test_ordinary_weeks_are_quiet_and_half_a_file_is_seen(
    warehouse: Warehouse, shared_data: Path, tmp_path: Path
) -> None:
    till = Till(warehouse, shared_data, tmp_path / "in")
    days = [FIRST + timedelta(days=past) for past in range((LAST - FIRST).days)]
    told = {day: found for day in days if (found := till.night(day))}
    assert len(days) == 105
    # No Saturday has a file, and nothing arrived from Christmas to the third of January.
    assert not [day for day in told if day.weekday() in (5, 6) or date(2010, 12, 23) < day < date(2011, 1, 10)]
    assert [(day.isoformat(), a.metric, a.column) for day, found in told.items() for a in found] == [
        ("2011-01-14", "sum", "Quantity"),  # 23,090 pieces where Fridays had some 16,000
        ("2011-01-28", "nulls", "Description"),  # stock that was written off: 5 % of the lines
    ]
    found = till.night(LAST, share=0.5)
    assert "age" in {anomaly.metric for anomaly in found}, "the afternoon is missing"
    newest = next(anomaly for anomaly in found if anomaly.metric == "age")
    assert (newest.column, newest.days) == ("InvoiceDate", 8)
    assert newest.value > newest.high > newest.median
    assert {(a.metric, a.column) for a in till.night(LAST + timedelta(days=1))} == {("nulls", "CustomerID")}
