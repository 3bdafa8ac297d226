"""The files of a bulk job: a batch's rows as the CSV that is sent, and the CSVs that come back matched with them.

DuckDB makes and matches them, straight from the batch's Parquet file.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.crm.salesforce.encode import NULL, column_sql, is_text, text_sql
from flows.crm.salesforce.shape import Shape
from flows.records import Batch, Operation
from flows.warehouse import literal, quoted

MOST_TEXT = 32_000
"""Bytes of one value, of which Salesforce takes as many characters."""
BUFFER = 4_000_000
"""Bytes of a result file that are read at once; a record has at most 400,000 characters."""
RECEIPTS = 10_000
"""Receipts that are given out together."""
RESULTS = ("successfulResults", "failedResults", "unprocessedRecords")


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of ``todo`` that go into one job.

    Attributes:
        first: the lowest ``n``.
        end: one more than the highest.
        cleared: the lookups that these rows set to null; such rows need a header of their own.
        apart: whether these rows hold what a bulk CSV cannot, so that they go by Collections.
    """

    first: int
    end: int
    cleared: tuple[str, ...]
    apart: bool = False

    @property
    def count(self) -> int:
        """How many rows."""
        return self.end - self.first

    def halves(self) -> tuple[Part, Part]:
        """Cut in two."""
        middle = (self.first + self.end) // 2
        return Part(self.first, middle, self.cleared), Part(middle, self.end, self.cleared)


Answer = tuple[int, str, str | None, str | None, str | None, str | None, str | None]
"""Row in the file, external id, known CRM id, answer's kind, sf__Id, sf__Created, sf__Error."""


