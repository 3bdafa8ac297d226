"""What the account has used of its day.

Source: https://developers.hubspot.com/docs/api-reference/latest/account/account-information/get-usage-details
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from starlette.responses import Response

from flows.sandbox.hubspot.http import Call, answer

ROOT = "/account-info"


def daily_usage(call: Call) -> Response:
    """The requests of all private apps of the account."""
    now = datetime.now(UTC).replace(microsecond=0)
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0)
    usage = {
        "name": "private-apps-api-calls-daily",
        "usageLimit": call.portal.day.limit,
        "currentUsage": call.portal.day.used,
        "collectedAt": now.isoformat().replace("+00:00", "Z"),
        "fetchStatus": "SUCCESS",
        "resetsAt": midnight.isoformat().replace("+00:00", "Z"),
    }
    return answer({"results": [usage]})
