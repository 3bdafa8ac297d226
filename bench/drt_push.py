"""Pushes contacts with drt-core's own HubSpot destination for a set time; run by the Python that has it installed.

``python drt_push.py URL TOKEN SECONDS REQUESTS_PER_SECOND``; prints the records that were written and the seconds.
The destination has no setting for where HubSpot is, so that its two addresses are replaced.
"""

from __future__ import annotations

import json
import os
import sys
import time
from itertools import count


def main() -> None:
    """Push batches as drt's engine hands them out, until the time is over."""
    from drt.config.models import HubSpotDestinationConfig, RateLimitConfig, SyncOptions
    from drt.destinations import hubspot

    url, token, seconds, rate = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4]
    hubspot._HUBSPOT_API = f"{url}/crm/v3/objects"
    hubspot._HUBSPOT_PROPERTIES_API = f"{url}/crm/v3/properties"
    os.environ["HUBSPOT_TOKEN"] = token
    config = HubSpotDestinationConfig(
        type="hubspot",
        object_type="contacts",
        id_property="email",
        auth={"type": "bearer", "token_env": "HUBSPOT_TOKEN"},
    )
    options = SyncOptions(on_error="skip")
    if rate != "default":
        options = SyncOptions(on_error="skip", rate_limit=RateLimitConfig(requests_per_second=float(rate)))
    destination = hubspot.HubSpotDestination()
    written = failed = 0
    clock = time.perf_counter()
    for batch in count():
        # Small batches, so that it ends near its time; drt's own are of 100 records, and one is as slow as the other.
        records = [
            {
                "email": f"drt{batch}-{n}@shop.example",
                "firstname": "Anna",
                "lastname": f"Customer {batch}-{n}",
                "city": "Malmö",
                "country": "Sweden",
            }
            for n in range(20)
        ]
        done = destination.load(records, config, options)
        written += done.success
        failed += done.failed
        if (taken := time.perf_counter() - clock) >= seconds:
            break
    sys.stdout.write(json.dumps({"written": written, "failed": failed, "seconds": taken}))


if __name__ == "__main__":
    main()
