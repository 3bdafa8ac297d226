"""Logging in: OAuth tokens, who-am-I, and the SOAP login that older clients use.

Source: https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_endpoints.htm
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import time
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import unescape

import jwt
from starlette.responses import JSONResponse, Response

from flows.sandbox.org import ORGANIZATION, USER
from flows.sandbox.salesforce.http import Call, Refused
from flows.sandbox.world import World

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def _refused(error: str, description: str) -> Response:
    return JSONResponse({"error": error, "error_description": description}, 400)


def token(call: Call) -> Response:
    """Answer ``POST /services/oauth2/token``: client credentials, password, or JWT bearer."""
    form = dict(parse_qsl(call.body.decode("utf-8", "replace"), keep_blank_values=True))
    config = call.world.config
    client, secret = _client(call, form)
    grant = form.get("grant_type")
    if grant == JWT_BEARER:
        problem = _jwt_problem(call.world, form.get("assertion", ""))
        return _refused("invalid_grant", problem) if problem else _granted(call)
    if grant not in {"client_credentials", "password"}:
        return _refused("unsupported_grant_type", "grant type not supported")
    if not secrets.compare_digest(client.encode(), config.client_id.encode()):
        return _refused("invalid_client_id", "client identifier invalid")
    if not secrets.compare_digest(secret.encode(), config.client_secret.encode()):
        return _refused("invalid_client", "invalid client credentials")
    if grant == "password" and not _is_user(call.world, form.get("username", ""), form.get("password", "")):
        return _refused("invalid_grant", "authentication failure")
    return _granted(call)


def _client(call: Call, form: dict[str, str]) -> tuple[str, str]:
    kind, _, encoded = call.request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "basic":
        try:
            client, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return client, secret
    return form.get("client_id", ""), form.get("client_secret", "")


def _jwt_problem(world: World, assertion: str) -> str:
    if world.config.jwt_public_key is None:
        return "user hasn't approved this consumer"
    options: Any = {"verify_aud": False, "require": ["iss", "sub", "aud", "exp"]}
    try:
        claims = jwt.decode(assertion, world.config.jwt_public_key, algorithms=["RS256"], options=options)
    except jwt.ExpiredSignatureError:
        return "expired authorization code"
    except jwt.InvalidTokenError:
        return "invalid assertion"
    if claims["iss"] != world.config.client_id:
        return "invalid client id"
    if claims["exp"] - time.time() > 310:  # five minutes, and a little for clocks that differ
        return "expiration is too far in the future"
    audience = claims["aud"]
    if not re.match(r"https://([\w-]+\.)*salesforce\.com$|https?://(127\.0\.0\.1|localhost)(:\d+)?/?$", str(audience)):
        return "audience is invalid"
    return "" if claims["sub"] == world.config.username else "user hasn't approved this consumer"


def _is_user(world: World, username: str, password: str) -> bool:
    config = world.config
    known = {config.password, config.password + config.security_token}
    return username.lower() == config.username.lower() and password in known


def _granted(call: Call) -> Response:
    answer = {
        "access_token": call.world.issue_token(),
        "instance_url": call.base_url,
        "id": f"{call.base_url}/id/{ORGANIZATION}/{USER}",
        "token_type": "Bearer",
        "scope": "api",
        "issued_at": str(int(time.time() * 1000)),
        "signature": secrets.token_urlsafe(32),
    }
    return JSONResponse(answer, headers={"Cache-Control": "no-store"})


def userinfo(call: Call) -> Response:
    """Answer ``/services/oauth2/userinfo``."""
    name = call.world.config.username
    rest = f"{call.base_url}/services/data/v{{version}}/"
    return JSONResponse(
        {
            "sub": f"{call.base_url}/id/{ORGANIZATION}/{USER}",
            "user_id": USER,
            "organization_id": ORGANIZATION,
            "preferred_username": name,
            "nickname": "nightly",
            "name": "Nightly Run",
            "email": name,
            "email_verified": True,
            "given_name": "Nightly",
            "family_name": "Run",
            "zoneinfo": "GMT",
            "urls": {"rest": rest, "sobjects": f"{rest}sobjects/", "query": f"{rest}query/"},
            "active": True,
            "user_type": "STANDARD",
            "language": "en_US",
            "locale": "en_GB",
            "utcOffset": 0,
        }
    )


def identity(call: Call) -> Response:
    """Answer ``/id/{organization}/{user}``, the identity URL that a token comes with."""
    if (call.path["organization"], call.path["user"]) != (ORGANIZATION, USER):
        raise Refused(404, "NOT_FOUND", "The requested resource does not exist")
    name = call.world.config.username
    rest = f"{call.base_url}/services/data/v{{version}}/"
    return JSONResponse(
        {
            "id": f"{call.base_url}/id/{ORGANIZATION}/{USER}",
            "asserted_user": True,
            "user_id": USER,
            "organization_id": ORGANIZATION,
            "username": name,
            "nick_name": "nightly",
            "display_name": "Nightly Run",
            "email": name,
            "email_verified": True,
            "first_name": "Nightly",
            "last_name": "Run",
            "timezone": "GMT",
            "urls": {"rest": rest, "sobjects": f"{rest}sobjects/", "query": f"{rest}query/"},
            "active": True,
            "user_type": "STANDARD",
            "language": "en_US",
            "locale": "en_GB",
            "utcOffset": 0,
        }
    )


_SOAP = (
    '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope '
    'xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns="urn:partner.soap.sforce.com" '
    'xmlns:sf="urn:fault.partner.soap.sforce.com" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
    "<soapenv:Body>{}</soapenv:Body></soapenv:Envelope>"
)


def soap_login(call: Call) -> Response:
    """Answer the partner API's ``login`` at ``/services/Soap/u/{version}``."""
    text = call.body.decode("utf-8", "replace")
    name, password = (_element(text, tag) for tag in ("username", "password"))
    if not _is_user(call.world, name, password):
        problem = "Invalid username, password, security token; or user locked out."
        fault = (
            "<soapenv:Fault><faultcode>sf:INVALID_LOGIN</faultcode>"
            f"<faultstring>INVALID_LOGIN: {problem}</faultstring><detail><sf:LoginFault>"
            f"<sf:exceptionCode>INVALID_LOGIN</sf:exceptionCode><sf:exceptionMessage>{problem}</sf:exceptionMessage>"
            "</sf:LoginFault></detail></soapenv:Fault>"
        )
        return Response(_SOAP.format(fault), 500, media_type="text/xml")
    server = f"{call.base_url}/services/Soap/u/{call.path['version']}/{ORGANIZATION[:15]}"
    body = (
        "<loginResponse><result><passwordExpired>false</passwordExpired><sandbox>true</sandbox>"
        f"<serverUrl>{server}</serverUrl><sessionId>{call.world.issue_token()}</sessionId><userId>{USER}</userId>"
        f"<userInfo><organizationId>{ORGANIZATION}</organizationId><userId>{USER}</userId></userInfo>"
        "</result></loginResponse>"
    )
    return Response(_SOAP.format(body), media_type="text/xml")


def _element(text: str, tag: str) -> str:
    # Two leaves of a known envelope; reading them so spares an XML parser its entity expansion.
    match = re.search(rf"<(?:\w+:)?{tag}>([^<]*)</(?:\w+:)?{tag}>", text)
    return unescape(match[1], {"&quot;": '"', "&#x27;": "'", "&apos;": "'"}) if match else ""
