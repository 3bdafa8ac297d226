"""Logging in to Salesforce: both ways, and what is told when it is refused."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr

from flows.crm import connect
from flows.crm.base import ObjectInfo
from flows.errors import ConfigError, PushError
from flows.project import SalesforceConnection
from tests.crm.conftest import Sandbox

SECRET = "a-very-" + "secret-word"  # written so that a traceback's source lines do not hold it


def describe(connection: SalesforceConnection) -> ObjectInfo:
    async def session() -> ObjectInfo:
        async with connect(connection) as connector:
            return await connector.describe("Account")

    return asyncio.run(session())


def pem(key: rsa.RSAPrivateKey) -> tuple[str, str]:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


@pytest.fixture(scope="module")
def keys() -> tuple[str, str]:
    return pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))


def jwt_settings(private_key: str) -> dict[str, Any]:
    return {
        "auth": "jwt",
        "client_secret": None,
        "username": "nightly@nightshift.example",
        "private_key": SecretStr(private_key),
    }


def test_client_credentials(sandbox: Sandbox) -> None:
    assert "Name" in describe(sandbox.connection()).fields


def test_jwt_bearer(make_sandbox: Callable[..., Sandbox], keys: tuple[str, str]) -> None:
    sandbox = make_sandbox(jwt_public_key=keys[1])
    assert "Name" in describe(sandbox.connection(**jwt_settings(keys[0]))).fields


def test_a_url_with_a_slash_at_its_end(make_sandbox: Callable[..., Sandbox], keys: tuple[str, str]) -> None:
    sandbox = make_sandbox(jwt_public_key=keys[1])
    assert describe(sandbox.connection(url=sandbox.url + "/")).fields
    assert describe(sandbox.connection(url=sandbox.url + "/", **jwt_settings(keys[0]))).fields


def test_a_jwt_of_another_key_is_refused(make_sandbox: Callable[..., Sandbox], keys: tuple[str, str]) -> None:
    sandbox = make_sandbox(jwt_public_key=keys[1])
    other = pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))[0]
    with pytest.raises(ConfigError, match="invalid_grant") as told:
        describe(sandbox.connection(**jwt_settings(other)))
    assert other not in shown(told.value)


def test_wrong_credentials_are_told_without_the_secret(sandbox: Sandbox) -> None:
    with pytest.raises(ConfigError) as told:
        describe(sandbox.connection(client_secret=SecretStr(SECRET)))
    assert sandbox.url in told.value.what
    assert "invalid_client" in told.value.what
    assert "nightshift-sandbox" in told.value.what
    assert told.value.todo
    assert SECRET not in shown(told.value)
    assert sandbox.requests("oauth2/token") == 1


def test_a_secret_that_the_crm_repeats_is_blacked_out(sandbox: Sandbox) -> None:
    sandbox.faults(
        {"path": "oauth2", "status": 400, "body": {"error": "invalid_client", "error_description": f"no: {SECRET}"}}
    )
    with pytest.raises(ConfigError, match=r"no: \*\*\*") as told:
        describe(sandbox.connection(client_secret=SecretStr(SECRET)))
    assert SECRET not in shown(told.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"client_secret": None}, "client_secret"),
        ({"auth": "jwt"}, "username and a private_key"),
        (jwt_settings("no key"), "PEM"),
        ({"url": "example.com"}, "https://"),
        ({"url": "https://"}, "https://"),
        ({"url": "http://[::1"}, "not a URL"),
    ],
)
def test_a_connection_that_cannot_work_is_told_before_any_request(
    sandbox: Sandbox, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as told:
        describe(sandbox.connection(**changes))
    assert "no key" not in shown(told.value)
    assert sandbox.stats()["requests"] == 0


def test_a_url_that_is_no_salesforce(sandbox: Sandbox) -> None:
    with pytest.raises(ConfigError, match="HTTP 404"):
        describe(sandbox.connection(url=f"{sandbox.url}/elsewhere"))
    sandbox.faults({"path": "oauth2", "status": 200, "body": ["a", "list"]})
    with pytest.raises(ConfigError, match="UNEXPECTED_ANSWER"):
        describe(sandbox.connection(requests_per_second=1000))


def test_a_login_that_is_never_good_enough_ends(sandbox: Sandbox) -> None:
    sandbox.faults({"path": "describe", "expire_token": True})
    with pytest.raises(ConfigError, match="401"):
        describe(sandbox.connection())
    assert sandbox.requests("oauth2/token") == 3


def test_a_describe_that_is_forbidden(sandbox: Sandbox) -> None:
    sandbox.faults(
        {"path": "describe", "status": 403, "body": [{"errorCode": "API_DISABLED_FOR_ORG", "message": "API off"}]}
    )
    with pytest.raises(PushError, match="API_DISABLED_FOR_ORG: API off"):
        describe(sandbox.connection())


def shown(error: BaseException) -> str:
    """Everything that a traceback with locals left out would show."""
    return "".join(traceback.format_exception(error)) + repr(error)
