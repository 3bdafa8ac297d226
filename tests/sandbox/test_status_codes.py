"""The error codes that the Salesforce dialect gives are Salesforce's: they are in the enumerations of its own CLI.

The CLI ships the partner WSDL's types: ``StatusCode`` is what a row's error has, ``ExceptionCode`` what refuses a whole
request. Bulk API 2.0 has a few codes of its own, which no package of the CLI lists.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.sandbox.conftest import Api, V
from tests.sandbox.npm import install

DIALECT = PROJECT / "flows" / "sandbox" / "salesforce"
TYPES = "node_modules/@salesforce/types/lib/partner.d.ts"
# https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/asynch_api_reference_errors.htm
BULK = {"EXCEEDEDQUOTA", "FEATURENOTENABLED", "INVALIDJOB", "INVALIDJOBSTATE"}
ROWS = {"RowError": 0, "Wrong": 0, "refuse": 1}
REQUESTS = {"Refused": 1, "BadQuery": 0}
"""What makes an error -> which of its arguments is the code."""


def enumeration(name: str) -> set[str]:
    """The values of one of the CLI's enumerations."""
    text = (install("salesforce-cli") / TYPES).read_text(encoding="utf-8")
    found = re.search(rf"export type {name} = ([^;]+);", text)
    assert found is not None, f"{TYPES} has no {name}"
    return set(re.findall(r"'(\w+)'", found[1]))


def codes(makers: dict[str, int], *, whole: bool) -> dict[str, str]:
    """The codes in the dialect's source: code -> where it stands."""
    found: dict[str, str] = {}
    for path in sorted(DIALECT.glob("*.py")):
        for call in calls(path):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            # A value that JSON cannot carry refuses the whole request, though it is found in a row.
            parser = any(keyword.arg == "parser" for keyword in call.keywords)
            if name in makers and len(call.args) > makers[name] and (whole or not parser):
                code = call.args[makers[name]]
                texts = [str(one.value) for one in ast.walk(code) if isinstance(one, ast.Constant)]
                found |= {text: f"{path.name}:{call.lineno}" for text in texts if text.isupper()}
    return found


def calls(path: Path) -> Iterator[ast.Call]:
    """All calls in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def test_codes_of_rows() -> None:
    known = enumeration("StatusCode")
    given = codes(ROWS, whole=False)
    assert {"STRING_TOO_LONG", "DUPLICATE_VALUE", "UNABLE_TO_LOCK_ROW", "REQUIRED_FIELD_MISSING"} <= set(given)
    assert {code: place for code, place in given.items() if code not in known} == {}


def test_codes_of_requests() -> None:
    known = enumeration("StatusCode") | enumeration("ExceptionCode") | BULK
    given = codes(REQUESTS | ROWS, whole=True)
    assert {"MALFORMED_QUERY", "JSON_PARSER_ERROR", "INVALID_SESSION_ID", "REQUEST_LIMIT_EXCEEDED"} <= set(given)
    assert {code: place for code, place in given.items() if code not in known} == {}


@pytest.mark.parametrize("status", [400, 408, 429, 500, 503])
def test_codes_of_faults(api: Api, status: int) -> None:
    api.faults({"path": "/limits", "status": status})
    (error,) = api.get(f"{V}/limits").json()
    assert error["errorCode"] in enumeration("ExceptionCode")


def test_too_long_an_address_is_refused_before_the_api(api: Api) -> None:
    response = api.get(f"{V}/query", params={"q": "x" * 17_000})
    assert (response.status_code, response.text) == (414, "<h1>Bad Message 414</h1><pre>reason: URI Too Long</pre>")
