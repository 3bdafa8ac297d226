"""The paths of the HubSpot dialect, below ``/crm``, ``/account-info`` and ``/oauth``."""

from __future__ import annotations

from starlette.routing import Mount, Route

from flows.sandbox.hubspot import account, associations, batch, objects, properties, scopes, search
from flows.sandbox.hubspot.http import CRM, route
from flows.sandbox.hubspot.scopes import reads, writes


def routes() -> list[Mount]:
    """All paths."""
    usage = "/api-usage/daily/private-apps"
    account_info = [
        route(f"/{version}{usage}", {"GET": account.daily_usage}, root=account.ROOT) for version in ("v3", "2026-03")
    ]
    token = [route("/v2/private-apps/get/access-token-info", {"POST": scopes.token_info}, root=scopes.ROOT)]
    return [Mount(CRM, routes=_crm()), Mount(account.ROOT, routes=account_info), Mount(scopes.ROOT, routes=token)]


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
        route(root + "/batch/upsert", {"POST": writes(batch.upsert)}),
        route(root + "/batch/update", {"POST": writes(batch.update)}),
        route(root + "/batch/create", {"POST": writes(batch.create)}),
        route(root + "/batch/read", {"POST": reads(batch.read)}),
        route(root + "/batch/archive", {"POST": writes(batch.archive)}),
        route(root + "/search", {"POST": reads(search.run)}, search=True),
        route(root, {"GET": reads(objects.listed), "POST": writes(objects.create)}),
        route(
            root + "/{id}",
            {"GET": reads(objects.read), "PATCH": writes(objects.update), "DELETE": writes(objects.delete)},
        ),
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
