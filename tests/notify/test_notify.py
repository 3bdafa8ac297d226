"""Notifications, to a real webhook server on loopback."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from pydantic import SecretStr

from flows.notify import MOST_ITEMS, message, notify
from flows.summary import ErrorSummary, SourceSummary
from flows.summary.held import QuarantineSummary
from tests.notify.server import webhooks
from tests.report.example import HOSTILE, crossed, failed, good, held, quiet, troubled

TOKEN = "T0pS3cretT0ken"


@dataclass
class Webhook:
    """A server that keeps what it is sent and answers with one status."""

    status: int = 200
    received: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> SecretStr:
        return SecretStr(f"json://user:{TOKEN}@127.0.0.1:{self.port}/{TOKEN}/hook?+X-Key={TOKEN}")


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    hook = Webhook()

    def answer(path: str, sent: dict[str, Any]) -> int:
        hook.received.append(sent)
        hook.paths.append(path)
        return hook.status

    with webhooks(answer) as hook.port:
        yield hook


def test_a_webhook_gets_title_and_body(webhook: Webhook) -> None:
    results = notify(troubled(), [webhook.url], page_url="https://pages.example/20101210")

    assert [(result.channel, result.sent, result.detail) for result in results] == [("json://***", True, "")]
    assert webhook.paths == [f"/{TOKEN}/hook"]
    [sent] = webhook.received
    assert sent["title"] == (
        "Nightshift sandbox: 493 of 504 changes are in the CRM; 1 quality warning; 9 records rejected"
    )
    assert sent["type"] == "warning"
    body = sent["message"]
    assert "Run 20101210-020004-7f3a of sandbox as of 2010-12-09: done, 14.2 s." in body
    assert "- Contact: 68 / 5 / 2: 64, 9, 2" in body
    assert "9 Contact records were rejected: INVALID_EMAIL_ADDRESS (7)" in body
    assert "Every run tries again until they succeed" in body
    assert body.endswith("Page: https://pages.example/20101210")


def test_a_good_night_is_a_success_though_something_was_odd(webhook: Webhook) -> None:
    notify(good(), [webhook.url])

    assert webhook.received[0]["type"] == "success"


def test_rows_held_back_since_tonight_make_it_a_warning(webhook: Webhook) -> None:
    for new in (3, 0):
        notify(replace(quiet(), quarantine=(QuarantineSummary("crm.crm_contacts", 12, new),)), [webhook.url])

    assert [sent["type"] for sent in webhook.received] == ["warning", "success"]


def test_a_failed_night_says_what_is_safe_and_what_is_next(webhook: Webhook) -> None:
    notify(failed(), [webhook.url])

    [sent] = webhook.received
    assert sent["title"] == "Nightshift sandbox: The night failed in gate raw; nothing reached the CRM"
    assert sent["type"] == "failure"
    assert "Safe: Nothing was sent to the CRM." in sent["message"]
    assert "Next: Ask the owner of retail.invoice_lines" in sent["message"]
    assert sent["message"].endswith("Page: var/runs/20101210-020004-7f3a/morning-page.html")


def test_a_held_night_says_how_to_approve(webhook: Webhook) -> None:
    notify(held(), [webhook.url])

    [sent] = webhook.received
    assert sent["type"] == "warning"
    assert "\nnightshift approve 20101210-020004-7f3a --push\n" in sent["message"]


def test_an_approved_night_says_by_whom_and_why() -> None:
    _, body = message(crossed())

    assert body.splitlines()[1] == "Approved by anna at 2010-12-10 07:00 UTC: The new segments are meant; Sales knows."


def test_a_night_with_nothing_to_do_is_short() -> None:
    title, body = message(quiet())

    assert title == "Nightshift sandbox: Nothing to do: the CRM is up to date"
    assert body.splitlines()[0].endswith("done, 9.1 s.")
    assert "CRM (" not in body
    assert "To look at" not in body


def test_a_message_holds_no_value_of_a_record() -> None:
    _, body = message(troubled())

    for value in (*HOSTILE, "Zoë", "ZOE", "14688", "@"):
        assert value not in body


def test_a_message_redacts_what_an_error_quotes() -> None:
    error = ErrorSummary("customers, row 3: e-mail jane@example.com is no date", todo="Call +44 20 7946 0018.")

    _, body = message(replace(failed(), error=error))

    assert "customers, row 3: e-mail [e-mail] is no date" in body
    assert "Next: Call [phone]." in body


def test_a_message_does_not_grow_without_end() -> None:
    sources = tuple(SourceSummary(f"shop.table_{n}", 0, warnings=("odd",)) for n in range(30))

    _, body = message(replace(quiet(), sources=sources))

    assert body.count("1 warning") == MOST_ITEMS
    assert f"- and {30 - MOST_ITEMS} more things" in body


def test_one_bad_channel_does_not_keep_the_others_from_hearing(
    webhook: Webhook, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    dead = SecretStr(f"json://user:{TOKEN}@127.0.0.1:9/{TOKEN}")
    unknown = SecretStr(f"jsno://{TOKEN}/x")
    nonsense = SecretStr(f"{TOKEN}, and no URL")

    results = notify(good(), [dead, unknown, nonsense, webhook.url])

    assert [result.sent for result in results] == [False, False, False, True]
    assert [result.channel for result in results] == ["json://***", "jsno://***", "***", "json://***"]
    assert results[0].detail == "The channel could not be reached, or refused the message."
    assert results[1].detail.startswith("This is no URL that apprise knows")
    assert len(webhook.received) == 1
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    assert TOKEN not in f"{results}{caplog.text}"
    assert not [r for r in caplog.records if r.name.split(".")[0] in {"apprise", "urllib3", "requests"}]


def test_a_refusing_channel_says_its_status(webhook: Webhook) -> None:
    webhook.status = 403

    [result] = notify(good(), [webhook.url])

    assert (result.sent, result.detail) == (False, "The channel refused the message with HTTP 403.")


def test_others_get_their_logs_back(webhook: Webhook) -> None:
    logger = logging.getLogger("apprise")
    before = (logger.level, logger.propagate, list(logger.handlers))

    notify(good(), [webhook.url])

    assert (logger.level, logger.propagate, list(logger.handlers)) == before


def test_no_channel_no_message() -> None:
    assert notify(good(), []) == []
