"""The paths of the HubSpot dialect, below ``/crm`` and ``/account-info``."""

from __future__ import annotations

from starlette.routing import Mount, Route

from flows.sandbox.hubspot import account, associations, batch, objects, properties, search
from flows.sandbox.hubspot.http import CRM, route


def routes() -> list[Mount]:
    """All paths."""
    usage = "/api-usage/daily/private-apps"
    account_info = [
        route(f"/{version}{usage}", {"GET": account.daily_usage}, root=account.ROOT) for version in ("v3", "2026-03")
    ]
    return [Mount(CRM, routes=_crm()), Mount(account.ROOT, routes=account_info)]


def _crm() -> list[Route]:
    """The most used ones and the more special ones first."""
    return [
        *_objects("/v3/objects/{type}"),
        *_objects("/objects/2026-03/{type}"),
        *_links("/v4/associations/{from}/{to}"),
        *_links("/associations/2026-03/{from}/{to}"),
        *_record_links("/v4/objects/{type}/{id}/associations"),
        *_record_links("/objects/2026-03/{type}/{id}/associations"),
        *_properties("/v3/properties/{type}"),
        *_properties("/properties/2026-03/{type}"),
    ]


def _objects(root: str) -> list[Route]:
    return [
        route(root + "/batch/upsert", {"POST": batch.upsert}),
        route(root + "/batch/update", {"POST": batch.update}),
        route(root + "/batch/create", {"POST": batch.create}),
        route(root + "/batch/read", {"POST": batch.read}),
        route(root + "/batch/archive", {"POST": batch.archive}),
        route(root + "/search", {"POST": search.run}, search=True),
        route(root, {"GET": objects.listed, "POST": objects.create}),
        route(root + "/{id}", {"GET": objects.read, "PATCH": objects.update, "DELETE": objects.delete}),
    ]


def _links(root: str) -> list[Route]:
    return [
        route(root + "/batch/create", {"POST": associations.create_many}),
        route(root + "/batch/associate/default", {"POST": associations.default_many}),
        route(root + "/batch/read", {"POST": associations.read_many}),
        route(root + "/batch/archive", {"POST": associations.archive_many}),
        route(root + "/batch/labels/archive", {"POST": associations.archive_labels}),
        route(root + "/labels", {"GET": associations.labels, "POST": associations.define_label}),
        route(root + "/labels/{type_id}", {"DELETE": associations.delete_label}),
    ]


def _record_links(root: str) -> list[Route]:
    return [
        route(root + "/default/{to}/{to_id}", {"PUT": associations.put_default}),
        route(root + "/{to}", {"GET": associations.listed}),
        route(root + "/{to}/{to_id}", {"PUT": associations.put, "DELETE": associations.remove}),
    ]


def _properties(root: str) -> list[Route]:
    return [
        route(root, {"GET": properties.listed, "POST": properties.create}),
        route(root + "/groups", {"GET": properties.groups}),
        route(
            root + "/{name}",
            {"GET": properties.read, "PATCH": properties.update, "DELETE": properties.archive},
        ),
    ]
