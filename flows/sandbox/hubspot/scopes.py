"""What the private app may do: its scopes, which it can ask for, and without which requests are refused.

Only the paths of objects ask for a scope here. Those of associations and properties are open to a token that has any of
nearly all scopes.

Sources: https://developers.hubspot.com/docs/apps/legacy-apps/private-apps/overview,
https://github.com/HubSpot/hubspot-api-nodejs/issues/268 (the refusal)
"""

from __future__ import annotations

from starlette.responses import Response

from flows.sandbox.hubspot.http import Call, Handler, Refused, answer
from flows.sandbox.hubspot.schema import PORTAL, Verb

ROOT = "/oauth"
APP = 1_000_001
USER = 2_000_001
"""Who made the private app."""


def reads(handler: Handler) -> Handler:
    """Refuse to answer a token that may not read the object type's records."""
    return _with_scope(handler, "read")


def writes(handler: Handler) -> Handler:
    """Refuse to answer a token that may not write the object type's records."""
    return _with_scope(handler, "write")


def _with_scope(handler: Handler, verb: Verb) -> Handler:
    def handle(call: Call) -> Response:
        wanted = call.kind().scope(verb)
        if wanted not in call.portal.scopes:
            raise Refused(
                403,
                "MISSING_SCOPES",
                "This app hasn't been granted all required scopes to make this call. Read more about required scopes "
                "here: https://developers.hubspot.com/scopes.",
                errors=[
                    {
                        "message": "One or more of the following scopes are required.",
                        "context": {"requiredGranularScopes": [wanted]},
                    }
                ],
            )
        return handler(call)

    return handle


def token_info(call: Call) -> Response:
    """Whose the token is, and which scopes it has."""
    body = call.fields(tokenKey=str)
    if body["tokenKey"] not in call.world.hubspot_tokens:
        raise Refused(404, "OBJECT_NOT_FOUND", "resource not found")
    return answer({"userId": USER, "hubId": PORTAL, "appId": APP, "scopes": sorted(call.portal.scopes)})
