"""Lookups in HubSpot, which are associations: made, changed, removed, refused; those that people made stay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flows.crm.base import Connector
from flows.errors import ConfigError, PushError
from flows.project import MappedField, Sync
from flows.records import Operation, Outcome, Receipt, Record, Value
from tests.crm.conftest import Sandbox
from tests.crm.test_contract import COMPANIES, PEOPLE, hubspot


def company(sandbox: Sandbox, **properties: str) -> str:
    """Make a company by hand."""
    return str(sandbox.crm("POST", "v3/objects/companies", {"properties": properties, "associations": []})["id"])


def associated(sandbox: Sandbox, kind: str, crm_id: str, to: str = "companies") -> dict[str, set[int]]:
    """The associations of a record: other record's id -> type ids."""
    found = sandbox.crm("GET", f"v4/objects/{kind}/{crm_id}/associations/{to}")["results"]
    return {str(one["toObjectId"]): {t["typeId"] for t in one["associationTypes"]} for one in found}


def test_an_association_that_people_made_stays(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path)
    parents = crm.create(COMPANIES, {key: {"name": key} for key in ("one", "two")})
    ids = crm.create(PEOPLE, {"c": {"lastname": "C", "companies": "one"}})
    by_hand = company(sandbox, name="By hand")
    sandbox.crm("PUT", f"v4/objects/contacts/{ids['c']}/associations/default/companies/{by_hand}")
    assert crm.read(PEOPLE, ids)["c"]["companies"] == "one"
    for parent, there in (("two", {parents["two"], by_hand}), (None, {by_hand})):
        receipts = crm.write(PEOPLE, Operation.UPDATE, [Record("c", ids["c"], {"companies": parent})])
        assert receipts["c"].outcome is Outcome.APPLIED
        assert associated(sandbox, "contacts", ids["c"]).keys() == there
        assert crm.read(PEOPLE, ids)["c"]["companies"] == parent


def test_a_second_parent_shows_as_a_difference(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path)
    parents = crm.create(COMPANIES, {key: {"name": key} for key in ("one", "two")})
    ids = crm.create(PEOPLE, {"c": {"lastname": "C", "companies": "one"}})
    sandbox.crm("PUT", f"v4/objects/contacts/{ids['c']}/associations/default/companies/{parents['two']}")
    assert crm.read(PEOPLE, ids)["c"]["companies"] == "one;two"


def family(*lookups: tuple[str, str]) -> Sync:
    """Companies with lookups to companies: column, association."""
    fields = [
        MappedField(column, name, "varchar", False, COMPANIES.name, "companies", "external_id")
        for column, name in lookups
    ]
    return replace(COMPANIES, fields=(COMPANIES.fields[0], *fields))


def test_an_association_has_its_type(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path)
    made = sandbox.crm(
        "POST", "v4/associations/companies/companies/labels", {"label": "Rival", "name": "rival", "inverseLabel": "Foe"}
    )["results"]
    rival = next(one["typeId"] for one in made if one["label"] == "Rival")
    sync = family(("parent", "companies:14"), ("rival", f"companies:USER_DEFINED:{rival}"))
    values: dict[str, dict[str, Value]] = {
        "a": {"name": "A"},
        "b": {"name": "B", "companies:14": "a", f"companies:USER_DEFINED:{rival}": "a"},
        "c": {"name": "C", "companies:14": "b"},
    }
    # The parents are among those that are made in the same batch.
    ids = crm.create(sync, values)
    assert {14, rival} <= associated(sandbox, "companies", ids["b"])[ids["a"]]
    found = crm.read(sync, ids)
    assert {k: (v["companies:14"], v[f"companies:USER_DEFINED:{rival}"]) for k, v in found.items()} == {
        "a": (None, None),
        "b": ("a", "a"),
        "c": ("b", None),
    }
    crm.write(sync, Operation.UPDATE, [Record("b", ids["b"], {"companies:14": None})])
    left = crm.read(sync, ids)["b"]
    assert (left["companies:14"], left[f"companies:USER_DEFINED:{rival}"]) == (None, "a")


def test_lookups_that_cannot_be_told_apart_are_a_mistake(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path)
    with pytest.raises(ConfigError, match="several lookups lead to companies, so companies needs a"):
        crm.create(family(("parent", "companies"), ("owner", "companies:14")), {"a": {"name": "A"}})


