"""``profiles/connections.yml``: the CRMs, source credentials and notification channels of one target."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from flows.errors import ConfigError
from flows.project.declared import TargetConnections
from flows.project.reading import ENV_VAR, fail, problems_of, render, rendered

SECRETS = frozenset({"client_secret", "private_key", "token", "password"})


def load_connections(path: Path, target: str) -> TargetConnections:
    """Read one target's connections.

    Args:
        path: ``profiles/connections.yml``.
        target: the target's name; only its variables are looked up.

    Raises:
        ConfigError: the file is missing or malformed, an unknown target, a literal secret, an unset variable.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist.", todo="See docs/reference.md for its form.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}", safe="Nothing ran.", todo="Correct that line.") from error
    targets = document.get("targets") if isinstance(document, dict) else None
    if not isinstance(targets, dict):
        raise ConfigError(
            f"{path} has no mapping of targets.", safe="Nothing ran.", todo="See docs/connections.md for its form."
        )
    if target not in targets:
        raise ConfigError(
            f"{path.name} has no target {target!r}; it has: {', '.join(sorted(targets)) or 'none'}.",
            todo=f"Use --target, or add {target!r} to {path.name}.",
        )
    where = f"{path.name}: {target}"
    literal = list(_literal_secrets(targets[target], where))
    fail([f"{key}: a secret must not stand here; write \"{{{{ env_var('NAME') }}}}\"" for key in literal])
    unset = list(_unset(targets[target], where))
    if len(unset) > 1:
        fail(unset)
    try:
        return TargetConnections.model_validate(rendered(targets[target], where))
    except ValidationError as error:
        fail(list(problems_of(error, where)))
        raise


def _unset(value: Any, where: str) -> Iterator[str]:
    """What cannot be rendered in a document, each with its key."""
    if isinstance(value, str):
        try:
            render(value, where)
        except ConfigError as error:
            yield error.what
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _unset(inner, f"{where}.{key}")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _unset(inner, f"{where}[{i}]")


def _literal_secrets(value: Any, where: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in SECRETS and isinstance(inner, str) and not ENV_VAR.search(inner):
                yield f"{where}.{key}"
            yield from _literal_secrets(inner, f"{where}.{key}")
