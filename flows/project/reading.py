"""Reading what is declared: variables are put in, and everything that is wrong is told at once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from flows.errors import ConfigError

ENV_VAR = re.compile(r"""\{\{\s*env_var\(\s*(['"])(.+?)\1\s*(?:,\s*(['"])(.*?)\3\s*)?\)\s*\}\}""")


def render(text: str, where: str) -> str:
    """Replace dbt's ``{{ env_var('NAME', 'default') }}`` in a text.

    Args:
        text: the text.
        where: file and key, for the error.

    Raises:
        ConfigError: a variable is not set and has no default; or something else stands in braces.
    """
    if "{{" in ENV_VAR.sub("", text):
        raise ConfigError(
            f"{where}: only {{{{ env_var('NAME') }}}} or {{{{ env_var('NAME', 'default') }}}} may stand in braces.",
            safe="Nothing ran.",
            todo="Correct what stands in braces; it is no template beyond that.",
        )

    def value(match: re.Match[str]) -> str:
        name, default = match.group(2), match.group(4)
        found = os.environ.get(name, default)
        if found is None:
            raise ConfigError(
                f"{where}: the environment variable {name} is not set.",
                safe="Nothing ran.",
                todo=f"Set {name}, or give it a default: {{{{ env_var('{name}', '...') }}}}.",
            )
        return found

    return ENV_VAR.sub(value, text)


def rendered(value: Any, where: str) -> Any:
    """Replace ``env_var`` in every text of a YAML value; ``where`` grows by the keys on the way."""
    if isinstance(value, str):
        return render(value, where)
    if isinstance(value, dict):
        return {key: rendered(inner, f"{where}.{key}") for key, inner in value.items()}
    if isinstance(value, list):
        return [rendered(inner, f"{where}[{i}]") for i, inner in enumerate(value)]
    return value


_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is no key that is known here",
    "model_type": "expected a mapping of keys",
    "dict_type": "expected a mapping of keys",
}


def problems_of(error: ValidationError, where: str) -> Iterator[str]:
    """One sentence for each problem; what was found is not quoted where it may be a secret."""
    for item in error.errors(include_url=False, include_input=False):
        key = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        said = _WORDS.get(item["type"], f"{message[0].lower()}{message[1:]}")
        yield f"{where}{'.' + key if key else ''}: {said}"


def fail(problems: list[str]) -> None:
    """Tell all problems at once, if there are any.

    Raises:
        ConfigError: lists them.
    """
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise ConfigError(
            f"The configuration has {len(problems)} problem{'s' if len(problems) > 1 else ''}:\n{listed}",
            safe="Nothing ran, nothing was sent.",
            todo="Correct the lines named above, then `nightshift doctor`.",
        )
