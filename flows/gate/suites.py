r"""Suites of expectations, written as YAML.

    table: raw.retail__invoice_lines
    description: What the till may get wrong before it concerns the CRM.
    owner: data-quality@example.com
    pii: [email]                              # columns whose values nobody may be shown
    max_quarantined: 5%                       # of the table's rows, or a count; more than that stops the run
    expectations:
      - expect_column_values_to_be_between: {column: Quantity, strict_min: true, min_value: 0}
        severity: critical                    # critical (default) | warning | info
        on_fail: report                       # stop | quarantine | report; `Suite.on_fail` says what comes by itself
        description: Only a cancellation takes pieces back.
        row_condition: "\"InvoiceNo\" not like 'C%'"    # SQL; only these rows are judged
        rows: new                             # all (default) | new: what no finished run has carried yet
        owner: till-team@example.com          # the suite's owner where absent

An expectation's name and arguments are those of Great Expectations. A key that is not listed here is an error.
"""

from __future__ import annotations

import string
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast, get_args

import yaml
from pydantic import TypeAdapter, ValidationError

from flows.errors import ConfigError
from flows.gate import arguments as together
from flows.gate.catalogue import REFUSED, SQL, Kind, catalogue
from flows.gate.declared import MAX_QUARANTINED, Expectation, OnFail, Rows, Severity, Suite
from flows.project.declared import Threshold
from flows.project.reading import problems_of

_SUITE_KEYS = ("table", "description", "owner", "pii", "max_quarantined", "expectations")
_EXPECTATION_KEYS = ("severity", "on_fail", "description", "row_condition", "rows", "owner")
SUFFIXES = (".yml", ".yaml")
"""The files of a folder that are suites."""
_THRESHOLD: TypeAdapter[float | int] = TypeAdapter(Threshold)


def suites(folder: Path) -> list[Suite]:
    """Read every suite of a folder, such as ``expectations/raw``.

    Args:
        folder: holds ``*.yml`` files.

    Returns:
        The suites in the order of their file names; none for an empty folder.

    Raises:
        ConfigError: lists the problems of all files, or the folder does not exist.
    """
    problems: list[str] = []
    [found] = read([folder], problems)
    fail(problems)
    return found


def read(folders: Sequence[Path], problems: list[str]) -> list[list[Suite]]:
    """Read every suite of folders in which a table has one suite.

    Args:
        folders: such as ``expectations/raw`` and ``expectations/crm``.
        problems: what is wrong is added here, with file and line.

    Returns:
        Each folder's suites, in the order of their file names.

    Raises:
        ConfigError: a folder does not exist.
    """
    paths: dict[str, Path] = {}
    return [list(_read(folder, paths, problems)) for folder in folders]


