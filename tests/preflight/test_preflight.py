"""Before a push, every place where mapping and CRM disagree is told at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from flows.crm.base import FieldInfo, ObjectInfo
from flows.errors import ConfigError
from flows.preflight import check, describe
from flows.preflight.mapping import mismatches
from flows.project import MappedField, Sync
from tests.push.world import ACCOUNTS, World

WHERE = "models/crm/_crm__models.yml: crm_accounts"


def mapped(*more: MappedField, **changes: Any) -> Sync:
    return replace(ACCOUNTS, fields=(*ACCOUNTS.fields, *more), **changes)


def told(world: World, sync: Sync) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        check(describe({"main": world.connection}, [sync]), [sync])
    assert raised.value.safe
    assert raised.value.todo
    return [line.removeprefix("  - ") for line in raised.value.what.splitlines()[1:]]


def test_a_mapping_that_fits_counts_its_requests_and_writes_nothing(world: World) -> None:
    world.crm.reset_stats()
    described = describe({"main": world.connection, "unused": world.connection}, [ACCOUNTS])
    check(described, [ACCOUNTS])
    assert described.requests >= 1
    assert world.crm.writes() == {}


def test_everything_that_does_not_fit_is_listed_at_once(world: World) -> None:
    sync = mapped(
        MappedField("segment", "Segmnt__c", "varchar"),
        MappedField("changed", "SystemModstamp", "timestamp"),
        MappedField("staff", "NumberOfEmployees", "varchar"),
        MappedField("revenue", "AnnualRevenue", "date"),
        MappedField("parent", "ParentId", "varchar", parent="crm_x", parent_object="Contact", parent_external_id="X"),
        external_id_field="AccountNumber",
    )
    assert sorted(told(world, sync)) == [
        f"{WHERE}.changed: this login may not write Account.SystemModstamp",
        f"{WHERE}.parent: Account.ParentId refers to Account, not to Contact",
        f"{WHERE}.revenue: a date does not fit Account.AnnualRevenue (currency)",
        f"{WHERE}.segment: Account has no field Segmnt__c; did you mean Segment__c?",
        f"{WHERE}.staff: a varchar does not fit Account.NumberOfEmployees (int)",
        f"{WHERE}: Account.AccountNumber is not marked as a unique external id in the CRM",
    ]


def test_a_field_that_every_new_record_needs(world: World) -> None:
    nameless = replace(ACCOUNTS, fields=ACCOUNTS.fields[1:])
    assert told(world, nameless) == [f"{WHERE}: a new Account needs Name, and no column is mapped to it"]
    check(describe({"main": world.connection}, [nameless]), [replace(nameless, mode="update_only")])


def test_an_object_that_is_not_there_keeps_nothing_else_from_being_listed(world: World) -> None:
    gone = replace(ACCOUNTS, name="crm_gone", object="Acount")
    wrong = mapped(MappedField("segment", "Segmnt__c", "varchar"))
    syncs = [gone, wrong]
    with pytest.raises(ConfigError) as raised:
        check(describe({"main": world.connection}, syncs), syncs)
    assert "in 2 places" in raised.value.what
    assert "has no object 'Acount'; did you mean Account" in raised.value.what
    assert "Account has no field Segmnt__c" in raised.value.what


def test_a_login_that_is_refused_is_told_once_and_as_it_is(world: World) -> None:
    world.settings["client_secret"] = SecretStr("wrong")
    syncs = [ACCOUNTS, replace(ACCOUNTS, name="crm_contacts", object="Contact")]
    with pytest.raises(ConfigError) as raised:
        check(describe({"main": world.connection}, syncs), syncs)
    assert "does not fit" not in raised.value.what
    assert "client" in str(raised.value)


@pytest.mark.parametrize(
    ("data_type", "crm_type", "fits"),
    [
        ("varchar", "string", True),
        ("bigint", "string", True),
        ("varchar", "picklist", True),
        ("decimal(14,2)", "currency", True),
        ("DECIMAL(14, 2)", "number", True),
        ("bigint", "double", True),
        ("boolean", "double", False),
        ("varchar", "boolean", False),
        ("boolean", "boolean", True),
        ("boolean", "bool", True),
        ("timestamp", "date", False),
        ("date", "date", True),
        ("date", "datetime", True),
        ("timestamp", "datetime", True),
        ("timestamp with time zone", "datetime", True),
        ("varchar", "datetime", False),
        ("varchar", "location", True),
        ("json", "int", False),
        ("varchar[]", "multipicklist", True),
        ("varchar[]", "string", False),
    ],
)
def test_types(data_type: str, crm_type: str, fits: bool) -> None:
    sync = replace(ACCOUNTS, fields=(MappedField("a", "A", data_type),))
    key = FieldInfo("External_Id__c", "string", external_id=True)
    info = ObjectInfo("Account", {"External_Id__c": key, "A": FieldInfo("A", crm_type)})
    assert (mismatches(sync, info) == []) is fits


@pytest.mark.parametrize(
    ("mode", "rights", "problems"),
    [
        ("mirror", {"deletable": False}, ["archive"]),
        ("upsert", {"deletable": False}, []),
        ("mirror", {"createable": False, "updateable": False, "deletable": False}, ["create", "update", "archive"]),
        ("update_only", {"createable": False}, []),
        ("create_only", {"updateable": False}, []),
    ],
)
def test_what_the_login_may_not_do_with_an_object(mode: str, rights: dict[str, bool], problems: list[str]) -> None:
    sync = replace(ACCOUNTS, mode=mode, fields=())
    key = FieldInfo("External_Id__c", "string", external_id=True)
    info = ObjectInfo("Account", {"External_Id__c": key}, **rights)
    assert mismatches(sync, info) == [f"{WHERE}: this login may not {op} Account records" for op in problems]
