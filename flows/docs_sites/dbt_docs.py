"""dbt's docs of the project that ran, as one page that opens from the disk.

A page is 2.6 MB, and most nights' are the same: while neither project nor tables change, the runs share one file by
hard links. Its data are put into dbt's own page here rather than by ``dbt docs generate --static``, which leaves
``</script>`` in a description as it is, and gives the page no content policy.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import Any

from flows import transform
from flows.errors import TransformFailed
from flows.settings import Settings
from flows.warehouse import Warehouse

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data:; font-src data:"
)
_MENDED = {
    "href=\"${require('./assets/favicons/favicon.ico')}\"": 'href="data:,"',
    ' xlink:href="{{ getIcon(': ' ng-attr-xlink:href="{{ getIcon(',
}
"""Addresses in dbt's page that a browser asks for before they are filled in, and complains of."""
_CREDENTIALS = re.compile(r"(?<=://)[^/\s@\"\\]+@")
_PASSING = frozenset(("created_at", "metadata", "compiled_code"))
"""Keys of a manifest that change though the project does not; compiled SQL often holds the time of its run."""


def build(settings: Settings, db: Warehouse, page: Path, *, shared: bool = True) -> None:
    """Write dbt's docs of the project as it was built last.

    Args:
        settings: the target; dbt has built its models.
        db: the warehouse that they are in.
        page: where the page goes; one that is there is replaced as a whole.
        shared: take the last page where neither project nor tables have changed since.

    Raises:
        TransformFailed: dbt cannot describe the tables, or its page has not the places for the data.
        OSError: a file is missing, or cannot be written.
    """
    manifest = json.loads((settings.dbt_target / "manifest.json").read_text(encoding="utf-8"))
    kept = settings.dbt_target / "docs" / f"{_fingerprint(manifest, db)}.html"
    if not (shared and kept.exists()):
        for old in kept.parent.glob("*.html"):
            old.unlink()  # runs that share it keep it: a file is gone with its last link
        _write(kept, _filled(manifest, _catalog(settings)))
    _link(kept, page)


def _fingerprint(manifest: dict[str, Any], db: Warehouse) -> str:
    """What the page is made from, in short: the project but for what passes, and the tables' columns."""
    columns = db.execute(
        "select table_schema, table_name, column_name, data_type from information_schema.columns "
        "where table_catalog = current_database() order by all"
    )
    plain = json.dumps([_lasting(manifest), columns], sort_keys=True)
    return blake2b(plain.encode(), digest_size=16).hexdigest()


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lasting(inner) for key, inner in value.items() if key not in _PASSING}
    return [_lasting(inner) for inner in value] if isinstance(value, list) else value


def _catalog(settings: Settings) -> dict[str, Any]:
    """The tables and their columns, as dbt sees them."""
    from dbt.cli.main import dbtRunner

    os.environ.update(transform.environment(settings))
    places = ["--project-dir", settings.dbt_project, "--profiles-dir", settings.profiles]
    places += ["--target-path", settings.dbt_target, "--target", settings.target]
    command = [
        "--quiet",
        "--log-level",
        "none",
        "--log-level-file",
        "none",
        "docs",
        "generate",
        "--no-compile",
        *map(str, places),
    ]
    # In a thread of its own: dbt keeps whatever is raised in it, also the signal that is to end the run.
    with ThreadPoolExecutor(1, "dbt-docs") as pool:
        result = pool.submit(lambda: dbtRunner().invoke(command)).result()
    if not result.success:
        raise TransformFailed(f"dbt docs generate failed: {result.exception}")
    catalog: dict[str, Any] = json.loads((settings.dbt_target / "catalog.json").read_text(encoding="utf-8"))
    return catalog


def _filled(manifest: dict[str, Any], catalog: dict[str, Any]) -> str:
    """Fill dbt's page with its data, and let it ask nothing of the network."""
    from dbt.task.docs import DOCS_INDEX_FILE_PATH

    text = Path(DOCS_INDEX_FILE_PATH).read_text(encoding="utf-8")
    for odd, mended in _MENDED.items():
        text = text.replace(odd, mended)
    head = f'<head><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    parts = {
        "<head>": head,
        '"MANIFEST.JSON INLINE DATA"': _inline(manifest),
        '"CATALOG.JSON INLINE DATA"': _inline(catalog),
    }
    for place, part in parts.items():
        if place not in text:
            raise TransformFailed(f"dbt's page has no {place} to put the data into.")
        text = text.replace(place, part, 1)
    return text


def _inline(data: dict[str, Any]) -> str:
    """JSON that may stand in a script of a page: nothing in it ends the script, and no URL has credentials."""
    return _CREDENTIALS.sub("", json.dumps(data)).replace("<", "\\u003c")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(text, encoding="utf-8", errors="replace")
    os.replace(draft, path)


def _link(kept: Path, page: Path) -> None:
    page.parent.mkdir(parents=True, exist_ok=True)
    draft = page.with_suffix(".tmp")
    draft.unlink(missing_ok=True)
    try:
        os.link(kept, draft)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(kept, draft)
    os.replace(draft, page)  # does nothing where both are one file already, and leaves the draft then
    draft.unlink(missing_ok=True)
