"""Tells people how the night went, through any channel that apprise knows.

A message names counts, codes and what to do; it holds no value of a record. A channel's URL is a secret as a whole
(tokens stand in host, path or query, as its service likes), so that nothing but its scheme is ever shown.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from pydantic import SecretStr

from flows.project.declared import Channel, Occasion
from flows.summary import NotifiedSummary, RunSummary
from flows.summary.story import Attention, attention, counted, decision, duration, headline

if TYPE_CHECKING:
    from apprise import AppriseAsset

MOST_ITEMS = 8
"""Most things to look at that a message lists; the page has them all."""

REPORTS_URL = "NIGHTSHIFT_REPORTS_URL"
"""The environment variable that says where people can open ``reports/``: messages then link to the page there."""

_SECTIONS: dict[Occasion, frozenset[str]] = {
    "quality": frozenset({"expectations", "quarantine", "anomalies"}),
    "rejections": frozenset({"rejections"}),
}
"""Occasion -> the page's sections that show it."""


def occasions(summary: RunSummary, *, rejections_over: int = 0) -> frozenset[Occasion]:
    """Say what of a night there is to tell; a channel is told if it listens to any of it.

    Args:
        summary: the run.
        rejections_over: so many rejected records are not worth a message.

    Returns:
        ``success``, ``failure`` or ``held``, as the run ended; ``quality`` where an expectation of severity critical
        or warning failed, rows were newly held back, or a table is unlike its history; ``rejections``.
    """
    ended: dict[str, Occasion] = {"done": "success", "failed": "failure", "held": "held"}
    found = {ended[summary.state]} if summary.state in ended else set()
    # Rows that were held before were told of then: a message each night about the same rows is not read.
    lasting = "quarantine" if not any(table.new for table in summary.quarantine) else None
    if any(item.section in _SECTIONS["quality"] and item.section != lasting for item in attention(summary)):
        found.add("quality")
    if summary.total("rejected") > rejections_over:
        found.add("rejections")
    return frozenset(found)


def notify(summary: RunSummary, urls: Sequence[SecretStr], *, page_url: str | None = None) -> list[NotifiedSummary]:
    """Send a run's message to every channel that listens. One that fails never raises: its result says so.

    Args:
        summary: the run.
        urls: the channels (https://appriseit.com/services/); one that is no `Channel` is told of everything.
        page_url: where the morning page lies; `REPORTS_URL` makes a link of it.

    Returns:
        One result for each channel that was to be told, in their order.
    """
    channels = [url if isinstance(url, Channel) else Channel(url.get_secret_value()) for url in urls]
    told_of = [(each, each.on & occasions(summary, rejections_over=each.rejections_over)) for each in channels]
    if not any(told for _, told in told_of):
        return []
    with _captured_logs() as logs:
        from apprise import AppriseAsset  # late: a night without channels need not load it; it logs while it loads

        # Memory, and no images: a message writes no file, and makes no reader's mail client ask somebody else's host.
        asset = AppriseAsset(
            storage_mode="memory", app_id="Nightshift", app_desc="Nightshift", image_url_mask="", image_url_logo=""
        )
        return [
            _send(each, *message(summary, page_url=page_url, of=told), _kind(summary), asset, logs)
            for each, told in told_of
            if told
        ]


def message(
    summary: RunSummary, *, page_url: str | None = None, of: Collection[Occasion] = ("success", "failure", "held")
) -> tuple[str, str]:
    """Write a run's title and body in plain text: what, how many, what to do, where to click.

    Args:
        summary: the run.
        page_url: where the morning page lies; else the summary's.
        of: what the reader is told of; the title names it, and what is to be done about it comes first.
    """
    as_of = f" as of {summary.as_of}" if summary.as_of else ""
    lines = [f"Run {summary.run_id} of {summary.target}{as_of}: {summary.state}, {duration(summary.seconds)}."]
    if decided := decision(summary):
        lines.append(decided)
    if summary.error:
        lines += ["", summary.error.what]
        lines += [f"Safe: {summary.error.safe}"] if summary.error.safe else []
        lines += [f"Next: {summary.error.todo}"] if summary.error.todo else []
    changed = [sync for sync in summary.syncs if sync.operations]
    if changed:
        lines += ["", "CRM (creates / updates / archives: applied, rejected, without an answer)"]
        lines += [
            f"- {sync.object}: {sync.creates:,} / {sync.updates:,} / {sync.archives:,}: "
            f"{sync.applied:,}, {sync.rejected:,}, {sync.unknown:,}"
            for sync in changed
        ]
    sections = frozenset().union(*(_SECTIONS.get(occasion, frozenset()) for occasion in of))
    items = [item for item in attention(summary) if item.section != "error"]
    items.sort(key=lambda item: item.section not in sections)
    if items:
        lines += ["", "To look at"]
        lines += [f"- {item.text}. {item.todo}" for item in items[:MOST_ITEMS]]
        lines += [f"- and {counted(len(items) - MOST_ITEMS, 'more thing')}"] if len(items) > MOST_ITEMS else []
    if page := page_url or summary.page:
        lines += ["", f"Page: {link(summary, page)}"]
    title = [headline(summary), *_also(summary, items, of)]
    return f"Nightshift {summary.target}: {'; '.join(title)}", "\n".join(lines)


