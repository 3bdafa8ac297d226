"""Values of every type go to Salesforce and come back as they are, by Collections and by Bulk."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.project import MappedField
from flows.reconcile import same
from flows.records import Operation, Outcome, Record, Value
from tests.crm.conftest import Sandbox
from tests.crm.contract import ODD_TEXTS, House, days, moments, money
from tests.crm.test_contract import ACCOUNTS, CONTACTS, salesforce

CHANNELS = ("Shop", "Web", "Phone", "Fair")
COMPANIES = replace(
    ACCOUNTS,
    fields=(
        MappedField("name", "Name", "varchar"),
        MappedField("about", "Notes__c", "text"),
        MappedField("lifetime_value", "Lifetime_Value__c", "decimal(16,2)"),
        MappedField("revenue", "AnnualRevenue", "decimal(15,0)"),
        MappedField("orders", "Order_Count__c", "hugeint"),
        MappedField("employees", "NumberOfEmployees", "integer"),
        MappedField("first_order_date", "First_Order_Date__c", "date"),
        MappedField("channels", "Channels__c", "varchar[]"),
        MappedField("segment", "Segment__c", "varchar"),
        MappedField("parent", "ParentId", "varchar", False, "crm_accounts", "Account", "External_Id__c"),
    ),
)
PEOPLE = replace(
    CONTACTS,
    fields=(
        MappedField("last_name", "LastName", "varchar(80)"),
        MappedField("consent_at", "Consent_At__c", "timestamptz"),
        MappedField("opted_out", "HasOptedOutOfEmail", "boolean"),
    ),
)
BLANKS = "".join(map(chr, range(33)))
# Salesforce cuts off the blanks around a text.
_letters = st.characters(exclude_categories=["Cc", "Cs", "Cn"]) | st.sampled_from("\r\n\t\",;'\\ #\u00e9\u20ac")
_stripped = st.text(_letters, min_size=1, max_size=40).map(lambda text: text.strip(BLANKS)).filter(bool)
texts = _stripped | st.sampled_from(ODD_TEXTS)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "Name": texts,
    "Notes__c": st.none() | texts | texts.map(lambda text: text * 1_700),
    "Lifetime_Value__c": st.none() | money,
    "AnnualRevenue": st.none() | st.integers(-(10**14), 10**14).map(Decimal),
    "Order_Count__c": st.none() | st.integers(-(10**15), 10**15),
    "NumberOfEmployees": st.none() | st.integers(-(10**8) + 1, 10**8 - 1),
    "First_Order_Date__c": st.none() | days,
    "Channels__c": st.none() | st.lists(st.sampled_from(CHANNELS), max_size=6),
    "Segment__c": st.none() | st.sampled_from(["New", "At Risk"]),
    "ParentId": st.none() | st.just("parent"),
}


@pytest.fixture(params=[1_000_000, 0], ids=["collections", "bulk"])
def house(request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Path) -> House:
    made = salesforce(sandbox, tmp_path, request.param)
    made.create(COMPANIES, {"parent": {"Name": "P"}})
    return made


def differences(sent: dict[str, dict[str, Value]], found: dict[str, dict[str, Value]]) -> list[tuple[Value, Value]]:
    return [
        (value, found[key].get(name))
        for key, values in sent.items()
        for name, value in values.items()
        if not same(value, found[key].get(name)) or not isinstance(found[key].get(name), type(value) | None)
    ]


@given(data=st.data())
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
def test_what_is_created_and_then_changed_reads_back_equal(house: House, data: st.DataObject) -> None:
    records = data.draw(st.lists(st.fixed_dictionaries(FIELDS), min_size=1, max_size=5))
    sent: dict[str, dict[str, Value]] = {uuid4().hex: record for record in records}
    ids = house.create(COMPANIES, sent)
    assert differences(sent, house.read(COMPANIES, ids)) == []
    for key in sent:
        chosen = data.draw(st.sets(st.sampled_from(sorted(FIELDS)), min_size=1))
        sent[key] = {name: data.draw(FIELDS[name]) for name in sorted(chosen)}
    receipts = house.write(COMPANIES, Operation.UPDATE, [Record(key, ids[key], new) for key, new in sent.items()])
    assert {r.outcome for r in receipts.values()} == {Outcome.APPLIED}
    assert differences(sent, house.read(COMPANIES, ids)) == []


@given(records=st.lists(st.tuples(texts, st.none() | moments, st.booleans()), min_size=1, max_size=5))
@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
def test_moments_that_know_their_zone(house: House, records: list[tuple[str, datetime | None, bool]]) -> None:
    sent: dict[str, dict[str, Value]] = {
        uuid4().hex: {
            "LastName": name,
            "Consent_At__c": moment and moment.replace(tzinfo=UTC),
            "HasOptedOutOfEmail": out,
        }
        for name, moment, out in records
    }
    found = house.read(PEOPLE, house.create(PEOPLE, sent))
    assert differences(sent, found) == []
    moments_found = [v for values in found.values() if isinstance(v := values["Consent_At__c"], datetime)]
    assert {moment.tzinfo for moment in moments_found} <= {UTC}


def test_a_value_that_salesforce_would_cut_shows_up(house: House) -> None:
    sync = replace(COMPANIES, fields=(replace(COMPANIES.fields[2], type="decimal(18,4)"), COMPANIES.fields[0]))
    sent: dict[str, dict[str, Value]] = {"a": {"Name": "A", "Lifetime_Value__c": Decimal("1.2345")}}
    found = house.read(sync, house.create(sync, sent))
    assert differences(sent, found) == [(Decimal("1.2345"), Decimal("1.2300"))]


def test_days_and_moments_at_the_ends_of_time(house: House) -> None:
    ends = [date(1700, 1, 1), date(4000, 12, 31)]
    sent: dict[str, dict[str, Value]] = {str(day): {"Name": "N", "First_Order_Date__c": day} for day in ends}
    assert differences(sent, house.read(COMPANIES, house.create(COMPANIES, sent))) == []


def test_longest_texts(house: House) -> None:
    lengths = (31_999, 32_000, 32_001, 131_072)
    sent: dict[str, dict[str, Value]] = {str(n): {"Name": "N", "Notes__c": "x" * (n - 1) + "é"} for n in lengths}
    assert differences(sent, house.read(COMPANIES, house.create(COMPANIES, sent))) == []
    receipts = house.write(
        COMPANIES, Operation.CREATE, [Record("over", None, {"Name": "N", "Notes__c": "x" * 131_073})]
    )
    assert (receipts["over"].code, receipts["over"].fields) == ("STRING_TOO_LONG", ("Notes__c",))
