"""One dbt project for several kinds of CRM: what is named in a CRM may be named for each kind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows import project
from flows.errors import ConfigError
from flows.project import HubSpotConnection, MappedField, SalesforceConnection, Sync
from flows.sandbox.server import Running, SandboxConfig, start
from flows.sandbox.sources.invoices import generate
from tests.conftest import PROJECT


def connections(tmp_path: Path, kind: str, **settings: str) -> Any:
    """A target with one connection, read from a file as a person writes it."""
    file = tmp_path / "connections.yml"
    file.write_text(json.dumps({"targets": {"t": {"crms": {"main": {"kind": kind, **settings}}}}}))
    return project.load_connections(file, "t")


@pytest.fixture
def hubspot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TOKEN", "pat-secret")
    return connections(tmp_path, "hubspot", token="{{ env_var('TOKEN') }}")


@pytest.fixture
def salesforce(tmp_path: Path) -> Any:
    return connections(tmp_path, "salesforce", url="https://x.my.salesforce.com", client_id="c")


def test_the_kind_says_what_a_connection_needs(tmp_path: Path, hubspot: Any, salesforce: Any) -> None:
    found = hubspot.crms["main"]
    assert isinstance(found, HubSpotConnection)
    assert (found.url, found.paths, found.requests_per_10_seconds) == ("https://api.hubapi.com", "v3", 190)
    assert "pat-secret" not in repr(found)
    assert isinstance(salesforce.crms["main"], SalesforceConnection)
    with pytest.raises(ConfigError, match=r"t\.crms\.main\.hubspot\.token: is missing"):
        connections(tmp_path, "hubspot")
    with pytest.raises(ConfigError, match=r"t\.crms\.main\.token: a secret must not stand here"):
        connections(tmp_path, "hubspot", token="pat-secret")
    with pytest.raises(ConfigError, match=r"'hubspot'"):
        connections(tmp_path, "hubspt", token="{{ env_var('TOKEN') }}")


PARENT = {
    "object": {"salesforce": "Account", "hubspot": "companies"},
    "external_id": {"column": "id", "field": {"salesforce": "Ext__c", "hubspot": "ext"}},
    "guard": {"fields": {"salesforce": {"Name": "5%"}, "hubspot": {"name": "10%"}}},
}
CHILD = {"object": {"salesforce": "Contact", "hubspot": "contacts"}, "external_id": {"column": "id", "field": "Ext"}}
LOOKUP = {"sync": "parents", "field": {"salesforce": "AccountId", "hubspot": "companies"}}


def manifest(parent: Any = PARENT, child: Any = CHILD, **columns: Any) -> dict[str, Any]:
    """A manifest of two models; the columns are the child's."""

    def node(name: str, sync: Any, metas: dict[str, Any]) -> dict[str, Any]:
        return {
            "resource_type": "model",
            "name": name,
            "unique_id": f"model.shop.{name}",
            "schema": "crm",
            "original_file_path": f"models/{name}.sql",
            "config": {"meta": {"sync": sync}},
            "columns": {
                key: {"name": key, "data_type": "varchar", "config": {"meta": meta}}
                for key, meta in {"id": {}, **metas}.items()
            },
        }

    name = {"crm_field": {"salesforce": "Name", "hubspot": "name"}}
    nodes = [node("parents", parent, {"name": name}), node("children", child, columns)]
    return {"sources": {}, "nodes": {node["name"]: node for node in nodes}, "parent_map": {}, "child_map": {}}


def child(connections: Any, **columns: Any) -> Sync:
    return project.load(manifest(**columns), connections).sync("children")


def test_a_name_is_chosen_by_the_connections_kind(hubspot: Any, salesforce: Any) -> None:
    columns = {
        "name": {"crm_field": {"salesforce": "LastName", "hubspot": "lastname"}, "pii": True},
        "phone": {"crm_field": "phone"},
        "parent_id": {"lookup": LOOKUP},
    }
    sync = child(hubspot, **columns)
    assert sync.object == "contacts"
    assert sync.fields == (
        MappedField("name", "lastname", "varchar", True),
        MappedField("phone", "phone", "varchar"),
        MappedField("parent_id", "companies", "varchar", False, "parents", "companies", "ext"),
    )
    sync = child(salesforce, **columns)
    assert sync.object == "Contact"
    assert [f.crm_field for f in sync.fields] == ["LastName", "phone", "AccountId"]
    assert (sync.fields[2].parent_object, sync.fields[2].parent_external_id) == ("Account", "Ext__c")
    assert project.load(manifest(), hubspot).sync("parents").guard.fields == {"name": 0.1}


