"""Logging in, and what is refused without a session."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from flows.sandbox.server import Running, SandboxConfig, start
from tests.sandbox.conftest import Api, V

CONFIG = SandboxConfig()
TOKEN = "/services/oauth2/token"
CLIENT = {"client_id": CONFIG.client_id, "client_secret": CONFIG.client_secret}
USER = {"username": CONFIG.username, "password": CONFIG.password + CONFIG.security_token}


@pytest.fixture(scope="module")
def key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def sandbox(key: RSAPrivateKey) -> Iterator[Running]:
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    with start(SandboxConfig(jwt_public_key=public)) as running:
        yield running


def assertion(key: RSAPrivateKey, **changes: Any) -> str:
    claims = {
        "iss": CONFIG.client_id,
        "sub": CONFIG.username,
        "aud": "https://login.salesforce.com",
        "exp": int(time.time()) + 180,
    }
    return jwt.encode(claims | changes, key, algorithm="RS256")


@pytest.mark.parametrize(
    ("form", "basic"),
    [
        ({"grant_type": "client_credentials"}, True),
        ({"grant_type": "client_credentials", **CLIENT}, False),
        ({"grant_type": "password", **CLIENT, **USER}, False),
        ({"grant_type": "password", **CLIENT, **USER, "password": CONFIG.password}, False),
    ],
)
def test_a_token_is_issued_and_works(sandbox: Running, form: dict[str, str], basic: bool) -> None:
    auth = httpx.BasicAuth(CONFIG.client_id, CONFIG.client_secret) if basic else None
    with httpx.Client(base_url=sandbox.base_url) as client:
        response = client.post(TOKEN, data=form, auth=auth or httpx.Auth())
        assert response.status_code == 200
        answer = response.json()
        assert answer["instance_url"] == sandbox.base_url
        assert answer["token_type"] == "Bearer"
        headers = {"Authorization": f"Bearer {answer['access_token']}"}
        assert client.get(f"{V}/limits", headers=headers).status_code == 200
        who = client.get("/services/oauth2/userinfo", headers=headers).json()
        assert who["preferred_username"] == CONFIG.username
        user = client.get(f"{V}/sobjects/User/{who['user_id']}", headers=headers).json()
        assert user["Username"] == CONFIG.username


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"grant_type": "client_credentials", **CLIENT, "client_secret": "wrong"}, "invalid_client"),
        ({"grant_type": "client_credentials", **CLIENT, "client_id": "wrong"}, "invalid_client_id"),
        ({"grant_type": "client_credentials"}, "invalid_client_id"),
        ({"grant_type": "password", **CLIENT, **USER, "password": "wrong"}, "invalid_grant"),
        ({"grant_type": "magic", **CLIENT}, "unsupported_grant_type"),
    ],
)
def test_wrong_credentials_are_refused(sandbox: Running, form: dict[str, str], error: str) -> None:
    response = httpx.post(sandbox.base_url + TOKEN, data=form)
    assert (response.status_code, response.json()["error"]) == (400, error)


def test_a_broken_basic_header_is_refused(sandbox: Running) -> None:
    form = {"grant_type": "client_credentials"}
    response = httpx.post(sandbox.base_url + TOKEN, data=form, headers={"Authorization": "Basic ???"})
    assert response.status_code == 400


def test_jwt_bearer(sandbox: Running, key: RSAPrivateKey) -> None:
    grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"

    def post(text: str) -> httpx.Response:
        return httpx.post(sandbox.base_url + TOKEN, data={"grant_type": grant, "assertion": text})

    assert post(assertion(key)).status_code == 200
    assert post(assertion(key, aud=sandbox.base_url)).status_code == 200
    stranger = generate_private_key(65537, 2048)
    for wrong in (
        assertion(stranger),
        assertion(key, iss="other"),
        assertion(key, sub="other@x.example"),
        assertion(key, aud="https://evil.example"),
        assertion(key, exp=int(time.time()) - 10),
        assertion(key, exp=int(time.time()) + 3600),
        "no.token",
    ):
        refused = post(wrong)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")


def test_jwt_bearer_needs_a_known_key(key: RSAPrivateKey) -> None:
    with start() as running:
        grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
        response = httpx.post(running.base_url + TOKEN, data={"grant_type": grant, "assertion": assertion(key)})
        assert response.json()["error"] == "invalid_grant"


@pytest.mark.parametrize("header", [None, "Bearer nonsense", "Basic " + base64.b64encode(b"a:b").decode()])
def test_without_a_session(sandbox: Running, header: str | None) -> None:
    headers = {"Authorization": header} if header else {}
    response = httpx.get(f"{sandbox.base_url}{V}/limits", headers=headers)
    assert response.status_code == 401
    assert response.json() == [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}]


def test_every_start_has_its_own_token(sandbox: Running) -> None:
    with start() as other:
        assert other.ready.access_token != sandbox.ready.access_token


def test_versions_and_resources(api: Api) -> None:
    versions = httpx.get(api.sandbox.base_url + "/services/data")
    assert "62.0" in [one["version"] for one in versions.json()]
    assert "sforce-limit-info" not in versions.headers
    assert api.get(V).json()["sobjects"] == f"{V}/sobjects"
    unknown = api.get("/services/data/v9.0/limits")
    assert (unknown.status_code, unknown.json()[0]["errorCode"]) == (404, "NOT_FOUND")


def test_what_was_used_is_told(api: Api) -> None:
    def used() -> int:
        info = api.get(f"{V}/limits").headers["sforce-limit-info"]
        count, limit = info.removeprefix("api-usage=").split("/")
        assert limit == "100000"
        return int(count)

    assert used() + 1 == used()
    daily = api.get(f"{V}/limits").json()["DailyApiRequests"]
    assert daily["Max"] - daily["Remaining"] == used() - 1


@pytest.mark.parametrize(("throttle", "status"), [("real", 403), ("off", 200)])
def test_the_day_ends_with_its_last_request(throttle: Any, status: int) -> None:
    with start(SandboxConfig(daily_requests=2, throttle=throttle)) as running, Api(running) as client:
        assert [client.get(f"{V}/limits").status_code for _ in range(3)] == [200, 200, status]
        if status == 403:
            assert client.get(V).json()[0]["errorCode"] == "REQUEST_LIMIT_EXCEEDED"
