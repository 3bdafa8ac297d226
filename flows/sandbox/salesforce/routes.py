"""The paths of the Salesforce dialect."""

from __future__ import annotations

from starlette.routing import Route

from flows.sandbox.salesforce import auth, bulk, bulk_query, describe, jobs, query, records, tree
from flows.sandbox.salesforce.http import route


def routes() -> list[Route]:
    """All paths, the more special ones first."""
    v = "/services/data/v{version}"
    one = v + "/sobjects/{object}/{id}"
    key = v + "/sobjects/{object}/{field}/{value:path}"
    ingest = v + "/jobs/ingest"
    asked = v + "/jobs/query"
    return [
        route("/services/oauth2/token", {"POST": auth.token}, session=False),
        route("/services/oauth2/userinfo", {"GET": auth.userinfo, "POST": auth.userinfo}),
        route("/id/{organization}/{user}", {"GET": auth.identity, "POST": auth.identity}),
        route("/services/Soap/u/{version}", {"POST": auth.soap_login}, session=False),
        route("/services/data", {"GET": describe.versions}, session=False),
        route("/services/data/", {"GET": describe.versions}, session=False),
        route(v, {"GET": describe.resources}),
        route(v + "/", {"GET": describe.resources}),
        route(v + "/limits", {"GET": describe.limits}),
        route(v + "/limits/", {"GET": describe.limits}),
        route(v + "/query", {"GET": query.run}),
        route(v + "/query/", {"GET": query.run}),
        route(v + "/queryAll", {"GET": query.run_all}),
        route(v + "/queryAll/", {"GET": query.run_all}),
        route(v + "/query/{locator}", {"GET": query.more}),
        route(v + "/queryAll/{locator}", {"GET": query.more}),
        route(
            v + "/composite/sobjects",
            {"POST": records.create_many, "PATCH": records.update_many, "DELETE": records.delete_many},
        ),
        route(
            v + "/composite/sobjects/{object}",
            {"GET": records.retrieve_many, "POST": records.retrieve_many_by_body},
        ),
        route(v + "/composite/tree/{object}", {"POST": tree.create}),
        route(v + "/composite/sobjects/{object}/{field}", {"PATCH": records.upsert_many}),
        route(v + "/sobjects", {"GET": describe.objects}),
        route(v + "/sobjects/", {"GET": describe.objects}),
        route(v + "/sobjects/{object}", {"GET": describe.basic, "POST": records.create}),
        route(v + "/sobjects/{object}/", {"GET": describe.basic, "POST": records.create}),
        route(v + "/sobjects/{object}/describe", {"GET": describe.describe}),
        route(v + "/sobjects/{object}/describe/", {"GET": describe.describe}),
        route(one, {"GET": records.read, "PATCH": records.update, "DELETE": records.delete}),
        route(key, {"GET": records.read_by_key, "PATCH": records.upsert, "DELETE": records.delete_by_key}),
        route(ingest, {"GET": lambda call: jobs.listed(call, query=False), "POST": bulk.create}),
        bulk.upload_route(ingest + "/{id}/batches"),
        route(
            ingest + "/{id}",
            {"GET": bulk.info, "PATCH": bulk.change, "DELETE": lambda call: jobs.delete(call, query=False)},
        ),
        route(ingest + "/{id}/{results}", {"GET": bulk.results}),
        route(asked, {"GET": lambda call: jobs.listed(call, query=True), "POST": bulk_query.create}),
        route(
            asked + "/{id}",
            {
                "GET": bulk_query.info,
                "PATCH": bulk_query.change,
                "DELETE": lambda call: jobs.delete(call, query=True),
            },
        ),
        route(asked + "/{id}/results", {"GET": bulk_query.results}),
    ]