def test_what_is_named_for_other_kinds_alone_is_not_sent(hubspot: Any, salesforce: Any) -> None:
    columns = {
        "stage": {"crm_field": {"salesforce": "StageName"}},
        "deal_stage": {"crm_field": {"hubspot": "dealstage"}},
        "parent_id": {"lookup": {**LOOKUP, "field": {"salesforce": "AccountId"}}},
    }
    assert [f.crm_field for f in child(hubspot, **columns).fields] == ["dealstage"]
    assert [f.crm_field for f in child(salesforce, **columns).fields] == ["StageName", "AccountId"]


def test_a_lookup_is_a_text_whatever_its_column_is(hubspot: Any, salesforce: Any) -> None:
    """External ids are texts: a child's that is a number could not be compared with its parent's."""
    declared = manifest(parent_id={"lookup": LOOKUP})
    declared["nodes"]["children"]["columns"]["parent_id"]["data_type"] = "bigint"
    for connections in (hubspot, salesforce):
        [lookup] = project.load(declared, connections).sync("children").fields
        assert (lookup.parent, lookup.type) == ("parents", "varchar")
    declared["nodes"]["children"]["columns"]["parent_id"]["data_type"] = "bigint[]"
    with pytest.raises(ConfigError, match=r"children\.parent_id: .*lookup: a lookup holds one external id"):
        project.load(declared, salesforce)


def test_lookups_to_one_object_are_told_apart_by_their_association(hubspot: Any, salesforce: Any) -> None:
    def lookup(field: str, association: Any) -> dict[str, Any]:
        named = {"field": {"salesforce": field, "hubspot": "companies"}, "association": association}
        return {"lookup": {**LOOKUP, **named}}

    columns = {
        "employer_id": lookup("AccountId", {"hubspot": "Primary"}),
        "billed_id": lookup("Billed__c", {"hubspot": 27}),
    }
    found = [(f.crm_field, f.parent_object, f.association) for f in child(hubspot, **columns).fields]
    assert found == [("companies: Primary", "companies", "Primary"), ("companies: 27", "companies", 27)]
    found = [(f.crm_field, f.parent_object, f.association) for f in child(salesforce, **columns).fields]
    assert found == [("AccountId", "Account", None), ("Billed__c", "Account", None)]
    with pytest.raises(ConfigError, match=r"children\.billed_id: .*lookup\.association: only HubSpot has types"):
        child(salesforce, billed_id=lookup("Billed__c", 27))
    with pytest.raises(ConfigError, match="two columns are mapped to companies: 27"):
        child(hubspot, **columns, payer_id=lookup("Payer__c", 27))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": {"crm_field": {"salesforce": "A", "hubspt": "b"}}}, r"children\.name: .*crm_field: found .*hubspt"),
        ({"child": {**CHILD, "object": {"salesforce": "Contact"}}}, r"children: .*sync\.object: "),
        ({"child": {**CHILD, "object": {"hubspt": "contacts"}}}, r"children: .*sync\.object: "),
        ({"parent": {"object": "a", "external_id": {"column": "id", "field": {"salesforce": "E"}}}}, r"external_id\.f"),
    ],
)
def test_a_name_that_is_missing_or_misspelt_is_told(hubspot: Any, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        project.load(manifest(**changes), hubspot)


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Running]:
    generate(tmp_path / "retail")
    running = start(SandboxConfig(retail_files=str(tmp_path / "retail" / "*.csv.gz")))
    yield running
    running.stop()


def night(tmp_path: Path, sandbox: Running) -> dict[str, Any]:
    """Run the target hubspot with the sandbox for its CRM, named as a real one is."""
    ready = sandbox.ready
    environment = {
        **os.environ,
        "NIGHTSHIFT_HOME": str(tmp_path / "home"),
        "RETAIL_FILES": str(tmp_path / "retail" / "*.csv.gz"),
        "SHOP_URL": f"{ready.base_url}/shop",
        "HUBSPOT_URL": ready.base_url,
        "HUBSPOT_TOKEN": ready.hubspot_token,
    }
    words = [sys.executable, "-m", "flows.cli", "run", "--target", "hubspot", "--output", "json"]
    done = subprocess.run(words, env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_shipped_project_keeps_a_hubspot_by_another_target(tmp_path: Path, sandbox: Running) -> None:
    first = night(tmp_path, sandbox)
    assert {sync["object"] for sync in first["syncs"].values()} == {"companies", "contacts", "deals"}
    assert all(sync["applied"] == sync["creates"] > 0 == sync["rejected"] for sync in first["syncs"].values())
    assert all(sync["reconciled"] == sync["creates"] for sync in first["syncs"].values())
    headers = {"Authorization": f"Bearer {sandbox.ready.hubspot_token}"}
    query = "limit=1&properties=dealstage,external_id&associations=companies"
    deal = httpx.get(f"{sandbox.base_url}/crm/v3/objects/deals?{query}", headers=headers).json()["results"][0]
    assert deal["properties"]["dealstage"] == "closedwon"
    assert deal["associations"]["companies"]["results"]
