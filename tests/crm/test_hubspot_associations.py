"""Lookups in HubSpot, which are associations: made, changed, removed, refused; those that people made stay."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from flows.crm.base import Checks, Connector
from flows.errors import ConfigError
from flows.project import MappedField, Sync
from flows.records import Operation, Outcome, Record, Value
from tests.crm.conftest import Sandbox
from tests.crm.test_contract import COMPANIES, PEOPLE, association, hubspot


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


@pytest.mark.parametrize("keys", [("a1", "A1"), ("A1", "a1")])
def test_parents_that_differ_in_capitals_alone_are_told_apart(
    sandbox: Sandbox, tmp_path: Path, keys: tuple[str, str]
) -> None:
    crm = hubspot(sandbox, tmp_path)
    crm.create(COMPANIES, {key: {"name": key} for key in keys})
    ids = crm.create(PEOPLE, {f"of {key}": {"lastname": "C", "companies": key} for key in ("a1", "A1")})
    assert {key: found["companies"] for key, found in crm.read(PEOPLE, ids).items()} == {"of a1": "a1", "of A1": "A1"}


def test_a_second_parent_shows_as_a_difference(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path)
    parents = crm.create(COMPANIES, {key: {"name": key} for key in ("one", "two")})
    ids = crm.create(PEOPLE, {"c": {"lastname": "C", "companies": "one"}})
    sandbox.crm("PUT", f"v4/objects/contacts/{ids['c']}/associations/default/companies/{parents['two']}")
    assert crm.read(PEOPLE, ids)["c"]["companies"] == "one;two"


def lookup(column: str, label: str | int | None, parent: Sync = COMPANIES) -> MappedField:
    """A lookup to a parent sync, as the project makes it."""
    if label is not None:
        return association(column, parent, label)
    return MappedField(column, parent.object, "varchar", False, parent.name, parent.object, parent.external_id_field)


def family(*lookups: MappedField) -> Sync:
    """Companies with lookups to companies."""
    return replace(COMPANIES, fields=(COMPANIES.fields[0], *lookups))


@pytest.mark.parametrize("paths", ["v3", "2026-03"])
def test_an_association_has_its_type(sandbox: Sandbox, tmp_path: Path, paths: str) -> None:
    crm = hubspot(sandbox, tmp_path, paths=paths)
    rival = sandbox.make_label("companies", "companies", "Rival", "Foe")
    sync = family(lookup("parent", 14), lookup("rival", "Rival"))
    parent, foe = "companies: 14", "companies: Rival"
    values: dict[str, dict[str, Value]] = {
        "a": {"name": "A"},
        "b": {"name": "B", parent: "a", foe: "a"},
        "c": {"name": "C", parent: "b"},
    }
    # The parents are among those that are made in the same batch.
    ids = crm.create(sync, values)
    assert {14, rival} <= associated(sandbox, "companies", ids["b"])[ids["a"]]
    found = crm.read(sync, ids)
    assert {k: (v[parent], v[foe]) for k, v in found.items()} == {"a": (None, None), "b": ("a", "a"), "c": ("b", None)}
    crm.write(sync, Operation.UPDATE, [Record("b", ids["b"], {parent: None})])
    left = crm.read(sync, ids)["b"]
    assert (left[parent], left[foe]) == (None, "a")
    # The same types by their other names.
    named = family(lookup("parent", "Parent Company"), lookup("rival", rival))
    crm.write(named, Operation.UPDATE, [Record("b", ids["b"], {"companies: Parent Company": "c"})])
    left = crm.read(sync, ids)["b"]
    assert (left[parent], left[foe]) == ("c", "a")


def test_lookups_to_one_object_live_side_by_side(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path)
    billing = sandbox.make_label("contacts", "companies", "Billing contact")
    parents = crm.create(COMPANIES, {key: {"name": key} for key in ("one", "two", "three")})
    people = replace(PEOPLE, fields=(PEOPLE.fields[0], lookup("employer", "Primary"), lookup("bills", billing)))
    employer, bills = "companies: Primary", f"companies: {billing}"
    ids = crm.create(people, {"c": {"lastname": "C", employer: "one", bills: "two"}})
    by_hand = company(sandbox, name="By hand")
    sandbox.crm("PUT", f"v4/objects/contacts/{ids['c']}/associations/default/companies/{by_hand}")

    def told() -> tuple[Value, Value]:
        found = crm.read(people, ids)["c"]
        return found[employer], found[bills]

    assert told() == ("one", "two")
    moves: list[tuple[dict[str, Value], tuple[Value, Value]]] = [
        ({employer: "three"}, ("three", "two")),
        ({bills: "three"}, ("three", "three")),
        ({employer: "two", bills: None}, ("two", None)),
        ({employer: "one", bills: "one"}, ("one", "one")),
        ({employer: None}, (None, "one")),
    ]
    for sent, held in moves:
        receipts = crm.write(people, Operation.UPDATE, [Record("c", ids["c"], sent)])
        assert receipts["c"].outcome is Outcome.APPLIED
        assert told() == held
    # Nothing but our own types was taken away.
    left = associated(sandbox, "contacts", ids["c"])
    assert {parents["one"], by_hand} <= left.keys()
    assert left[by_hand] == {279}


def test_a_label_that_people_added_stays(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path)
    ours, theirs = (sandbox.make_label("deals", "contacts", text) for text in ("Buyer", "Friend"))
    contacts = crm.create(PEOPLE, {key: {"lastname": key} for key in ("one", "two")})
    deals = replace(
        COMPANIES,
        object="deals",
        fields=(MappedField("name", "dealname", "varchar"), lookup("buyer", "Buyer", replace(PEOPLE, name="people"))),
    )
    ids = crm.create(deals, {"d": {"dealname": "D", "contacts: Buyer": "one"}})
    spec = {"associationCategory": "USER_DEFINED", "associationTypeId": theirs}
    sandbox.crm("PUT", f"v4/objects/deals/{ids['d']}/associations/contacts/{contacts['one']}", [spec])
    crm.write(deals, Operation.UPDATE, [Record("d", ids["d"], {"contacts: Buyer": "two"})])
    assert associated(sandbox, "deals", ids["d"], "contacts") == {
        contacts["one"]: {3, theirs},
        contacts["two"]: {3, ours},
    }
    assert crm.read(deals, ids)["d"]["contacts: Buyer"] == "two"


MISTAKES: dict[str, tuple[tuple[MappedField, ...], str]] = {
    "unknown label": (
        (lookup("parent", "Parent"),),
        r"companies has no association 'Parent' with companies; known: 450, .*Parent Company \(14\)",
    ),
    "unknown number": ((lookup("parent", 99),), "companies has no association 99 with companies; known: 450"),
    "a default beside a typed one": (
        (lookup("owner", None), lookup("parent", 14)),
        "several lookups lead to companies, so companies needs an association of its own",
    ),
    "one type twice": (
        (lookup("owner", "Parent Company"), lookup("parent", 14)),
        "companies: 14 and companies: Parent Company are the same association",
    ),
}


@pytest.mark.parametrize(("lookups", "told"), MISTAKES.values(), ids=MISTAKES.keys())
def test_an_association_that_cannot_be_is_told_before_anything_is_sent(
    sandbox: Sandbox, tmp_path: Path, lookups: tuple[MappedField, ...], told: str
) -> None:
    crm = hubspot(sandbox, tmp_path)
    with pytest.raises(ConfigError, match=told):
        crm.create(family(*lookups), {"a": {"name": "A"}})
    assert sandbox.requests("batch") == 0

    async def ask(connector: Connector) -> list[str]:
        assert isinstance(connector, Checks)
        return await connector.mismatches(family(*lookups))

    (problem,) = crm.run(ask)
    assert re.search(told, problem)


def test_a_label_that_stands_twice_needs_its_number(sandbox: Sandbox, tmp_path: Path) -> None:
    crm = hubspot(sandbox, tmp_path)
    first, second = (sandbox.make_label("companies", "companies", "Peer") for _ in range(2))
    told = rf"companies has several associations 'Peer' with companies; .*Peer \({first}\), Peer \({second}\)"
    with pytest.raises(ConfigError, match=told):
        crm.create(family(lookup("peer", "Peer")), {"a": {"name": "A"}})


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
    # The record itself is there: its receipt says where, and that it is new.
    assert (refused.crm_id, refused.created) == (sandbox.records("contacts")[0]["id"], True)
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
    receipts = crm.write_until(
        r"associate/default: no answer .* HTTP 429",
        PEOPLE,
        Operation.CREATE,
        [Record("a", None, {"lastname": "A", "companies": "one"})],
    )
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
