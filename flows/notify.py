"""Tells people how the night went, through any channel that apprise knows.

A message names counts, codes and what to do; it holds no value of a record. A channel's URL is a secret as a whole
(tokens stand in host, path or query, as its service likes), so that nothing but its scheme is ever shown.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import SecretStr

from flows.story import attention, counted, decision, duration, headline
from flows.summary import RunSummary

if TYPE_CHECKING:
    from apprise import AppriseAsset

MOST_ITEMS = 8
"""Most things to look at that a message lists; the page has them all."""


@dataclass(frozen=True, slots=True)
class NotifyResult:
    """What became of one message.

    Attributes:
        channel: the URL's scheme, such as ``slack://***``; the rest is secret.
        sent: whether the channel took the message.
        detail: why not; empty when it was sent.
    """

    channel: str
    sent: bool
    detail: str = ""


def notify(summary: RunSummary, urls: Sequence[SecretStr], *, page_url: str | None = None) -> list[NotifyResult]:
    """Send a run's message to every channel. A channel that fails never raises: its result says so.

    Args:
        summary: the run.
        urls: apprise URLs (https://appriseit.com/services/).
        page_url: where the morning page can be opened; else the message names its path.

    Returns:
        One result for each URL, in their order.
    """
    if not urls:
        return []
    title, body = message(summary, page_url=page_url)
    with _captured_logs() as logs:
        from apprise import AppriseAsset  # late: a night without channels need not load it; it logs while it loads

        # Memory, and no images: a message writes no file, and makes no reader's mail client ask somebody else's host.
        asset = AppriseAsset(
            storage_mode="memory", app_id="Nightshift", app_desc="Nightshift", image_url_mask="", image_url_logo=""
        )
        return [_send(url.get_secret_value(), title, body, _kind(summary), asset, logs) for url in urls]


def message(summary: RunSummary, *, page_url: str | None = None) -> tuple[str, str]:
    """Write a run's title and body in plain text: what, how many, what to do, where to click."""
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
    items = [item for item in attention(summary) if item.section != "error"]
    if items:
        lines += ["", "To look at"]
        lines += [f"- {item.text}. {item.todo}" for item in items[:MOST_ITEMS]]
        lines += [f"- and {counted(len(items) - MOST_ITEMS, 'more thing')}"] if len(items) > MOST_ITEMS else []
    if page_url or summary.page:
        lines += ["", f"Page: {page_url or summary.page}"]
    return f"Nightshift {summary.target}: {headline(summary)}", "\n".join(lines)


def _kind(summary: RunSummary) -> str:
    """Apprise's word for the night; channels show it as a colour or an icon."""
    if summary.state == "done":
        return "warning" if any(item.level == "bad" for item in attention(summary)) else "success"
    return {"failed": "failure", "held": "warning"}.get(summary.state, "info")


def _send(url: str, title: str, body: str, kind: str, asset: AppriseAsset, logs: list[str]) -> NotifyResult:
    from apprise import Apprise, NotifyFormat, NotifyType

    logs.clear()
    try:
        # `instantiate` takes one URL as it is; `add` would split it at commas.
        plugin = Apprise.instantiate(url, asset=asset)
        if plugin is None:
            detail = "This is no URL that apprise knows; see https://appriseit.com/services/."
            return NotifyResult(_masked(url), False, detail)
        channel = Apprise(asset=asset)
        channel.add(plugin)
        sent = channel.notify(body=body, title=title, notify_type=NotifyType(kind), body_format=NotifyFormat.TEXT)
    except Exception as error:  # a broken channel must not break a night that went well
        return NotifyResult(_masked(url), False, f"The channel broke with {type(error).__name__}.")
    return NotifyResult(_masked(url), True) if sent else NotifyResult(_masked(url), False, _why(logs))


def _masked(url: str) -> str:
    scheme = re.match(r"[a-z][a-z0-9+.-]{0,20}(?=://)", url.strip(), re.IGNORECASE)
    return f"{scheme.group().lower()}://***" if scheme else "***"


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
