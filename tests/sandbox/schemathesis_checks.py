"""What Schemathesis checks of HubSpot's errors, besides that none is the server's."""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.check
def errors_are_hubspots(ctx: Any, response: Any, case: Any) -> None:
    """Every refusal has what HubSpot's clients read from one."""
    if response.status_code >= 400:
        missing = {"category", "message", "correlationId"} - set(response.json())
        assert not missing, f"{response.status_code} without {missing}"