class Files:
    """A batch between its Parquet file, the CSV that is sent and the CSVs that come back.

    Args:
        shape: the sync as Salesforce sees it.
        batch: the batch.
        folder: an empty folder for the CSVs.
        database: a scratch DuckDB.
    """

    def __init__(self, shape: Shape, batch: Batch, folder: Path, database: Any) -> None:
        self._shape = shape
        self._operation = batch.operation
        self._folder = folder
        self._database = database
        creates = batch.operation is Operation.CREATE
        self._header, self._key = (shape.external_id, "external_id") if creates else ("Id", "crm_id")
        database.execute(
            f"create view batch as select *, {self._key} as key, file_row_number as row "
            f"from read_parquet({literal(str(batch.path))}, file_row_number = true)"
        )
        self._straight = not shape.lookups and not self._any_apart()
        """Whether the rows go out as they stand in the batch: then they are not held in memory."""
        if self._straight:
            database.execute("create view todo as select row, external_id, crm_id, key, row as n from batch")
        else:
            self._choose()

    def _choose(self) -> None:
        """Make the table of the rows that are to be sent."""
        cleared = [
            f"case when list_contains(changed, {literal(name)}) and {quoted(name)} is null then {literal(name)} end"
            for name in (() if self._operation is Operation.ARCHIVE else self._shape.lookups)
        ]
        parent = quoted(next(iter(self._shape.lookups))) if self._shape.lookups else "null"
        self._database.execute(
            f"create table todo as select row, external_id, crm_id, key, {parent} as parent, "
            f"concat_ws(',', {', '.join(cleared) or 'null'}) as cleared, {self._apart()} as apart, 0 as n from batch"
        )

    def _any_apart(self) -> bool:
        return bool(self._database.execute(f"select 1 from batch where {self._apart()} limit 1").fetchall())

    def _apart(self) -> str:
        """SQL that says of a row whether a bulk CSV cannot hold it: a text that means null there, or too long a one."""
        texts = [
            (f"list_contains(changed, {literal(name)})", text_sql(quoted(name), data_type))
            for name, data_type in self._shape.types.items()
            if is_text(data_type) and self._operation is not Operation.ARCHIVE
        ]
        unfit = [f"({text} = {literal(NULL)} or strlen({text}) > {MOST_TEXT}) and {sent}" for sent, text in texts]
        return f"coalesce({' or '.join([f'{self._key} = {literal(NULL)}', *unfit])}, false)"

    def parts(self, rows: list[int] | None) -> list[Part]:
        """Choose the rows that are still to be sent, the children of one parent side by side.

        Args:
            rows: rows in the file; None for all that are there.

        Returns:
            One part for each set of lookups that is cleared, and those for rows that go apart.
        """
        if self._straight and rows is None:
            (count,) = self._database.execute("select count(*) from batch").fetchall()[0]
            return [Part(0, count, ())]
        if self._straight:
            self._straight = False
            self._database.execute("drop view todo")
            self._choose()
        chosen = "" if rows is None else "where row in (select unnest($rows))"
        self._database.execute(
            "create or replace table todo as select * "
            f"replace (row_number() over (order by apart, cleared, parent, row) as n) from todo {chosen}",
            {} if rows is None else {"rows": rows},
        )
        found = self._database.execute(
            "select min(n), max(n) + 1, cleared, apart from todo group by cleared, apart order by 1"
        )
        return [
            Part(first, end, tuple(cleared.split(",")) if cleared else (), apart)
            for first, end, cleared, apart in found.fetchall()
        ]

    def external_ids(self, part: Part) -> set[str]:
        """The external ids of a part's rows."""
        found = self._database.execute(f"select external_id from todo where n >= {part.first} and n < {part.end}")
        return {row[0] for row in found.fetchall()}

    def write(self, part: Part) -> Path:
        """Write a part as CSV: LF, UTF-8, a blank for what is not sent, ``#N/A`` for null."""
        columns = [f"key as {quoted(self._header)}"]
        if self._operation is not Operation.ARCHIVE:
            columns += self._columns(part)
        target = self._folder / "upload.csv"
        chosen = f"select row, n from todo where n >= {part.first} and n < {part.end}"
        source = f"batch join ({chosen}) using (row) order by n"
        if self._straight:
            source = f"batch where row >= {part.first} and row < {part.end}"
        select = f"select {', '.join(columns)} from {source}"
        self._database.execute(
            f"copy ({select}) to {literal(str(target))} (format csv, header, delimiter ',', quote '\"', escape '\"')"
        )
        return target

    def _columns(self, part: Part) -> Iterator[str]:
        rows = "batch" if self._straight else "batch semi join todo using (row)"
        found = self._database.execute(f"select distinct unnest(changed) from {rows}").fetchall()
        changed = {name for (name,) in found}
        for name in self._shape.types:
            lookup = self._shape.lookups.get(name)
            if name not in changed:
                continue
            if name in part.cleared:
                yield f"{literal(NULL)} as {quoted(name)}"
            else:
                header = lookup.header if lookup else name
                yield f"{column_sql(self._shape, name)} as {quoted(header)}"

    def result(self, kind: str) -> Path:
        """Where a result file belongs."""
        return self._folder / f"{kind}.csv"

    def answers(self, part: Part) -> Iterator[list[Answer]]:
        """Match the result files with the part's rows, whatever order they came in."""
        scans = [scan for kind in RESULTS if (scan := self._scan(kind)) is not None]
        empty = "select null::varchar as key, null as kind, null as id, null as created, null as error where false"
        self._database.execute(
            f"select t.row, t.external_id, t.crm_id, r.kind, r.id, r.created, r.error from todo t "
            f"left join ({' union all '.join([empty, *scans])}) r on r.key = t.key "
            f"where t.n >= {part.first} and t.n < {part.end}"
        )
        while chunk := self._database.fetchmany(RECEIPTS):
            yield chunk

    def _scan(self, kind: str) -> str | None:
        path = self.result(kind)
        with path.open(encoding="utf-8", newline="") as file:
            header = next(csv.reader(file), [])
        if self._header not in header:
            return None
        columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in header)
        told = {name: quoted(name) if name in header else "null" for name in ("sf__Id", "sf__Created", "sf__Error")}
        return (
            f"select {quoted(self._header)} as key, {literal(kind)} as kind, {told['sf__Id']} as id, "
            f"{told['sf__Created']} as created, {told['sf__Error']} as error "
            f"from read_csv({literal(str(path))}, header = true, auto_detect = false, delim = ',', quote = '\"', "
            f"escape = '\"', buffer_size = {BUFFER}, columns = {{{columns}}})"
        )
