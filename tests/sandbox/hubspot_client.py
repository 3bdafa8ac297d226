"""A client of the sandbox's HubSpot dialect that judges every exchange by HubSpot's published OpenAPI files."""

from __future__ import annotations

import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from jsonschema import Draft4Validator

from flows.sandbox.server import Running
from tests.conftest import PROJECT

SPECS = Path(os.environ.get("NIGHTSHIFT_SHARED", PROJECT.parent / "shared")) / "specs" / "hubspot"


class Spec:
    """One OpenAPI file."""

    def __init__(self, path: Path) -> None:
        self.document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        self._paths = [
            (re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)) + "$"), operations)
            for template, operations in sorted(self.document["paths"].items(), key=lambda one: one[0].count("{"))
        ]

    def operation(self, method: str, path: str) -> dict[str, Any] | None:
        """What the file says about a method and a path; None where it says nothing."""
        for pattern, operations in self._paths:
            if pattern.match(path) and method.lower() in operations:
                return dict(operations[method.lower()])
        return None

    def check(self, schema: dict[str, Any], value: Any, where: str) -> None:
        """Check a value."""
        whole = {**schema, "components": self.document["components"]}
        errors = [
            f"{list(error.absolute_path)}: {error.message}" for error in Draft4Validator(whole).iter_errors(value)
        ]
        assert not errors, f"{where}: {errors}"


@cache
def specs() -> list[Spec]:
    """All files; none where they do not lie beside this checkout."""
    return [Spec(path) for path in sorted(SPECS.glob("*.json"))]


def judge(response: httpx.Response) -> str | None:
    """Check one exchange against every file that knows its path.

    Returns:
        What was checked: method, path, status; None where no file knows the path.
    """
    request = response.request
    method, path = request.method, request.url.path
    where = f"{method} {path} {response.status_code}"
    known = False
    for spec in specs():
        operation = spec.operation(method, path)
        if operation is None:
            continue
        known = True
        answers = operation["responses"]
        answer = answers.get(str(response.status_code)) or spec.document["components"]["responses"]["Error"]
        if "$ref" in answer:
            answer = spec.document["components"]["responses"]["Error"]
        assert response.status_code >= 400 or str(response.status_code) in answers, f"{where}: a status of its own"
        content = answer.get("content")
        if not content:
            assert not response.content, f"{where}: has a body"
            continue
        spec.check(content["application/json"]["schema"], response.json(), where)
        body = operation.get("requestBody")
        if body and response.status_code < 400:
            spec.check(body["content"]["application/json"]["schema"], json.loads(request.content), f"{where}, request")
    return where if known else None


class Hub(httpx.Client):
    """A client with the private app's token.

    Args:
        sandbox: the running sandbox.
        judged: whether answers, and the requests that were accepted, are held against the published files.
    """

    def __init__(self, sandbox: Running, *, judged: bool = True) -> None:
        self.judged: list[str] = []
        hooks = {"response": [self._judge]} if judged else {}
        headers = {"Authorization": f"Bearer {sandbox.ready.hubspot_token}"}
        super().__init__(base_url=sandbox.base_url, headers=headers, timeout=30, verify=False, event_hooks=hooks)

    def _judge(self, response: httpx.Response) -> None:
        response.read()
        where = judge(response)
        if where is not None:
            self.judged.append(where)

    def batch(self, kind: str, operation: str, inputs: list[Any], root: str = "/crm/v3/objects", **more: Any) -> Any:
        """Send a batch; answers the response."""
        return self.post(f"{root}/{kind}/batch/{operation}", json={"inputs": inputs, **more})

    def upsert(self, kind: str, *inputs: dict[str, Any], key: str = "external_id", traced: bool = True) -> Any:
        """Upsert by a unique property; the input's ``id`` is its value, all else are properties."""
        return self.batch(kind, "upsert", [_input(one, key, traced) for one in inputs])

    def read(self, kind: str, *ids: str, properties: list[str], key: str | None = None, **query: Any) -> Any:
        """Read records; answers the response."""
        body: dict[str, Any] = {"properties": properties, "propertiesWithHistory": []}
        body |= {"inputs": [{"id": one} for one in ids]} | ({"idProperty": key} if key else {})
        return self.post(f"/crm/v3/objects/{kind}/batch/read", json=body, params=query)

    def values(self, kind: str, key: str, *properties: str) -> dict[str, Any]:
        """Some properties of the record with an external id."""
        response = self.read(kind, key, properties=list(properties), key="external_id")
        assert response.status_code == 200, response.text
        found = response.json()["results"][0]["properties"]
        return {name: found.get(name) for name in properties}

    def find(self, kind: str, *filters: tuple[Any, ...], **more: Any) -> Any:
        """Search; answers the response. A filter is (property, operator) or (property, operator, value)."""
        names = ("propertyName", "operator", "value", "highValue")
        group = [_filter(dict(zip(names, one, strict=False))) for one in filters]
        body = {"filterGroups": [{"filters": group}], "sorts": [], "properties": [], "limit": 100, "after": "0"}
        return self.post(f"/crm/v3/objects/{kind}/search", json=body | more)

    def faults(self, *rules: dict[str, Any]) -> None:
        """Set the script of faults."""
        assert self.post("/_sandbox/faults", json=list(rules)).status_code == 200

    def stats(self) -> Any:
        """What the sandbox counted."""
        return self.get("/_sandbox/stats").json()


def _filter(one: dict[str, Any]) -> dict[str, Any]:
    if isinstance(one.get("value"), list):
        one["values"] = one.pop("value")
    return one


def _input(one: dict[str, Any], key: str, traced: bool) -> dict[str, Any]:
    properties = {name: value for name, value in one.items() if name != "id"}
    body = {"id": one["id"], "idProperty": key, "properties": properties}
    return body | ({"objectWriteTraceId": f"trace-{one['id']}"} if traced else {})
