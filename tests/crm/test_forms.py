"""The forms that CRMs keep texts in are the same for one record and for a table."""

from __future__ import annotations

import pytest

from flows.crm import forms
from flows.warehouse import Warehouse

LETTERS = ("a", "A", " Mary@Example.com\n", "+44 (0)20-7946", "b;a;b", ";;", "Ünï É ß", "小林", "😀", "it's {}")
TEXTS = ("", " ", "\t\u00a0x\x1f\r\n", "\u3000\x0b", *LETTERS)


@pytest.mark.parametrize("name", ["STRIPPED", "TRIMMED", "DIGITS", "SEVERAL"])
def test_a_form_is_the_same_in_sql(warehouse: Warehouse, name: str) -> None:
    form: forms.Form = getattr(forms, name)
    warehouse.execute(f"create table texts as from (values {', '.join(['(?)'] * len(TEXTS))}) t(v)", TEXTS)
    found = dict(warehouse.execute(f"select v, {form.sql.format('v')} from texts"))
    assert found == {text: form.of(text) for text in TEXTS}
    assert len(set(found.values())) < len(TEXTS)
