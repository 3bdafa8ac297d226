"""How records that were read from an API get into the raw table: merged by key, appended, or in place of all.

All three leave a row that is there already and equal as it is, with its ``_extracted_at``: a cursor is inclusive, so
that the same records come again every night, and what did not change must not look fresh.
"""

from __future__ import annotations

from collections.abc import Callable

from flows.extract.base import Job, names
from flows.project import RestExtract
from flows.warehouse import quoted

INCOMING = "temp.incoming"
"""The records with their declared types, their ``_page``, and ``_place`` (the order in which they came)."""


def merge(job: Job, extract: RestExtract) -> int:
    """Insert records with new keys and update those that differ; an older version never replaces a newer one.

    Returns:
        Rows inserted or updated.
    """
    _keep_newest(job, extract)
    key = quoted(extract.key or "")
    sets = ", ".join(f"{quoted(name)} = i.{quoted(name)}" for name in job.columns)
    differs = " or ".join(f"t.{quoted(name)} is distinct from i.{quoted(name)}" for name in job.columns)
    if extract.cursor is not None:
        cursor = quoted(extract.cursor)
        differs = f"({differs}) and (t.{cursor} is null or i.{cursor} >= t.{cursor})"
    found = job.warehouse.execute(
        f"merge into {job.source.relation} t using {INCOMING} i on t.{key} = i.{key}"
        f" when matched and ({differs}) then"
        f" update set {sets}, _extracted_at = $now, _run_id = $run, _page = i._page"
        f" when not matched then insert ({names(job.columns)}, _extracted_at, _run_id, _page)"
        f" values ({_all(job, 'i')}, $now, $run, i._page)",
        {"now": job.now, "run": job.run_id},
    )
    return int(found[0][0])


def append(job: Job, extract: RestExtract) -> int:
    """Add records; with a cursor, those of its very last moment that are there already are left out.

    Returns:
        Rows inserted.
    """
    known = ""
    if extract.cursor is not None:
        same = " and ".join(f"t.{quoted(name)} is not distinct from i.{quoted(name)}" for name in job.columns)
        known = f" where not exists (select 1 from {job.source.relation} t where {same})"
    return _insert(job, known)


def replace(job: Job, extract: RestExtract) -> int:
    """Make the table what the source is now.

    Returns:
        Rows inserted or updated; rows that went are not counted.

    Raises:
        ExtractError: the source has nothing at all any more, which is hardly ever the truth.
    """
    came = job.warehouse.scalar(f"select count(*) from {INCOMING}")
    there = job.warehouse.scalar(f"select count(*) from {job.source.relation}")
    if there and not came:
        raise job.error(
            f"it answered no record at all, but {there:,} are known; they were kept.",
            f"Look at the source. If it is the truth, empty {job.source.relation} by hand.",
        )
    if extract.key is not None:
        key = quoted(extract.key)
        job.warehouse.execute(
            f"delete from {job.source.relation} t where not exists (select 1 from {INCOMING} i where i.{key} = t.{key})"
        )
        return merge(job, extract)
    ours, theirs = (
        f"select {names(job.columns)} from {job.source.relation}",
        f"select {names(job.columns)} from {INCOMING}",
    )
    differing = job.warehouse.scalar(
        f"select (select count(*) from ({ours} except all {theirs})) + "
        f"(select count(*) from ({theirs} except all {ours}))"
    )
    if not differing:
        return 0
    job.warehouse.execute(f"delete from {job.source.relation}")
    return _insert(job, "")


STRATEGIES: dict[str, Callable[[Job, RestExtract], int]] = {"merge": merge, "append": append, "replace": replace}


def _keep_newest(job: Job, extract: RestExtract) -> None:
    """Keep one record of every key: the newest by cursor, and of equally new ones the last that came."""
    newest = f"{quoted(extract.cursor)} desc nulls last, _place desc" if extract.cursor else "_place desc"
    job.warehouse.execute(
        f"create or replace temp table incoming as select * from {INCOMING}"
        f" qualify row_number() over (partition by {quoted(extract.key or '')} order by {newest}) = 1"
    )


def _insert(job: Job, where: str) -> int:
    found = job.warehouse.execute(
        f"insert into {job.source.relation} ({names(job.columns)}, _extracted_at, _run_id, _page)"
        f" select {_all(job, 'i')}, $now, $run, i._page from {INCOMING} i{where}",
        {"now": job.now, "run": job.run_id},
    )
    return int(found[0][0])


def _all(job: Job, alias: str) -> str:
    return ", ".join(f"{alias}.{quoted(name)}" for name in job.columns)
