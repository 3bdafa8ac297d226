"""Faults: a script that makes the sandbox misbehave in a set way.

A script is YAML or JSON: ``{seed: 7, rules: [...]}`` or just the list of rules. A rule says when, and what::

    - method: PATCH                 # when: the request's method; default any
      path: composite/sobjects      #       a regular expression that is searched for in path?query; default any
      nth: 3                        #       only the 3rd request that matches (also a list: [3, 4])
      every: 5                      #       or each 5th
      times: 2                      #       at most twice in all
      probability: 0.1              #       one in ten, by the script's seed

      status: 503                   # what: answer this instead
      headers: {Retry-After: "1"}   #       with these headers
      body: [{errorCode: X}]        #       and this JSON (default: the CRM's list of one error)
      after: true                   #       after the request was carried out and committed (default: before)
    - drop: before                  #       close the connection before or after the request is carried out
    - delay: 2.5                    #       wait so many seconds first
    - expire_token: true            #       forget the access token, so that the request is answered with 401
    - lock_rows: 0.3                #       refuse this share of the rows with UNABLE_TO_LOCK_ROW
    - reject: {code: X, message: m, share: 0.5, where: {External_Id__c: "17850"}}   # refuse rows with this code
    - change: {field: Name, truncate: 10}     # keep something else than was sent; also `case: lower` (upper), `to: X`
    - fail_job: "InternalServerError : try again"   # the Bulk job ends Failed with this message
    - unprocessed: 100              #       the Bulk job stops after so many rows; the rest is unprocessed
    - slow_job: 0.5                 #       the Bulk job stays in each of its states for so many seconds

Several rules may match one request; each then acts, but only the first answer counts. What concerns a Bulk job's rows
or states is matched on the request that makes the job run: the PATCH that sets UploadComplete.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_CONDITIONS = ("method", "path", "nth", "every", "times", "probability")
_ANSWERS = ("status", "headers", "body", "after", "drop", "delay", "expire_token")
_ROWS = ("lock_rows", "reject", "change", "fail_job", "unprocessed", "slow_job")
_KEYS = frozenset((*_CONDITIONS, *_ANSWERS, *_ROWS))


class BadScript(ValueError):
    """A script of faults that cannot be understood."""


@dataclass(slots=True)
class Rule:
    """One rule of a script, and how often it matched and acted so far."""

    when: dict[str, Any]
    what: dict[str, Any]
    matched: int = 0
    acted: int = 0

    def applies(self, method: str, target: str, chance: random.Random) -> bool:
        """Tell whether the rule acts on this request, and count it."""
        if self.when.get("method", method).upper() != method:
            return False
        if not re.search(self.when.get("path", ""), target):
            return False
        self.matched += 1
        nth = self.when.get("nth")
        if nth is not None and self.matched not in (nth if isinstance(nth, list) else [nth]):
            return False
        if self.matched % self.when.get("every", 1):
            return False
        if self.acted >= self.when.get("times", self.acted + 1):
            return False
        if chance.random() >= self.when.get("probability", 1.0):
            return False
        self.acted += 1
        return True


@dataclass(slots=True)
class Faults:
    """A script of faults under way."""

    rules: list[Rule] = field(default_factory=list)
    chance: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311 - not for secrets
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def set(self, script: Any) -> None:
        """Replace the script.

        Args:
            script: the parsed YAML or JSON.

        Raises:
            BadScript: it has an unknown key or is not a list of rules.
        """
        parsed = parse(script)
        with self._lock:
            self.rules, self.chance = parsed.rules, parsed.chance

    def match(self, method: str, target: str) -> list[dict[str, Any]]:
        """Find what is to go wrong with a request, and count it.

        Args:
            method: the request's method.
            target: its path and query.
        """
        with self._lock:
            return [rule.what for rule in self.rules if rule.applies(method, target, self.chance)]

    def picks(self, share: float) -> bool:
        """Draw by lot: true for the given share of draws."""
        with self._lock:
            return self.chance.random() < share

    def counts(self) -> list[dict[str, Any]]:
        """Every rule, with how often it matched and acted."""
        return [{**r.when, **r.what, "matched": r.matched, "acted": r.acted} for r in self.rules]


def changed(change: Mapping[str, Any], value: Any) -> Any:
    """What is kept in place of a value, by a rule's ``change``; what is no text can only be replaced.

    Args:
        change: ``truncate`` (characters), ``case`` (lower or upper), or ``to`` (a value).
        value: what was sent.
    """
    if "to" in change:
        return change["to"]
    if not isinstance(value, str):
        return value
    text = value[: change.get("truncate", len(value))]
    return text.lower() if change.get("case") == "lower" else text.upper() if change.get("case") == "upper" else text


def load(path: Path | None) -> Faults:
    """Read a script.

    Args:
        path: the YAML or JSON file; None for no faults.

    Raises:
        BadScript: the file cannot be understood.
    """
    if path is None:
        return Faults()
    try:
        return parse(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, BadScript) as error:
        raise BadScript(f"{path}: {error}") from error


def parse(script: Any) -> Faults:
    """Check a parsed script.

    Raises:
        BadScript: it has an unknown key or is not a list of rules.
    """
    seed = script.get("seed", 0) if isinstance(script, dict) else 0
    rules = script.get("rules", []) if isinstance(script, dict) else script
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise BadScript("a script of faults is a list of rules, or {seed, rules}")
    parsed = []
    for number, rule in enumerate(rules, 1):
        if unknown := sorted(set(rule) - _KEYS):
            raise BadScript(f"rule {number} has unknown keys {unknown}; known are {sorted(_KEYS)}")
        when = {key: rule[key] for key in _CONDITIONS if key in rule}
        what = {key: value for key, value in rule.items() if key not in _CONDITIONS}
        if not what:
            raise BadScript(f"rule {number} says when, but not what is to happen")
        parsed.append(Rule(when, what))
    return Faults(parsed, random.Random(seed))  # noqa: S311