def test_a_custom_object_may_be_a_parent(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path)
    shipments = replace(
        COMPANIES,
        object="2-40000001",
        external_id_field="tracking_number",
        fields=(MappedField("services", "services", "varchar"), MappedField("fragile", "is_fragile", "boolean")),
    )
    lookup = MappedField("shipment", "2-40000001", "varchar", False, "shipments", "2-40000001", "tracking_number")
    people = replace(PEOPLE, fields=(PEOPLE.fields[0], lookup))
    ids = crm.create(shipments, {"s": {"services": "express;signed", "is_fragile": True}})
    assert crm.read(shipments, ids) == {"s": {"services": "express;signed", "is_fragile": True}}
    info = crm.run(lambda connector: connector.describe("contacts"))
    assert info.fields["2-40000001"].references == ("2-40000001",)
    ids = crm.create(people, {"p": {"lastname": "P", "2-40000001": "s"}})
    assert crm.read(people, ids)["p"]["2-40000001"] == "s"


def test_a_failed_association_is_a_rejection_that_names_the_field(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path)
    crm.create(COMPANIES, {"one": {"name": "One"}})
    sandbox.faults(
        {
            "path": "associate/default",
            "status": 400,
            "body": {"status": "error", "category": "VALIDATION_ERROR", "message": "Too many associations."},
        }
    )
    receipts = crm.write(
        PEOPLE,
        Operation.CREATE,
        [Record("a", None, {"lastname": "A", "companies": "one"}), Record("b", None, {"lastname": "B"})],
    )
    assert receipts["b"].outcome is Outcome.APPLIED
    refused = receipts["a"]
    assert (refused.outcome, refused.code, refused.message, refused.fields) == (
        Outcome.REJECTED,
        "VALIDATION_ERROR",
        "Too many associations.",
        ("companies",),
    )
    sandbox.faults()
    healed = crm.write(PEOPLE, Operation.CREATE, [Record("a", None, {"lastname": "A", "companies": "one"})])
    assert (healed["a"].outcome, healed["a"].created) == (Outcome.APPLIED, False)
    assert crm.read(PEOPLE, {"a": None})["a"]["companies"] == "one"


def test_an_association_without_an_answer_leaves_its_record_unknown(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path, deadline_seconds=0.3)
    crm.create(COMPANIES, {"one": {"name": "One"}})
    sandbox.faults({"path": "associate/default", "status": 500, "after": True})
    receipts = crm.write(PEOPLE, Operation.CREATE, [Record("a", None, {"lastname": "A", "companies": "one"})])
    assert receipts["a"].outcome is Outcome.UNKNOWN
    assert receipts["a"].crm_id


def test_an_association_that_was_not_tried_leaves_its_record_unknown_too(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path, deadline_seconds=0.3)
    crm.create(COMPANIES, {"one": {"name": "One"}})
    sandbox.faults({"path": "associate/default", "status": 429, "headers": {"Retry-After": "9"}})
    batch = crm.batch(PEOPLE, Operation.CREATE, [Record("a", None, {"lastname": "A", "companies": "one"})])
    receipts: list[Receipt] = []

    async def work(connector: Connector) -> None:
        async for some in connector.write(PEOPLE, batch):
            receipts.extend(some)

    with pytest.raises(PushError, match=r"associate/default: no answer .* HTTP 429"):
        crm.run(work)
    assert [(r.outcome, bool(r.crm_id)) for r in receipts] == [(Outcome.UNKNOWN, True)]


def test_associations_take_few_requests(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path)
    crm.create(COMPANIES, {f"p{i}": {"name": "P"} for i in range(50)})
    people: dict[str, dict[str, Value]] = {f"c{i}": {"lastname": "C", "companies": f"p{i % 50}"} for i in range(2000)}
    ids = crm.create(PEOPLE, people)
    assert sandbox.requests("associate/default") == 2
    assert sandbox.requests("associations/{from}/{to}/batch/read") == 0
    found = crm.read(PEOPLE, ids)
    assert {key: v["companies"] for key, v in found.items()} == {key: v["companies"] for key, v in people.items()}
