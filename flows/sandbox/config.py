"""What a sandbox is told at its start, and what it tells once it is ready."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """How a sandbox behaves.

    Attributes:
        store: the SQLite file that keeps the records over restarts; None keeps them in memory.
        throttle: ``real`` enforces the CRM's daily requests and its concurrency, ``off`` only counts.
        faults: a YAML or JSON script of faults (see `flows.sandbox.faults`); None for none.
        retail_files: a glob of invoice files that the staging sources derive their customers from.
        org: a YAML file of objects and fields to use in place of the built-in ``org.yml``.
        client_id: the connected app's id, also what a JWT's ``iss`` must be.
        client_secret: the connected app's secret.
        username: the one user's login name.
        password: that user's password; a security token may follow it, as in Salesforce.
        security_token: that user's security token.
        hubspot_token: the private app token of the HubSpot dialect.
        hubspot_scopes: the private app's scopes; None for all that it takes to read and write its objects.
        hubspot: a YAML file of HubSpot objects and properties to use in place of the built-in ``hubspot.yml``.
        hubspot_requests: HubSpot requests in any `hubspot_seconds`.
        hubspot_seconds: the rolling window of `hubspot_requests`.
        hubspot_daily_requests: HubSpot requests in 24 hours.
        hubspot_searches: HubSpot searches in a second.
        hubspot_index_seconds: how long HubSpot's search lags behind a write.
        hubspot_as_published: whether answers hold to HubSpot's published schema also where HubSpot itself does not:
            properties without a value are left out in place of null, ``subCategory`` is left out, a 429 has a category.
        jwt_public_key: PEM text of the RSA key that JWT bearer assertions are checked with; None refuses them.
        daily_requests: API requests in 24 hours.
        daily_batches: Bulk batches in 24 hours.
        daily_bulk_records: Bulk records in 24 hours.
        daily_query_jobs: Bulk 2.0 query jobs in 24 hours.
        concurrent_long_requests: how many requests may be under way for longer than `long_request_seconds`.
        long_request_seconds: from when on a request counts as a long one.
        max_upload_bytes: the largest Bulk 2.0 upload.
    """

    store: Path | None = None
    throttle: Literal["off", "real"] = "off"
    faults: Path | None = None
    retail_files: str | None = None
    org: Path | None = None
    client_id: str = "nightshift-sandbox"
    client_secret: str = "nightshift-sandbox-secret"  # noqa: S105 - a staging world's secret is no secret
    username: str = "nightly@nightshift.example"
    password: str = "sandbox-password"  # noqa: S105
    security_token: str = "sandbox-security-token"  # noqa: S105
    hubspot_token: str = "pat-sandbox-token"  # noqa: S105
    hubspot_scopes: frozenset[str] | None = None
    hubspot: Path | None = None
    hubspot_requests: int = 190
    hubspot_seconds: float = 10.0
    hubspot_daily_requests: int = 650_000
    hubspot_searches: int = 5
    hubspot_index_seconds: float = 0.0
    hubspot_as_published: bool = False
    jwt_public_key: str | None = None
    daily_requests: int = 100_000
    daily_batches: int = 15_000
    daily_bulk_records: int = 150_000_000
    daily_query_jobs: int = 10_000
    concurrent_long_requests: int = 25
    long_request_seconds: float = 20.0
    max_upload_bytes: int = 100_000_000


@dataclass(frozen=True, slots=True)
class Ready:
    """What a client needs to use a running sandbox."""

    base_url: str
    client_id: str
    client_secret: str
    access_token: str
    hubspot_token: str
