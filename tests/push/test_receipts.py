"""Receipts on the disk: what was written is what is read, whatever a CRM put into its texts."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from flows.records import Outcome, Receipt, ReceiptWriter, read_receipts

MAYBE = st.none() | st.text()
RECEIPTS = st.builds(
    Receipt,
    external_id=st.text(),
    outcome=st.sampled_from(Outcome),
    crm_id=MAYBE,
    created=st.none() | st.booleans(),
    code=st.text(),
    message=st.text(),
    fields=st.lists(st.text()).map(tuple),
    other_id=MAYBE,
    gone=st.booleans(),
)


@given(st.lists(RECEIPTS))
def test_receipts_are_read_as_they_were_written(receipts: list[Receipt]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "receipts.jsonl"
        with ReceiptWriter(path) as writer:
            writer.write(receipts)
        assert list(read_receipts(path)) == receipts


def test_a_line_names_every_field_of_a_receipt(tmp_path: Path) -> None:
    with ReceiptWriter(tmp_path / "receipts.jsonl") as writer:
        writer.write([Receipt("a", Outcome.APPLIED)])
    line = json.loads((tmp_path / "receipts.jsonl").read_text(encoding="utf-8"))
    assert list(line) == [field.name for field in dataclasses.fields(Receipt)]
