"""What outlives a restart, ids, and an org of one's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from flows.sandbox.ids import make_ids, normalise
from flows.sandbox.server import SandboxConfig, start
from tests.sandbox.conftest import Api, V


def test_records_outlive_a_restart(tmp_path: Path) -> None:
    config = SandboxConfig(store=tmp_path / "new" / "crm.sqlite")
    with start(config) as running, Api(running) as api:
        first = api.upsert("Account", {"External_Id__c": "1", "Name": "stays"}, {"External_Id__c": "2", "Name": "goes"})
        api.delete(f"{V}/sobjects/Account/{first[1]['id']}")
    with start(config) as running, Api(running) as api:
        assert api.soql("SELECT Id, Name FROM Account") == [{"Id": first[0]["id"], "Name": "stays"}]
        query = {"q": "SELECT Id FROM Account WHERE IsDeleted = true"}
        assert api.get(f"{V}/queryAll", params=query).json()["totalSize"] == 1
        third = api.upsert("Account", {"External_Id__c": "3", "Name": "new"})[0]["id"]
        assert third not in {result["id"] for result in first}
        assert len(api.soql("SELECT Id FROM User")) == 1


def test_an_org_of_ones_own_grows_with_its_file(tmp_path: Path) -> None:
    org = tmp_path / "org.yml"
    store = tmp_path / "crm.sqlite"
    user = "User: {prefix: '005', owned: false, writable: false, fields: {Username: {type: string, length: 80}}}\n"
    thing = "Thing__c: {{prefix: a00, fields: {{External_Id__c: {{type: string, length: 9, external_id: true}}{}}}}}\n"
    org.write_text(user + thing.format(""))
    with start(SandboxConfig(org=org, store=store)) as running, Api(running) as api:
        made = api.upsert("Thing__c", {"External_Id__c": "A"})[0]
        assert made["id"].startswith("a00")
    org.write_text(user + thing.format(", Size__c: {type: double, precision: 5, scale: 1}"))
    with start(SandboxConfig(org=org, store=store)) as running, Api(running) as api:
        assert not api.upsert("Thing__c", {"External_Id__c": "a", "Size__c": 1.25})[0]["created"]
        assert api.soql("SELECT Size__c FROM Thing__c") == [{"Size__c": 1.2}]


def test_what_goes_with_a_record_takes_along_what_goes_with_it(tmp_path: Path) -> None:
    org = tmp_path / "org.yml"
    key = "External_Id__c: {type: string, length: 9, external_id: true}"
    org.write_text(
        "User: {prefix: '005', owned: false, writable: false, fields: {Username: {type: string, length: 80}}}\n"
        f"Box__c: {{prefix: a00, fields: {{{key}, "
        "In__c: {type: reference, reference_to: Box__c, cascade: true}}}\n"
        f"Lid__c: {{prefix: a01, fields: {{{key}, "
        "On__c: {type: reference, reference_to: Box__c, cascade: true}}}\n"
    )
    with start(SandboxConfig(org=org)) as running, Api(running) as api:
        inside = None
        for name in ("a", "b", "c"):
            inside = api.upsert("Box__c", {"External_Id__c": name, "In__c": inside})[0]["id"]
            api.upsert("Lid__c", {"External_Id__c": name, "On__c": inside})
        first = api.soql("SELECT Id FROM Box__c WHERE External_Id__c = 'b'")[0]["Id"]
        api.upsert("Box__c", {"External_Id__c": "b", "In__c": inside})
        assert api.delete(f"{V}/sobjects/Box__c/{first}").status_code == 204
        for kind in ("Box__c", "Lid__c"):
            assert api.soql(f"SELECT External_Id__c FROM {kind}") == [{"External_Id__c": "a"}]


def test_an_external_id_that_is_not_unique_may_match_several(tmp_path: Path) -> None:
    org = tmp_path / "org.yml"
    org.write_text(
        "User: {prefix: '005', owned: false, writable: false, fields: {Username: {type: string, length: 80}}}\n"
        "Thing__c: {prefix: a00, fields: {External_Id__c: {type: string, length: 9, external_id: true}}}\n"
    )
    with start(SandboxConfig(org=org)) as running, Api(running) as api:
        for _ in range(2):
            assert api.post(f"{V}/sobjects/Thing__c", json={"External_Id__c": "same"}).status_code == 201
        several = api.patch(f"{V}/sobjects/Thing__c/External_Id__c/same", json={})
        assert several.status_code == 300
        assert [url.rsplit("/", 1)[0] for url in several.json()] == [f"{V}/sobjects/Thing__c"] * 2
        refused = api.upsert("Thing__c", {"External_Id__c": "same"})[0]
        assert refused["errors"][0]["statusCode"] == "DUPLICATE_EXTERNAL_ID"


def test_a_taken_port_is_told() -> None:
    with start() as running, pytest.raises(OSError, match="in use"):
        start(port=int(running.base_url.rsplit(":", 1)[1]))


def test_a_served_sandbox_ends_quietly_when_told_to(tmp_path: Path) -> None:
    code = (
        "import dataclasses, json\n"
        "from flows.sandbox.server import SandboxConfig, serve\n"
        "serve(SandboxConfig(), on_ready=lambda r: print(json.dumps(dataclasses.asdict(r)), flush=True))\n"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes) as process:
        ready = json.loads(process.stdout.readline())
        headers = {"Authorization": f"Bearer {ready['access_token']}"}
        assert httpx.get(f"{ready['base_url']}{V}/limits", headers=headers).status_code == 200
        process.terminate()
        rest = process.communicate(timeout=20)
    assert (process.returncode, rest) == (0, ("", ""))
    assert list(tmp_path.iterdir()) == []


def test_ids() -> None:
    ids = make_ids("001", 62**5 - 2, 4)
    assert len(set(ids)) == 4
    assert ids == sorted(ids)
    assert all(normalise(key[:15]) == key for key in ids)
    # The published example of the algorithm.
    assert normalise("00570000001ZwTi") == "00570000001ZwTiAAK"
    assert [normalise(text) for text in ("", "short", "001NS00000000012AAAA", None, "001NS0000000-01")] == [None] * 5
