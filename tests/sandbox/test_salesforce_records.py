"""Single records and Collections: what is accepted, and the codes of what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.sandbox import org
from flows.sandbox.server import SandboxConfig, start
from tests.sandbox.conftest import Api, V

MISSING = "001NS000zzzzzzz"


def of(api: Api, kind: str, key: str, *fields: str) -> dict[str, Any]:
    names = ", ".join(fields or ("Id",))
    return api.soql(f"SELECT {names} FROM {kind} WHERE External_Id__c = '{key}'")[0]


def test_upsert_creates_then_updates_only_what_is_given(api: Api) -> None:
    first = api.upsert("Account", {"External_Id__c": "u1", "Name": "Ada", "Phone": "1"})[0]
    assert (first["success"], first["created"], first["errors"]) == (True, True, [])
    assert len(first["id"]) == 18
    again = api.upsert("Account", {"External_Id__c": "U1", "Phone": None})[0]
    assert (again["created"], again["id"]) == (False, first["id"])
    assert of(api, "Account", "u1", "Name", "Phone") == {"Name": "Ada", "Phone": None}


def test_results_stand_in_the_order_of_the_request(api: Api) -> None:
    results = api.upsert(
        "Account",
        {"External_Id__c": "o1", "Name": "a"},
        {"External_Id__c": "o2"},
        {"External_Id__c": "o3", "Name": "c", "Phone": "3"},
    )
    assert [result["success"] for result in results] == [True, False, True]
    assert of(api, "Account", "o3", "Id")["Id"] == results[2]["id"]


def refusals(contact: str, deleted: str) -> list[tuple[str, dict[str, Any], str, str]]:
    """Object, values, code, and a part of the message."""
    return [
        ("Account", {"External_Id__c": "r"}, "REQUIRED_FIELD_MISSING", "Required fields are missing: [Name]"),
        ("Account", {"External_Id__c": "u9", "Name": None}, "REQUIRED_FIELD_MISSING", "[Name]"),
        ("Account", {"Name": "no key"}, "MISSING_ARGUMENT", "External_Id__c not specified"),
        ("Account", {"External_Id__c": "r", "Name": "n", "Nope__c": 1}, "INVALID_FIELD", "No such column 'Nope__c'"),
        ("Account", {"External_Id__c": "r", "Name": "n" * 256}, "STRING_TOO_LONG", "(max length=255)"),
        (
            "Account",
            {"External_Id__c": "r", "Name": "n", "Segment__c": "Whales"},
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            "bad value for restricted picklist field: Whales",
        ),
        (
            "Account",
            {"External_Id__c": "r", "Name": "n", "Channels__c": "Shop;Moon"},
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            "bad value for restricted picklist field: Moon",
        ),
        (
            "Account",
            {"External_Id__c": "r", "Name": "n", "Lifetime_Value__c": 1e16},
            "NUMBER_OUTSIDE_VALID_RANGE",
            "value outside of valid range",
        ),
        (
            "Account",
            {"External_Id__c": "r", "Name": "n", "CreatedDate": "2020-01-01T00:00:00Z"},
            "INVALID_FIELD_FOR_INSERT_UPDATE",
            "Unable to create/update fields: CreatedDate",
        ),
        (
            "Contact",
            {"External_Id__c": "r", "LastName": "n", "Email": "not an email"},
            "INVALID_EMAIL_ADDRESS",
            "invalid email address: not an email",
        ),
        (
            "Contact",
            {"External_Id__c": "r", "LastName": "n", "AccountId": "xyz"},
            "MALFORMED_ID",
            "incorrect type: xyz",
        ),
        ("Contact", {"External_Id__c": "r", "LastName": "n", "AccountId": contact}, "MALFORMED_ID", "incorrect type"),
        (
            "Contact",
            {"External_Id__c": "r", "LastName": "n", "AccountId": MISSING},
            "INVALID_CROSS_REFERENCE_KEY",
            "invalid cross reference id",
        ),
        (
            "Contact",
            {"External_Id__c": "r", "LastName": "n", "AccountId": deleted},
            "ENTITY_IS_DELETED",
            "entity is deleted",
        ),
        (
            "Contact",
            {"External_Id__c": "r", "LastName": "n", "Account": {"External_Id__c": "Nobody"}},
            "INVALID_FIELD",
            "Foreign key external ID: nobody not found for field External_Id__c in entity Account",
        ),
        ("Opportunity", {"External_Id__c": "r"}, "REQUIRED_FIELD_MISSING", "[Name, StageName, CloseDate]"),
    ]


def test_every_refusal_has_its_code(api: Api) -> None:
    assert api.upsert("Account", {"External_Id__c": "u9", "Name": "there"})[0]["success"]
    contact = api.upsert("Contact", {"External_Id__c": "c9", "LastName": "there"})[0]["id"]
    deleted = api.upsert("Account", {"External_Id__c": "gone", "Name": "gone"})[0]["id"]
    assert api.delete(f"{V}/sobjects/Account/{deleted}").status_code == 204
    for kind, values, code, message in refusals(contact, deleted):
        result = api.upsert(kind, values)[0]
        assert not result["success"], values
        error = result["errors"][0]
        assert (error["statusCode"], message in error["message"]) == (code, True), (values, error)
        assert not api.soql(f"SELECT Id FROM {kind} WHERE External_Id__c = 'r'")


def test_the_named_fields_stand_with_the_error(api: Api) -> None:
    error = api.upsert("Contact", {"External_Id__c": "f", "LastName": "n", "Email": "x"})[0]["errors"][0]
    assert error["fields"] == ["Email"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("First_Order_Date__c", "31/12/2010"),
        ("First_Order_Date__c", "2010-02-30"),
        ("Lifetime_Value__c", "a lot"),
        ("Lifetime_Value__c", True),
        ("Name", 7),
        ("Channels__c", ["Shop", "Web"]),
    ],
)
def test_a_value_of_another_type_refuses_the_whole_request(api: Api, field: str, value: object) -> None:
    good = {"attributes": {"type": "Account"}, "External_Id__c": "w1", "Name": "good"}
    bad = {"attributes": {"type": "Account"}, "External_Id__c": "w2", "Name": "bad", field: value}
    response = api.patch(f"{V}/composite/sobjects/Account/External_Id__c", json={"records": [good, bad]})
    assert (response.status_code, response.json()[0]["errorCode"]) == (400, "JSON_PARSER_ERROR")
    assert not api.soql("SELECT Id FROM Account WHERE External_Id__c = 'w1'")


@pytest.mark.parametrize(
    ("kind", "field", "sent", "kept"),
    [
        ("Account", "Lifetime_Value__c", 12.349, 12.34),
        ("Account", "Lifetime_Value__c", "-0.29", -0.29),
        ("Account", "Order_Count__c", 3, 3.0),
        ("Account", "NumberOfEmployees", 3, 3),
        ("Account", "First_Order_Date__c", "2010-12-01", "2010-12-01"),
        ("Account", "First_Order_Date__c", "2010-12-01T08:26:00.000Z", "2010-12-01"),
        ("Account", "Phone", "", None),
        ("Account", "Channels__c", "Fair; Shop;Fair", "Shop;Fair"),
        ("Account", "Channels__c", ";", None),
        ("Account", "Name", "  Füße \u2603 'q\" \r\n", "Füße \u2603 'q\""),
        ("Account", "Phone", " \t", None),
        ("Contact", "Consent_At__c", "2010-12-01T08:26:00+02:00", "2010-12-01T06:26:00.000+0000"),
        ("Contact", "HasOptedOutOfEmail", True, True),
        ("Opportunity", "Amount", 99999999999999.99, 99999999999999.99),
    ],
)
def test_how_values_come_back(api: Api, kind: str, field: str, sent: object, kept: object) -> None:
    needed = {
        "Account": {"Name": "n"},
        "Contact": {"LastName": "n"},
        "Opportunity": {"Name": "n", "StageName": "Closed Won", "CloseDate": "2010-12-01"},
    }[kind]
    result = api.upsert(kind, {**needed, "External_Id__c": "value", field: sent})[0]
    assert result["success"], result
    assert of(api, kind, "value", field) == {field: kept}


def test_duplicates(api: Api) -> None:
    first = api.upsert("Account", {"External_Id__c": "d1", "Name": "a"})[0]
    results = api.upsert("Account", {"External_Id__c": "d1", "Name": "b"}, {"External_Id__c": "D1", "Name": "c"})
    assert [result["success"] for result in results] == [True, False]
    assert results[1]["errors"][0]["statusCode"] == "DUPLICATE_VALUE"
    created = api.post(f"{V}/sobjects/Account", json={"External_Id__c": "d1", "Name": "x"})
    assert created.status_code == 400
    assert created.json()[0]["errorCode"] == "DUPLICATE_VALUE"
    assert created.json()[0]["message"].endswith(first["id"][:15])
    two = [{"attributes": {"type": "Account"}, "External_Id__c": "d2", "Name": "x"}] * 2
    answers = api.post(f"{V}/composite/sobjects", json={"records": two}).json()
    assert [answer["success"] for answer in answers] == [True, False]


def test_lookups_by_id_and_by_external_id(api: Api) -> None:
    account = api.upsert("Account", {"External_Id__c": "p1", "Name": "parent"})[0]["id"]
    api.upsert(
        "Contact",
        {"External_Id__c": "l1", "LastName": "a", "AccountId": account[:15]},
        {"External_Id__c": "l2", "LastName": "b", "Account": {"External_Id__c": "p1"}},
        {"External_Id__c": "l3", "LastName": "c", "Account": {"attributes": {"type": "Account"}, "Id": account}},
    )
    query = "SELECT AccountId FROM Contact WHERE External_Id__c IN ('l1', 'l2', 'l3')"
    assert [row["AccountId"] for row in api.soql(query)] == [account] * 3
    assert api.upsert("Contact", {"External_Id__c": "l1", "Account": {"External_Id__c": None}})[0]["success"]
    assert of(api, "Contact", "l1", "AccountId") == {"AccountId": None}


def test_several_lookups_to_one_object_and_one_to_the_object_itself(api: Api) -> None:
    api.upsert("Account", {"External_Id__c": "top", "Name": "Top"})
    api.upsert("Account", {"External_Id__c": "low", "Name": "Low", "Parent": {"External_Id__c": "top"}})
    needed = {"Name": "n", "StageName": "Closed Won", "CloseDate": "2010-12-01"}
    lookups = {"Account": {"External_Id__c": "low"}, "Partner_Account__r": {"External_Id__c": "top"}}
    assert api.upsert("Opportunity", {"External_Id__c": "two", **needed, **lookups})[0]["success"]
    names = "Account.Name, Partner_Account__r.Name"
    found = of(api, "Opportunity", "two", *names.split(", "))
    assert [found["Account"]["Name"], found["Partner_Account__r"]["Name"]] == ["Low", "Top"]
    assert of(api, "Account", "low", "Parent.Name")["Parent"]["Name"] == "Top"
    unborn = {"External_Id__c": "s2", "Name": "n", "Parent": {"External_Id__c": "s1"}}
    results = api.upsert("Account", {"External_Id__c": "s1", "Name": "n"}, unborn)
    assert [result["success"] for result in results] == [True, False]  # s1 is not there when its child is looked at


def test_a_duplicate_rule_is_told_in_full_of_one_record_alone(tmp_path: Path) -> None:
    objects = yaml.safe_load(org.BUILT_IN.read_text(encoding="utf-8"))
    objects["Contact"]["duplicate_rules"]["Contact_Email"]["active"] = True
    (tmp_path / "org.yml").write_text(yaml.safe_dump(objects), encoding="utf-8")
    with start(SandboxConfig(org=tmp_path / "org.yml")) as running, Api(running) as api:
        first = api.upsert("Contact", {"External_Id__c": "a", "LastName": "A", "Email": "x@x.org"})[0]["id"]
        assert api.upsert("Contact", {"External_Id__c": "a", "Email": "x@x.org"})[0]["success"]
        assert api.upsert("Contact", {"External_Id__c": "b", "LastName": "B"})[0]["success"]
        same = {"LastName": "C", "Email": "X@x.org"}
        assert api.upsert("Contact", {"External_Id__c": "c", **same})[0] == {
            "success": False,
            "created": False,
            "errors": [{"statusCode": "DUPLICATES_DETECTED", "message": "Use one of these records?", "fields": []}],
        }
        answer = api.patch(f"{V}/sobjects/Contact/External_Id__c/c", json=same)
        assert answer.status_code == 400
        (error,) = answer.json()
        assert (error["errorCode"], error["message"]) == ("DUPLICATES_DETECTED", "Use one of these records?")
        result = error["duplicateResult"]
        assert (result["duplicateRule"], result["duplicateRuleEntityType"]) == ("Contact_Email", "Contact")
        matches = [match for found in result["matchResults"] for match in found["matchRecords"]]
        assert [match["record"]["Id"] for match in matches] == [first]
        job = api.job(object="Contact", operation="upsert", externalIdFieldName="External_Id__c")
        api.upload(job, "External_Id__c,LastName,Email\nc,C,x@x.org\n")
        api.ended(f"{V}/jobs/ingest/{job}")
        assert ",DUPLICATES_DETECTED:Use one of these records?:--,c,C," in api.results(job, "failedResults")


def test_all_or_none_rolls_back(api: Api) -> None:
    results = api.upsert("Account", {"External_Id__c": "n1", "Name": "good"}, {"External_Id__c": "n2"}, allOrNone=True)
    codes = [result["errors"][0]["statusCode"] for result in results]
    assert codes == ["ALL_OR_NONE_OPERATION_ROLLED_BACK", "REQUIRED_FIELD_MISSING"]
    mixed = [
        {"attributes": {"type": "Account"}, "Name": "n1"},
        {"attributes": {"type": "Contact"}, "FirstName": "nobody"},
    ]
    answers = api.post(f"{V}/composite/sobjects", json={"records": mixed, "allOrNone": True}).json()
    assert not any(answer["success"] for answer in answers)
    assert not api.soql("SELECT Id FROM Account WHERE Name = 'n1' OR External_Id__c = 'n1'")


def test_collections_create_update_delete_retrieve(api: Api) -> None:
    path = f"{V}/composite/sobjects"
    records = [{"attributes": {"type": "Account"}, "Name": f"many {n}"} for n in range(200)]
    ids = [answer["id"] for answer in api.post(path, json={"records": records}).json()]
    assert len(set(ids)) == 200
    changes = [{"attributes": {"type": "Account"}, "id": key, "Phone": key} for key in ids[:2]]
    changes.append({"attributes": {"type": "Account"}, "Phone": "no id"})
    changes.append({"attributes": {"type": "Account"}, "Id": MISSING, "Phone": "?"})
    answers = api.patch(path, json={"records": changes}).json()
    assert [a["success"] for a in answers] == [True, True, False, False]
    assert [a["errors"][0]["statusCode"] for a in answers[2:]] == ["MISSING_ARGUMENT", "INVALID_CROSS_REFERENCE_KEY"]
    read = api.get(f"{path}/Account", params={"ids": f"{ids[1]},{MISSING},{ids[0]}", "fields": "Phone"}).json()
    assert [record and record["Phone"] for record in read] == [ids[1], None, ids[0]]
    gone = api.delete(path, params={"ids": ",".join(ids[:2])}).json()
    assert [one["success"] for one in gone] == [True, True]
    again = api.delete(path, params={"ids": ids[0]}).json()[0]
    assert again["errors"][0]["statusCode"] == "ENTITY_IS_DELETED"
    update = api.patch(path, json={"records": changes[:1]}).json()[0]
    assert update["errors"][0]["statusCode"] == "ENTITY_IS_DELETED"
    body = {"ids": ids, "fields": ["Id"]}
    back = api.post(f"{path}/Account", json=body).json()
    assert sum(record is not None for record in back) == 198


@pytest.mark.parametrize("method", ["POST", "PATCH", "UPSERT", "DELETE"])
def test_at_most_200_records(api: Api, method: str) -> None:
    path = f"{V}/composite/sobjects"
    records = [{"attributes": {"type": "Account"}, "External_Id__c": f"x{n}", "Name": "n"} for n in range(201)]
    if method == "DELETE":
        response = api.delete(path, params={"ids": ",".join([MISSING] * 201)})
    elif method == "UPSERT":
        response = api.patch(f"{path}/Account/External_Id__c", json={"records": records})
    else:
        response = api.request(method, path, json={"records": records})
    assert (response.status_code, response.json()[0]["errorCode"]) == (400, "EXCEEDED_ID_LIMIT")
    assert not api.soql("SELECT Id FROM Account WHERE External_Id__c = 'x1'")


def test_bodies_that_cannot_be_read(api: Api) -> None:
    path = f"{V}/composite/sobjects/Account/External_Id__c"
    for content in (b"{", b"[]", b'{"records": 1}', b'{"records": [1]}', b"\xff"):
        response = api.patch(path, content=content)
        assert (response.status_code, response.json()[0]["errorCode"]) == (400, "JSON_PARSER_ERROR"), content
    half = b'{"records": [{"attributes": {"type": "Account"}, "External_Id__c": "h", "Name": "\\ud800"}]}'
    assert api.patch(path, content=half).json()[0]["errorCode"] == "JSON_PARSER_ERROR"
    untyped = api.patch(path, json={"records": [{"Name": "x"}]})
    assert untyped.status_code == 400
    mixed = api.patch(path, json={"records": [{"attributes": {"type": "Contact"}, "Name": "x"}]})
    assert mixed.json()[0]["errorCode"] == "INVALID_TYPE"
    unkeyed = api.patch(f"{V}/composite/sobjects/Account/Name", json={"records": []})
    assert unkeyed.status_code == 404


def test_paths_and_methods_that_do_not_exist(api: Api) -> None:
    answers = [api.get(f"{V}/nothing/here"), api.put(f"{V}/limits")]
    assert [(answer.status_code, answer.json()[0]["errorCode"]) for answer in answers] == [
        (404, "NOT_FOUND"),
        (405, "METHOD_NOT_ALLOWED"),
    ]


def test_a_single_record_from_birth_to_death(api: Api) -> None:
    path = f"{V}/sobjects/Account"
    created = api.post(path, json={"Name": "one", "External_Id__c": "s/1 ä"})
    assert created.status_code == 201
    key = created.json()["id"]
    assert api.patch(f"{path}/{key}", json={"Phone": "5"}).status_code == 204
    record = api.get(f"{path}/{key[:15]}").json()
    assert (record["Phone"], record["attributes"]["type"], record["IsDeleted"]) == ("5", "Account", False)
    by_key = f"{path}/External_Id__c/s%2F1%20%C3%A4"
    assert api.get(by_key, params={"fields": "Name"}).json()["Name"] == "one"
    assert api.patch(by_key, json={"Name": "two"}).status_code == 200
    assert api.patch(by_key.replace("v62.0", "v45.0"), json={"Name": "two"}).status_code == 204
    assert api.delete(by_key).status_code == 204
    assert api.get(by_key).status_code == 404
    assert api.delete(f"{path}/{key}").json()[0]["errorCode"] == "ENTITY_IS_DELETED"
    assert api.get(f"{path}/{MISSING}").json()[0]["errorCode"] == "NOT_FOUND"
    reborn = api.patch(by_key, json={"Name": "three"})
    assert (reborn.status_code, reborn.json()["created"], reborn.json()["id"] != key) == (201, True, True)


def test_what_an_administrator_owns_is_not_written(api: Api) -> None:
    response = api.post(f"{V}/sobjects/User", json={"LastName": "x"})
    assert response.json()[0]["errorCode"] == "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"
    assert api.get(f"{V}/sobjects/Nothing/describe").status_code == 404


def family(api: Api, key: str) -> str:
    """Make an account with a contact, an opportunity, a subsidiary, and an opportunity that it is the partner of."""
    account = api.upsert("Account", {"External_Id__c": key, "Name": key})[0]["id"]
    deal = {"Name": key, "StageName": "Prospecting", "CloseDate": "2030-01-01"}
    api.upsert("Contact", {"External_Id__c": key, "LastName": key, "AccountId": account})
    api.upsert("Opportunity", {"External_Id__c": key, "AccountId": account, **deal})
    api.upsert("Opportunity", {"External_Id__c": f"{key}-partner", "Partner_Account__c": account, **deal})
    api.upsert("Account", {"External_Id__c": f"{key}-child", "Name": key, "ParentId": account})
    return str(account)


def keys(api: Api, kind: str, start: str) -> list[str]:
    query = f"SELECT External_Id__c FROM {kind} WHERE External_Id__c LIKE '{start}%' ORDER BY External_Id__c"
    return [row["External_Id__c"] for row in api.soql(query)]


@pytest.mark.parametrize("way", ["record", "key", "collection"])
def test_contacts_and_opportunities_go_with_their_account(api: Api, way: str) -> None:
    account, _ = family(api, f"{way}-a"), family(api, f"{way}-b")
    paths = {
        "record": f"sobjects/Account/{account}",
        "key": f"sobjects/Account/External_Id__c/{way}-a",
        "collection": f"composite/sobjects?ids={account}",
    }
    assert api.delete(f"{V}/{paths[way]}").is_success
    assert keys(api, "Account", way) == [f"{way}-a-child", f"{way}-b", f"{way}-b-child"]
    assert keys(api, "Contact", way) == [f"{way}-b"]
    assert keys(api, "Opportunity", way) == [f"{way}-a-partner", f"{way}-b", f"{way}-b-partner"]
    query = {"q": f"SELECT IsDeleted FROM Contact WHERE External_Id__c = '{way}-a'"}
    assert [row["IsDeleted"] for row in api.get(f"{V}/queryAll", params=query).json()["records"]] == [True]


def test_what_goes_with_an_account_stays_where_the_request_is_rolled_back(api: Api) -> None:
    account = family(api, "rolled")
    gone = api.delete(f"{V}/composite/sobjects", params={"ids": f"{account},{MISSING}", "allOrNone": "true"}).json()
    assert [one["success"] for one in gone] == [False, False]
    assert keys(api, "Contact", "rolled") == ["rolled"]


def test_describe_tells_what_the_rules_hold(api: Api) -> None:
    fields = {field["name"]: field for field in api.get(f"{V}/sobjects/Account/describe").json()["fields"]}
    key = fields["External_Id__c"]
    assert (key["externalId"], key["unique"], key["idLookup"], key["length"]) == (True, True, True, 64)
    value = fields["Lifetime_Value__c"]
    assert (value["type"], value["precision"], value["scale"]) == ("currency", 18, 2)
    assert [entry["value"] for entry in fields["Segment__c"]["picklistValues"]][:2] == ["Champions", "Loyal"]
    assert fields["Segment__c"]["restrictedPicklist"]
    channels = fields["Channels__c"]
    assert (channels["type"], channels["length"], channels["restrictedPicklist"]) == ("multipicklist", 4099, True)
    assert [entry["value"] for entry in channels["picklistValues"]] == ["Shop", "Web", "Phone", "Fair"]
    assert (fields["ParentId"]["referenceTo"], fields["ParentId"]["relationshipName"]) == (["Account"], "Parent")
    assert not fields["CreatedDate"]["updateable"]
    contact = {field["name"]: field for field in api.get(f"{V}/sobjects/Contact/describe").json()["fields"]}
    assert (contact["AccountId"]["referenceTo"], contact["AccountId"]["relationshipName"]) == (["Account"], "Account")
    assert not contact["Name"]["createable"]
    children = api.get(f"{V}/sobjects/Account/describe").json()["childRelationships"]
    assert {(c["childSObject"], c["field"], c["relationshipName"]): c["cascadeDelete"] for c in children} == {
        ("Account", "ParentId", "ChildAccounts"): False,
        ("Contact", "AccountId", "Contacts"): True,
        ("Opportunity", "AccountId", "Opportunities"): True,
        ("Opportunity", "Partner_Account__c", "Partner_Opportunities__r"): False,
    }
    names = {kind["name"] for kind in api.get(f"{V}/sobjects").json()["sobjects"]}
    assert names >= {"Account", "Contact", "Opportunity", "User", "Organization"}