def _also(summary: RunSummary, items: Sequence[Attention], of: Collection[Occasion]) -> Iterator[str]:
    """What a title says beside how the night ended; why one failed is enough to say."""
    if "quality" in of and summary.state != "failed":
        warned = sum(item.section in _SECTIONS["quality"] for item in items)
        yield counted(warned, "quality warning")
    if "rejections" in of:
        yield counted(summary.total("rejected"), "record") + " rejected"


def link(summary: RunSummary, page: str) -> str:
    """Say where to click: the page where people can open it, as `REPORTS_URL` says, or its path.

    Args:
        summary: the run.
        page: the page's path, or its address.
    """
    base = os.environ.get(REPORTS_URL, "").rstrip("/")
    if not base or "://" in page:
        return page
    return f"{base}/{summary.run_id}/{os.path.basename(page)}"


def _kind(summary: RunSummary) -> str:
    """Apprise's word for the night; channels show it as a colour or an icon."""
    if summary.state == "done":
        return "warning" if any(item.level == "bad" for item in attention(summary)) else "success"
    return {"failed": "failure", "held": "warning"}.get(summary.state, "info")


def _send(to: Channel, title: str, body: str, kind: str, asset: AppriseAsset, logs: list[str]) -> NotifiedSummary:
    from apprise import Apprise, NotifyFormat, NotifyType

    logs.clear()
    try:
        # `instantiate` takes one URL as it is; `add` would split it at commas.
        plugin = Apprise.instantiate(to.get_secret_value(), asset=asset)
        if plugin is None:
            detail = "This is no URL that apprise knows; see https://appriseit.com/services/."
            return NotifiedSummary(_masked(to), False, detail)
        channel = Apprise(asset=asset)
        channel.add(plugin)
        sent = channel.notify(body=body, title=title, notify_type=NotifyType(kind), body_format=NotifyFormat.TEXT)
    except Exception as error:  # a broken channel must not break a night that went well
        return NotifiedSummary(_masked(to), False, f"The channel broke with {type(error).__name__}.")
    return NotifiedSummary(_masked(to), True) if sent else NotifiedSummary(_masked(to), False, _why(logs))


def _masked(channel: Channel) -> str:
    """What of a channel may be shown: its scheme, and which of several it is."""
    scheme = re.match(r"[a-z][a-z0-9+.-]{0,20}(?=://)", channel.get_secret_value().strip(), re.IGNORECASE)
    shown = f"{scheme.group().lower()}://***" if scheme else "***"
    return f"{shown} (no. {channel.place})" if channel.place else shown


def _why(logs: Sequence[str]) -> str:
    """Apprise only says why in its log, which may quote hosts and tokens: only a status code is taken from it."""
    status = next((match.group(1) for line in logs if (match := re.search(r"\berror=(\d{3})\b", line))), None)
    if status:
        return f"The channel refused the message with HTTP {status}."
    return "The channel could not be reached, or refused the message."


class _Keep(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def _captured_logs() -> Iterator[list[str]]:
    """Keep to ourselves what apprise and the HTTP libraries below it log: it holds URLs, and URLs hold tokens."""
    keep = _Keep()
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        for name in ("apprise", "requests", "urllib3"):
            logger = logging.getLogger(name)
            stack.callback(_restore, logger, logger.level, logger.propagate, logger.handlers)
            logger.handlers, logger.propagate = [keep], False
            logger.setLevel(logging.WARNING)
        yield keep.lines


def _restore(logger: logging.Logger, level: int, propagate: bool, handlers: list[logging.Handler]) -> None:
    logger.setLevel(level)
    logger.propagate, logger.handlers = propagate, handlers
