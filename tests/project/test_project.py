"""Everything that can be wrong in the configuration is found at once, each with file, model and key."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows import project, transform
from flows.errors import ConfigError
from flows.project import reading
from flows.project.declared import Anomalies
from flows.settings import Settings
from tests.conftest import PROJECT

CRM = "models/crm/_crm__models.yml"
RETAIL = "models/staging/retail/_retail__sources.yml"
Manifest = dict[str, Any]


@pytest.fixture(scope="session")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """The manifest of the shipped project, as dbt makes it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETAIL_FILES", "in/*.csv.gz")
        patch.setenv("SHOP_URL", "http://127.0.0.1:9")
        home = tmp_path_factory.mktemp("project")
        return dict(transform.parse(Settings(PROJECT, home, "sandbox")))


@pytest.fixture
def manifest(parsed: Manifest) -> Manifest:
    return copy.deepcopy(parsed)


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("SANDBOX_URL", "http://127.0.0.1:9")
    return project.load_connections(PROJECT / "profiles" / "connections.yml", "sandbox")


def model(manifest: Manifest, name: str) -> Manifest:
    return next(node for node in manifest["nodes"].values() if node["name"] == name)  # type: ignore[no-any-return]


def meta(manifest: Manifest, name: str, column: str | None = None) -> Manifest:
    """The meta of a model or a column, wherever dbt keeps it, to be edited."""
    node = model(manifest, name)
    if column is not None:
        node = node["columns"][column]
    return node["config"]["meta"] or node["meta"]  # type: ignore[no-any-return]


def source(manifest: Manifest, name: str) -> Manifest:
    return next(node for node in manifest["sources"].values() if node["name"] == name)  # type: ignore[no-any-return]


def test_the_shipped_project(manifest: Manifest, connections: Any) -> None:
    found = project.load(manifest, connections)
    assert [(s.name, s.object, s.level, s.declared_in) for s in found.syncs] == [
        ("crm_accounts", "Account", 0, CRM),
        ("crm_contacts", "Contact", 1, CRM),
        ("crm_opportunities", "Opportunity", 1, CRM),
    ]
    assert {s.name for s in found.sources} == {"retail.invoice_lines", "shop.customers"}
    contacts = found.sync("crm_contacts")
    [lookup] = [f for f in contacts.fields if f.parent]
    assert (lookup.crm_field, lookup.parent, lookup.parent_object, lookup.parent_external_id) == (
        *("AccountId", "crm_accounts", "Account", "External_Id__c"),
    )
    assert contacts.pii == {"FirstName", "LastName", "Email", "Phone"}
    assert contacts.guard.max_archives == 0.05


def test_what_dbt_calls_personal_is_so_in_its_table_and_in_those_before_and_after_it(
    manifest: Manifest, connections: Any
) -> None:
    contacts = model(manifest, "crm_contacts")
    contacts["alias"] = "People"
    contacts["columns"]["Birth"] = {"name": "Birth", "data_type": "date", "config": {"meta": {"pii": True}}}
    for name in ("email", "phone"):
        contacts["columns"][name]["config"]["meta"]["pii"] = contacts["columns"][name]["meta"]["pii"] = None
    contacts["columns"]["phone"]["config"]["meta"]["pii"] = False
    found = project.load(manifest, connections)
    # The e-mail address is personal where it comes from; somebody says that the telephone number here is not.
    assert found.sync("crm_contacts").pii == {"FirstName", "LastName", "Email"}
    shown = {"first_name", "last_name", "email", "birth"}
    assert found.personal["crm.people"] & {*shown, "phone"} == found.sync("crm_contacts").personal & {*shown, "phone"}
    assert found.personal["crm.people"] >= shown, "also what is not mapped, under the table's own name"
    assert found.personal["raw.shop__customers"] >= {"person", "email", "phone", "birth"}
    assert found.personal["raw.retail__invoice_lines"].isdisjoint({"country", "customerid", "description"})
    [shop] = [source for source in found.sources if source.name == "shop.customers"]
    assert shop.pii == {"person", "email", "phone"}


def test_a_key_that_is_personal_is_refused_but_where_somebody_says_that_it_may_be_seen(
    manifest: Manifest, connections: Any
) -> None:
    meta(manifest, "crm_contacts")["sync"]["external_id"]["column"] = "email"
    for told in (True, None):
        meta(manifest, "crm_contacts", "email").update(pii=told)
        with pytest.raises(ConfigError, match=r"sync\.external_id\.column: 'email' is personal .*or say pii: false"):
            project.load(manifest, connections)
    column = model(manifest, "crm_contacts")["columns"]["email"]
    column["meta"] = column["config"]["meta"] = {"pii": False}
    assert project.load(manifest, connections).sync("crm_contacts").external_id_column == "email"


def test_what_is_watched_for_anomalies(manifest: Manifest, connections: Any) -> None:
    meta(manifest, "crm_accounts").update(anomalies=False)
    meta(manifest, "crm_contacts").update(anomalies={"runs": 12, "width": 2.5, "ignore": ["email"]})
    found = project.load(manifest, connections)
    assert {sync.name: sync.anomalies for sync in found.syncs} == {
        "crm_accounts": None,
        "crm_contacts": Anomalies(runs=12, width=2.5, ignore=["email"]),
        "crm_opportunities": Anomalies(),
    }
    assert {source.name: source.anomalies for source in found.sources} == {
        "retail.invoice_lines": Anomalies(ignore=["UnitPrice"]),
        "shop.customers": Anomalies(),
    }


Edit = Callable[[Manifest], object]


def sync(change: Callable[[Manifest], object], name: str = "crm_accounts") -> Edit:
    return lambda manifest: change(meta(manifest, name)["sync"])


def column(name: str, change: Callable[[Manifest], object], model_name: str = "crm_accounts") -> Edit:
    return lambda manifest: change(meta(manifest, model_name, name))


def extract(change: Callable[[Manifest], object], name: str = "invoice_lines") -> Edit:
    def edit(manifest: Manifest) -> None:
        node = source(manifest, name)
        change((node["config"].get("meta") or node["meta"])["extract"])

    return edit


SYNC = f"{CRM}: crm_accounts: config.meta.sync"
EXTRACT = f"{RETAIL}: retail.invoice_lines: config.meta.extract"
CASES: list[tuple[Edit, str]] = [
    (sync(lambda m: m.pop("external_id")), f"{SYNC}.external_id: is missing"),
    (sync(lambda m: m["external_id"].pop("field")), f"{SYNC}.external_id.field: is missing"),
    (sync(lambda m: m.update(external_id="account_id")), f"{SYNC}.external_id: expected a mapping of keys"),
    (sync(lambda m: m["external_id"].update(column="id")), f"{SYNC}.external_id.column: the model has no column 'id'"),
    (sync(lambda m: m.pop("object")), f"{SYNC}.object: is missing"),
    (sync(lambda m: m.update(moode="mirror")), f"{SYNC}.moode: is no key that is known here"),
    (
        sync(lambda m: m.update(mode="mirrored")),
        f"{SYNC}.mode: input should be 'upsert', 'create_only', 'update_only' or 'mirror'",
    ),
    (sync(lambda m: m.update(crm="other")), f"{SYNC}.crm: no connection 'other' in connections.yml (known: main)"),
    (
        sync(lambda m: m.update(guard={"max_archives": "5 percent"})),
        f"{SYNC}.guard.max_archives: found '5 percent', expected a share such as 5% or a whole number of records",
    ),
    (sync(lambda m: m.update(guard={"max_updates": True})), f"{SYNC}.guard.max_updates: found True, expected a share"),
    (sync(lambda m: m.update(guard={"max_updates": -1})), f"{SYNC}.guard.max_updates: input should be greater than"),
    (
        sync(lambda m: m.update(guard={"fields": {"Segmnt__c": "5%"}})),
        f"{CRM}: crm_accounts: config.meta: sync.guard.fields.Segmnt__c: no column is mapped to it; "
        "did you mean Segment__c?",
    ),
    (lambda m: meta(m, "crm_accounts").update(sync=True), f"{SYNC}: expected a mapping of keys"),
    (
        sync(lambda m: m.update(object="{{ env_var('NOT_SET_AT_ALL') }}")),
        f"{SYNC}.object: the environment variable NOT_SET_AT_ALL is not set.",
    ),
    (
        column("segment", lambda m: m.update(crm_field="Name")),
        f"{CRM}: crm_accounts: config.meta: two columns are mapped to Name",
    ),
    (
        column("segment", lambda m: m.update(crm_field="NAME")),
        f"{CRM}: crm_accounts: config.meta: two columns are mapped to Name",
    ),
    (
        column("segment", lambda m: m.update(crm_field="External_Id__c")),
        f"{CRM}: crm_accounts: config.meta: the column segment is mapped to External_Id__c, which is the external id",
    ),
    (
        column("segment", lambda m: m.update(crm_field="changed")),
        f"{CRM}: crm_accounts: config.meta: the column segment is mapped to changed, a name that plans use themselves",
    ),
    (
        lambda m: model(m, "crm_accounts")["columns"]["segment"].update(data_type=None),
        f"{CRM}: crm_accounts.segment: config.meta: a mapped column needs a data_type",
    ),
    (
        column("account_id", lambda m: m["lookup"].update(sync="crm_acounts"), "crm_contacts"),
        f"{CRM}: crm_contacts.account_id: config.meta.lookup.sync: no model 'crm_acounts' has a sync",
    ),
    (
        column("account_id", lambda m: m["lookup"].pop("field"), "crm_contacts"),
        f"{CRM}: crm_contacts.account_id: config.meta.lookup.field: is missing",
    ),
    (extract(lambda m: m.update(kind="ftp")), f"{EXTRACT}.kind: found 'ftp', expected one of files, rest"),
    (extract(lambda m: m.pop("path")), f"{EXTRACT}.path: is missing"),
    (extract(lambda m: m.update(strategy="merge")), f"{EXTRACT}.strategy: input should be 'append' or 'replace'"),
    (extract(lambda m: m.update(pfad="x")), f"{EXTRACT}.pfad: is no key that is known here"),
    (
        lambda m: (source(m, "invoice_lines")["config"].get("meta") or source(m, "invoice_lines")["meta"]).update(
            extract="files"
        ),
        f"{EXTRACT}: found 'files', expected a mapping",
    ),
    (
        lambda m: model(m, "crm_accounts")["columns"]["segment"].update(data_type="blob"),
        f"{CRM}: crm_accounts.segment: config.meta: a CRM cannot be sent the type blob; cast the column in the model "
        "(such as `cast(... as varchar)`) and declare `data_type: varchar`",
    ),
    (
        lambda m: source(m, "invoice_lines")["columns"]["Quantity"].update(data_type=None),
        f"{EXTRACT}: every column needs a data_type; without one: Quantity",
    ),
    (
        lambda m: meta(m, "crm_accounts").update(anomalies={"runs": 3}),
        f"{CRM}: crm_accounts: config.meta.anomalies.runs: input should be greater than or equal to 4",
    ),
    (
        lambda m: meta(m, "crm_accounts").update(anomalies=True),
        f"{CRM}: crm_accounts: config.meta.anomalies: expected a mapping of keys",
    ),
    (
        lambda m: meta(m, "crm_accounts").update(anomalies={"ignore": ["segmnt"]}),
        f"{CRM}: crm_accounts: config.meta.anomalies.ignore: no column 'segmnt' is declared; did you mean segment?",
    ),
    (
        lambda m: (source(m, "customers")["config"].get("meta") or source(m, "customers")["meta"]).update(
            anomalies={"skip": ["email"]}
        ),
        "shop.customers: config.meta.anomalies.skip: is no key that is known here",
    ),
    (
        extract(lambda m: m.pop("key"), "customers"),
        "models/staging/shop/_shop__sources.yml: shop.customers: config.meta.extract.key: strategy merge needs",
    ),
    (
        extract(lambda m: m.update(cursor="changed"), "customers"),
        "shop.customers: config.meta.extract.cursor: no column 'changed' is declared",
    ),
]


@pytest.mark.parametrize(("edit", "said"), CASES, ids=[said[-60:] for _, said in CASES])
def test_each_error_names_file_model_and_key(manifest: Manifest, connections: Any, edit: Edit, said: str) -> None:
    edit(manifest)
    with pytest.raises(ConfigError) as raised:
        project.load(manifest, connections)
    lines = raised.value.what.splitlines()
    assert lines[0] == "The configuration has 1 problem:", raised.value.what
    assert said in lines[1]
    assert raised.value.safe
    assert raised.value.todo


def test_all_errors_are_listed_at_once(manifest: Manifest, connections: Any) -> None:
    chosen = [CASES[2], CASES[12 + 4], CASES[20], CASES[21], CASES[-1]]
    for edit, _ in chosen:
        edit(manifest)
    with pytest.raises(ConfigError) as raised:
        project.load(manifest, connections)
    assert all(said in raised.value.what for _, said in chosen if "mapped to" not in said), raised.value.what
    assert int(raised.value.what.split()[3]) == len(raised.value.what.splitlines()) - 1 >= 4


def test_lookups_in_a_ring(manifest: Manifest, connections: Any) -> None:
    ring = {"sync": "crm_contacts", "field": "Contact__c"}
    meta(manifest, "crm_accounts", "segment").clear()
    meta(manifest, "crm_accounts", "segment").update(lookup=ring)
    node = model(manifest, "crm_accounts")["columns"]["segment"]
    node["config"]["meta"] = {"lookup": ring}
    with pytest.raises(ConfigError, match=r"lookups form a ring: .*crm_accounts.*crm_contacts") as raised:
        project.load(manifest, connections)
    assert CRM in raised.value.what


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "connections.yml"
    path.write_text(text)
    return path


MAIN = "targets:\n  prod:\n    crms:\n      main:\n        kind: salesforce\n        url: https://x.example\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no mapping of targets"),
        ("- a\n- b\n", "has no mapping of targets"),
        ("targets:\n", "has no mapping of targets"),
        ("targets: [prod]\n", "has no mapping of targets"),
        ("targets: {dev: {}}\n", "connections.yml has no target 'prod'; it has: dev."),
        ("targets: {\n", "is not YAML"),
        ("targets: {prod: }\n", "connections.yml: prod: expected a mapping of keys"),
        ("targets: {prod: {}}\n", "connections.yml: prod.crms: is missing"),
        (MAIN, "connections.yml: prod.crms.main.salesforce.client_id: is missing"),
        (MAIN + "        client_id: a\n        clientsecret: b\n", "clientsecret: is no key that is known here"),
        (
            MAIN + "        client_id: a\n        client_secret: hunter2\n",
            "connections.yml: prod.crms.main.client_secret: a secret must not stand here",
        ),
        (
            MAIN + "        client_id: \"{{ env_var('NOT_A') }}\"\n        client_secret: \"{{ env_var('NOT_B') }}\"\n",
            "The configuration has 2 problems:\n"
            "  - connections.yml: prod.crms.main.client_id: the environment variable NOT_A is not set.\n"
            "  - connections.yml: prod.crms.main.client_secret: the environment variable NOT_B is not set.",
        ),
        (MAIN + '        client_id: "{{ var(1) }}"\n', "prod.crms.main.client_id: only {{ env_var('NAME') }}"),
    ],
)
def test_connections_that_are_wrong(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        project.load_connections(written(tmp_path, text), "prod")
    assert said in raised.value.what
    assert "hunter2" not in str(raised.value)
    assert raised.value.todo


def test_connections_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        project.load_connections(tmp_path / "connections.yml", "prod")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ env_var('SET') }}", 'it\'s "set"'),
        ('{{ env_var("SET") }}', 'it\'s "set"'),
        ("{{env_var('UNSET','a \"b\"')}}", 'a "b"'),
        ('{{ env_var("UNSET", "it\'s") }}', "it's"),
        ("{{ env_var('UNSET', '') }}", ""),
        ("a-{{ env_var('SET') }}-{{ env_var('UNSET', 'b') }}", 'a-it\'s "set"-b'),
        ("{{ env_var('BRACES') }}", "{{ not a template }}"),
        ("plain", "plain"),
    ],
)
def test_variables(monkeypatch: pytest.MonkeyPatch, text: str, value: str) -> None:
    monkeypatch.setenv("SET", 'it\'s "set"')
    monkeypatch.setenv("BRACES", "{{ not a template }}")
    monkeypatch.delenv("UNSET", raising=False)
    assert reading.render(text, "here") == value


@pytest.mark.parametrize(
    ("said", "meant"),
    [("5%", 0.05), (" 12.5 % ", 0.125), ("1.1%", 0.011), (3, 3), (0.5, 0.5), (0, 0), ("200", 200), ("0.05", 0.05)],
)
def test_thresholds(said: object, meant: float) -> None:
    found = project.Guard.model_validate({"max_updates": said}).max_updates
    assert (found, type(found)) == (meant, type(meant))