def _read(folder: Path, paths: dict[str, Path], problems: list[str]) -> Iterator[Suite]:
    """A folder's suites; ``paths`` has the file of every table that has one, in lower case."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} does not exist.", safe="Nothing ran.", todo="Suites are kept in expectations/.")
    for path in sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES):
        suite = _suite(path, problems)
        if suite is None:
            continue
        other = paths.setdefault(suite.name.lower(), path)
        if other != path:
            said = f"{suite.name} has a suite already, {other.parent.name}/{other.name}"
            problems.append(f"{path}:{suite.line}: {said}; put both into one")
        yield suite


def load_suite(path: Path) -> Suite:
    """Read one suite.

    Args:
        path: the YAML file.

    Returns:
        The suite; what it says about the table is compared with the table only by `flows.gate.check`.

    Raises:
        ConfigError: lists every problem with file and line: not YAML, an unknown key, expectation or argument, a
            wrong type, a duplicate.
    """
    problems: list[str] = []
    suite = _suite(path, problems)
    fail(problems)
    return cast(Suite, suite)


def with_keys(declared: Iterable[Suite], keys: Mapping[str, str]) -> list[Suite]:
    """Tell suites which tables are synced models, whose rows can be held back one by one.

    Args:
        declared: the suites.
        keys: table, as ``<schema>.<table>`` in any case -> the column that its sync knows a record by.

    Raises:
        ConfigError: lists every ``on_fail: quarantine`` on a table that is no synced model.
    """
    lower = {name.lower(): key for name, key in keys.items()}
    suites = [replace(suite, key=lower.get(suite.name.lower())) for suite in declared]
    fail([problem for suite in suites if suite.key is None for problem in _keyless(suite)])
    return suites


def _keyless(suite: Suite) -> Iterator[str]:
    for expectation in suite.expectations:
        if expectation.on_fail == "quarantine":
            yield (
                f"{suite.path}:{expectation.line}: on_fail: quarantine: {suite.name} is no synced model. Its rows feed "
                "sums and other rows; hold the record back where it is one, in the suite of the model that is synced"
            )


def fail(problems: Sequence[str]) -> None:
    """Raise ConfigError with all of them, if there are any."""
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise ConfigError(
            f"The suites have {len(problems)} problem{'s' if len(problems) > 1 else ''}:\n{listed}",
            safe="Nothing ran, nothing was sent.",
            todo="Correct the lines named above.",
        )


class _Located(dict[Any, Any]):
    """A YAML mapping that knows the lines of its keys (from 1)."""

    lines: dict[Any, int]
    line: int


class _Listed(list[Any]):
    """A YAML list that knows the lines of its items (from 1)."""

    lines: list[int]


class _Loader(yaml.SafeLoader):
    """SafeLoader that keeps lines, refuses a key said twice, and leaves dates as the text they are."""


# An assignment, since the attribute is shared with SafeLoader, which is to keep its dates.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _located(loader: _Loader, node: yaml.MappingNode) -> Iterator[_Located]:
    found = _Located()
    found.line, found.lines = node.start_mark.line + 1, {}
    yield found
    loader.flatten_mapping(node)
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable) or key in found.lines:
            raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands here twice", key_node.start_mark)
        found.lines[key] = key_node.start_mark.line + 1
        found[key] = loader.construct_object(value_node, deep=True)


def _listed(loader: _Loader, node: yaml.SequenceNode) -> Iterator[_Listed]:
    found = _Listed()
    found.lines = [item.start_mark.line + 1 for item in node.value]
    yield found
    found += loader.construct_sequence(node)


_Loader.add_constructor("tag:yaml.org,2002:map", _located)
_Loader.add_constructor("tag:yaml.org,2002:seq", _listed)


def _suite(path: Path, problems: list[str]) -> Suite | None:
    """Read a suite, or add what is wrong to the problems and return None."""
    before = len(problems)
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506  # a SafeLoader
    except FileNotFoundError:
        problems.append(f"{path}: does not exist")
        return None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problems.append(f"{path}:{line}: not YAML that can be used: {error.problem}")
        return None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problems.append(f"{path}:1: not YAML: {error}")
        return None
    if not isinstance(document, _Located):
        problems.append(f"{path}:1: a suite is a mapping with the keys {', '.join(_SUITE_KEYS)}")
        return None
    for key in document.keys() - set(_SUITE_KEYS):
        problems.append(f"{path}:{document.lines[key]}: {_unknown('key', key, _SUITE_KEYS)}")
    schema, _, table = str(document.get("table", "")).partition(".")
    if not schema or not table or "." in table:
        line = document.lines.get("table", 1)
        problems.append(f"{path}:{line}: table: found {document.get('table')!r}, expected <schema>.<table>")
    for key in ("description", "owner"):
        if not isinstance(document.get(key, ""), str):
            problems.append(f"{path}:{document.lines[key]}: {key}: found {document[key]!r}, expected a text")
    most = _most_quarantined(path, document, problems)
    pii = document.get("pii", [])
    if not isinstance(pii, list) or not all(isinstance(column, str) for column in pii):
        problems.append(f"{path}:{document.lines['pii']}: pii: found {pii!r}, expected a list of columns")
    expectations = _expectations(path, document, problems)
    if len(problems) > before:
        return None
    return Suite(
        schema=schema,
        table=table,
        description=str(document.get("description", "")).strip(),
        owner=document.get("owner", ""),
        pii=frozenset(pii),
        max_quarantined=most,
        expectations=tuple(expectations),
        path=path,
        line=document.lines["table"],
    )


def _most_quarantined(path: Path, document: _Located, problems: list[str]) -> float | int:
    try:
        return _THRESHOLD.validate_python(document.get("max_quarantined", MAX_QUARANTINED))
    except ValidationError as error:
        problems.extend(problems_of(error, f"{path}:{document.lines['max_quarantined']}: max_quarantined"))
        return MAX_QUARANTINED


def _expectations(path: Path, document: _Located, problems: list[str]) -> list[Expectation]:
    listed = document.get("expectations")
    if not isinstance(listed, _Listed) or not listed:
        line = document.lines.get("expectations", 1)
        problems.append(f"{path}:{line}: expectations: a suite needs a list of at least one")
        return []
    found: list[Expectation] = []
    said: dict[str, int] = {}
    for item, line in zip(listed, listed.lines, strict=True):
        if not isinstance(item, _Located):
            problems.append(f"{path}:{line}: expectations: found {item!r}, expected a mapping such as {{name: …}}")
            continue
        wrong = list(_problems(item))
        problems.extend(f"{path}:{at}: {what}" for at, what in wrong)
        if wrong:
            continue
        expectation = _expectation(item, document.get("owner", ""))
        same = f"{expectation.kind.name}({sorted(expectation.arguments.items())!r}, {expectation.expected})"
        if same in said:
            problems.append(f"{path}:{item.line}: {expectation.kind.name} stands already in line {said[same]}")
        said[same] = item.line
        found.append(expectation)
    return found


def _expectation(item: _Located, owner: str) -> Expectation:
    (name,) = item.keys() - set(_EXPECTATION_KEYS)
    return Expectation(
        kind=catalogue()[name],
        arguments=dict(item[name] or {}),
        severity=item.get("severity", "critical"),
        description=str(item.get("description", "")).strip(),
        owner=item.get("owner", owner),
        row_condition=item.get("row_condition"),
        rows=item.get("rows", "all"),
        on_fail=item.get("on_fail"),
        line=item.line,
    )


def _problems(item: _Located) -> Iterator[tuple[int, str]]:
    """What is wrong with one item of ``expectations``: line, text."""
    literals = {"severity": Severity, "rows": Rows, "on_fail": OnFail}
    choices: Mapping[str, tuple[str, ...]] = {key: get_args(literal) for key, literal in literals.items()}
    for key in _EXPECTATION_KEYS:
        value = item.get(key)
        if key not in item or (isinstance(value, str) and (key not in choices or value in choices[key])):
            continue
        yield item.lines[key], f"{key}: found {value!r}, expected {' or '.join(choices.get(key, ('a text',)))}"
    names = [key for key in item if key not in _EXPECTATION_KEYS]
    known = catalogue()
    if len(names) == 1 and names[0] in known:
        yield from _argument_problems(item, known[names[0]])
    elif not names:
        yield item.line, "no expectation stands here, only " + ", ".join(map(str, item))
    elif not (unknown := [name for name in names if name not in known]):
        yield item.line, f"two expectations in one item: {' and '.join(names)}"
    else:
        for name in unknown:
            if name in REFUSED:
                yield item.lines[name], f"{name} cannot be used: {REFUSED[name]}"
            elif len(names) > 1:
                yield item.lines[name], _unknown("key", name, _EXPECTATION_KEYS)
            else:
                yield item.lines[name], _unknown("expectation", name, tuple(known))


def _argument_problems(item: _Located, kind: Kind) -> Iterator[tuple[int, str]]:
    arguments = item[kind.name] if item[kind.name] is not None else {}
    line = item.lines[kind.name]
    if not isinstance(arguments, dict):
        yield line, f"{kind.name}: found {arguments!r}, expected its arguments, such as {{column: …}}"
        return
    if item.get("on_fail") == "quarantine" and not kind.row_level and kind.name != SQL:
        yield item.lines["on_fail"], f"on_fail: quarantine: {kind.name} judges the whole table and names no row"
    lines = getattr(arguments, "lines", {})
    for name, value in arguments.items():
        if name not in kind.arguments:
            yield lines[name], f"{kind.name}: {_unknown('argument', name, tuple(kind.arguments))}"
        elif wrong := kind.problem(name, value):
            yield lines[name], wrong
        elif kind.name == SQL:
            yield from ((lines[name], wrong) for wrong in _query_problems(value))
    for name in sorted(kind.required - arguments.keys()):
        yield line, f"{kind.name} needs the argument {name!r}"
    if all(name in kind.arguments and kind.problem(name, value) is None for name, value in arguments.items()):
        yield from ((lines.get(name, line), wrong) for name, wrong in together.problems(kind, arguments))


def _query_problems(query: str) -> Iterator[str]:
    """GX fills a query in as Python's ``str.format`` does, so braces of SQL's own must be doubled."""
    try:
        names = {name for _, name, _, _ in string.Formatter().parse(query) if name is not None}
    except ValueError as error:
        yield f"{SQL}: {error}; write a brace of SQL's own twice, {{{{ or }}}}"
        return
    if "batch" not in names:
        yield f"{SQL}: the query must read from {{batch}}, which stands for the suite's table"
    for name in sorted(names - {"batch"}):
        yield f"{SQL}: {{{name}}} means nothing here; write a brace of SQL's own twice, {{{{ and }}}}"


def _unknown(what: str, found: object, known: tuple[str, ...]) -> str:
    near = get_close_matches(str(found), known, n=1)
    if near:
        return f"unknown {what} {found!r}; did you mean {near[0]}?"
    listed = ", ".join(sorted(known)) if len(known) < 12 else "the core ones of Great Expectations, in snake case"
    return f"unknown {what} {found!r}; known are {listed}"
