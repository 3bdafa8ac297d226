"""A subset of SOQL, translated to SQLite.

SELECT fields (also of a parent, one level up), COUNT(), COUNT(field); FROM one object; WHERE with = != <> < > <= >= IN,
NOT IN, LIKE, AND, OR, NOT and parentheses; ORDER BY with ASC, DESC, NULLS FIRST and LAST; LIMIT; OFFSET.

Source: https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta/soql_sosl/sforce_api_calls_soql_select.htm
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from flows.sandbox.ids import normalise
from flows.sandbox.org import NUMBER_TYPES, Field, ObjectType, Org
from flows.sandbox.salesforce.values import Wrong, convert
from flows.sandbox.store import marks, quoted

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^'\\]|\\.)*')"
    r"|(?P<moment>\d{4}-\d{2}-\d{2}(?:T[\d:.]+(?:Z|[+-]\d{2}:?\d{2})?)?)"
    r"|(?P<number>[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[A-Za-z_][\w.]*)"
    r"|(?P<sign><=|>=|!=|<>|[=<>(),]))"
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_LIKE_ESCAPE = "\x1b"


class BadQuery(Exception):
    """A query that is refused.

    Attributes:
        code: the API's error code.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Selected:
    """One selected field.

    Attributes:
        name: as it stands in the answer, such as ``Name`` or ``Account.Name``.
        field: the field.
        path: the relationship that leads to it, empty for the object's own.
    """

    name: str
    field: Field
    path: str = ""


@dataclass(slots=True)
class Query:
    """A translated query.

    Attributes:
        kind: the object.
        selected: the fields; their values are the first columns of each row.
        keys: relationship -> the place in each row of the parent's id; the empty one is the record's own.
        parents: relationship -> the parent's object.
        count: whether only the number of records is asked for, as ``COUNT()``.
        counted: the fields of ``COUNT(field)`` expressions.
        sql: the SELECT.
        values: its parameters.
    """

    kind: ObjectType
    selected: list[Selected] = field(default_factory=list)
    keys: dict[str, int] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    count: bool = False
    counted: list[str] = field(default_factory=list)
    sql: str = ""
    values: list[Any] = field(default_factory=list)


def translate(text: str, org: Org, *, deleted: bool = False) -> Query:
    """Translate a query.

    Args:
        text: the SOQL.
        org: the objects.
        deleted: whether deleted records are found too.

    Raises:
        BadQuery: it is malformed, or names an object or a field that does not exist.
    """
    return _Parser(text, org, deleted).parse()


class _Parser:
    def __init__(self, text: str, org: Org, deleted: bool) -> None:
        self.org = org
        self.deleted = deleted
        self.tokens = _tokens(text)
        self.place = 0
        self.joins: dict[str, tuple[Field, ObjectType]] = {}
        self.values: list[Any] = []

    # Tokens.

    def peek(self) -> str:
        """The next token in upper case, empty at the end."""
        return self.tokens[self.place][1].upper() if self.place < len(self.tokens) else ""

    def take(self, *wanted: str) -> str:
        """Go on over the next token, which must be one of those wanted if any are."""
        if self.place >= len(self.tokens):
            raise BadQuery("MALFORMED_QUERY", "unexpected end of query")
        text = self.tokens[self.place][1]
        if wanted and text.upper() not in wanted:
            raise BadQuery("MALFORMED_QUERY", f"unexpected token: '{text}'")
        self.place += 1
        return text

    def accept(self, *words: str) -> bool:
        """Go on over these words if they come next."""
        there = [token[1].upper() for token in self.tokens[self.place : self.place + len(words)]]
        if there != list(words):
            return False
        self.place += len(words)
        return True

    # Clauses.

    def parse(self) -> Query:
        """Translate the whole query."""
        self.take("SELECT")
        names = self.select_list()
        self.take("FROM")
        name = self.take()
        kind = self.org.object(name)
        if kind is None:
            raise BadQuery("INVALID_TYPE", f"sObject type '{name}' is not supported.")
        if self.peek() not in {"", "WHERE", "ORDER", "LIMIT", "OFFSET"}:
            self.take()  # an alias, which is not used further
        self.kind = kind
        query = Query(kind, count=names == ["COUNT()"])
        query.counted = [name[6:-1] for name in names if name.startswith("COUNT(") and not query.count]
        plain = [] if query.count or query.counted else names
        query.selected = [self.select(name) for name in plain]
        where = self.condition() if self.accept("WHERE") else "1"
        tail = self.order() + self.limit()
        if self.place < len(self.tokens):
            raise BadQuery("MALFORMED_QUERY", f"unexpected token: '{self.take()}'")
        query.sql = self.sql(query, where, tail)
        query.values = self.values
        return query

    def select_list(self) -> list[str]:
        names = []
        while True:
            name = self.take()
            if self.accept("("):
                if name.upper() != "COUNT":
                    raise BadQuery("MALFORMED_QUERY", f"the function {name} is not supported")
                inner = "" if self.peek() == ")" else self.take()
                self.take(")")
                name = f"COUNT({inner})"
            names.append(name)
            if not self.accept(","):
                return names

    def select(self, name: str) -> Selected:
        path, found = self.resolve(name)
        return Selected(name if not path else f"{path}.{found.name}", found, path)

    def resolve(self, name: str) -> tuple[str, Field]:
        """Find a field by its name or by ``Parent.Name``."""
        parts = name.split(".")
        if parts[0].lower() == self.kind.name.lower() and len(parts) > 1:
            parts = parts[1:]
        kind, path = self.kind, ""
        if len(parts) > 2:
            raise BadQuery("MALFORMED_QUERY", f"{name}: only one level of parents is supported")
        if len(parts) == 2:
            lookup = self.kind.relationship(parts[0])
            if lookup is None:
                text = f"Didn't understand relationship '{parts[0]}' in field path."
                raise BadQuery("INVALID_FIELD", text)
            kind, path = self.org.objects[lookup.reference_to], lookup.relationship
            self.joins[path] = (lookup, kind)
        found = kind.find(parts[-1])
        if found is None:
            text = f"No such column '{parts[-1]}' on entity '{kind.name}'."
            raise BadQuery("INVALID_FIELD", text)
        return path, found

    def column(self, path: str, found: Field) -> str:
        return f"{quoted(path or '_')}.{quoted(found.name)}"

    def sql(self, query: Query, where: str, tail: str) -> str:
        live = "" if self.deleted else " AND _.IsDeleted = 0"
        joins = "".join(
            f" LEFT JOIN {quoted(parent.name)} {quoted(path)} ON {quoted(path)}.Id = _.{quoted(lookup.name)}"
            for path, (lookup, parent) in self.joins.items()
        )
        source = f"FROM {quoted(query.kind.name)} _{joins} WHERE ({where}){live}{tail}"
        if query.count:
            return f"SELECT count(*) FROM (SELECT 1 {source})"
        if query.counted:
            columns = ", ".join(f"count({self.column(*self.resolve(name))})" for name in query.counted)
            return f"SELECT {columns} {source}"
        cells = [self.column(chosen.path, chosen.field) for chosen in query.selected]
        for path in ["", *self.joins]:
            query.keys[path] = len(cells)
            query.parents[path] = self.joins[path][1].name if path else self.kind.name
            cells.append(f"{quoted(path or '_')}.Id")
        return f"SELECT {', '.join(cells)} {source}"

    def order(self) -> str:
        if not self.accept("ORDER", "BY"):
            return ""
        terms = []
        while True:
            path, found = self.resolve(self.take())
            down = " DESC" if self.accept("DESC") else ""
            if not down:
                self.accept("ASC")
            nulls = "LAST" if self.accept("NULLS", "LAST") else "FIRST"
            if nulls == "FIRST":
                self.accept("NULLS", "FIRST")
            terms.append(f"{self.column(path, found)}{down} NULLS {nulls}")
            if not self.accept(","):
                return f" ORDER BY {', '.join(terms)}"

    def limit(self) -> str:
        limit = self.whole_number() if self.accept("LIMIT") else None
        offset = self.whole_number() if self.accept("OFFSET") else None
        if offset is not None and offset > 2000:
            raise BadQuery("NUMBER_OUTSIDE_VALID_RANGE", "Maximum SOQL offset allowed is 2000")
        text = f" LIMIT {-1 if limit is None else limit}" if limit is not None or offset is not None else ""
        return text + (f" OFFSET {offset}" if offset is not None else "")

    def whole_number(self) -> int:
        text = self.take()
        if not text.isdigit():
            raise BadQuery("MALFORMED_QUERY", f"unexpected token: '{text}'")
        return int(text)

    # Conditions. SOQL knows no NULL truth: only NOT has to turn it into false, the rest comes out the same.

    def condition(self) -> str:
        terms = [self.conjunction()]
        while self.accept("OR"):
            terms.append(self.conjunction())
        return " OR ".join(terms) if len(terms) == 1 else f"({' OR '.join(terms)})"

    def conjunction(self) -> str:
        terms = [self.negation()]
        while self.accept("AND"):
            terms.append(self.negation())
        return " AND ".join(terms)

    def negation(self) -> str:
        if self.accept("NOT"):
            return f"NOT coalesce(({self.negation()}), 0)"
        if self.accept("("):
            inner = self.condition()
            self.take(")")
            return f"({inner})"
        return self.comparison()

    def comparison(self) -> str:
        path, found = self.resolve(self.take())
        column = self.column(path, found)
        if self.accept("NOT", "IN"):
            return f"({column} IS NULL OR {column} NOT IN ({self.literals(found)}))"
        if self.accept("IN"):
            return f"{column} IN ({self.literals(found)})"
        if self.accept("LIKE"):
            kind, text = self.tokens[self.place]
            self.take()
            if kind != "text":
                raise BadQuery("MALFORMED_QUERY", f"unexpected token: '{text}'")
            self.values.append(_unquote(text, like=True))
            return f"{column} LIKE ? ESCAPE '{_LIKE_ESCAPE}'"
        sign = self.take("=", "!=", "<>", "<", ">", "<=", ">=")
        value = self.literal(found)
        if value is None:
            if sign not in {"=", "!=", "<>"}:
                raise BadQuery("INVALID_FIELD", f"null cannot be compared by '{sign}'")
            return f"{column} IS {'' if sign == '=' else 'NOT '}NULL"
        self.values.append(value)
        return f"({column} IS NULL OR {column} <> ?)" if sign in {"!=", "<>"} else f"{column} {sign} ?"

    def literals(self, found: Field) -> str:
        self.take("(")
        count = 0
        while True:
            self.values.append(self.literal(found))
            count += 1
            if self.take(",", ")") == ")":
                return marks(count)

    def literal(self, found: Field) -> Any:
        """Read one value, which must be written as the field's type wants."""
        if self.place >= len(self.tokens):
            raise BadQuery("MALFORMED_QUERY", "unexpected end of query")
        kind, text = self.tokens[self.place]
        self.place += 1
        if kind == "name" and text.lower() == "null":
            return None
        wanted = _literal_kind(found)
        if kind != wanted or (wanted == "name" and text.lower() not in {"true", "false"}):
            quotes = "should not be enclosed in quotes" if kind == "text" else "should be enclosed in quotes"
            message = f"value of filter criterion for field '{found.name}' must be of type {found.type} and {quotes}"
            raise BadQuery("INVALID_FIELD", message)
        if kind == "text":
            value = _unquote(text)
            if found.type in {"id", "reference"}:
                known = normalise(value)
                if known is None:
                    raise BadQuery("INVALID_QUERY_FILTER_OPERATOR", f"invalid ID field: {value}")
                return known
            return value
        return _converted(found, text)


def _literal_kind(found: Field) -> str:
    if found.type == "boolean":
        return "name"
    if found.type in NUMBER_TYPES:
        return "number"
    return "moment" if found.type in {"date", "datetime"} else "text"


def _converted(found: Field, text: str) -> Any:
    if found.type in NUMBER_TYPES:
        return float(text)
    try:
        return convert(found, text, csv=True)
    except Wrong as wrong:
        raise BadQuery("MALFORMED_QUERY", str(wrong)) from wrong


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens = []
    place = 0
    text = text.strip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None or match.end() == place:
            raise BadQuery("MALFORMED_QUERY", f"line 1:{place} unexpected character at '{text[place : place + 20]}'")
        kind = str(match.lastgroup)
        tokens.append((kind, match[kind]))
        place = match.end()
    return tokens


def _unquote(text: str, *, like: bool = False) -> str:
    """The text between quotes; for LIKE an escaped wildcard stays a plain character."""

    def replace(match: re.Match[str]) -> str:
        letter = match[1]
        if like and letter in "%_":
            return _LIKE_ESCAPE + letter
        return _ESCAPES.get(letter, letter)

    return re.sub(r"\\(.)", replace, text[1:-1], flags=re.DOTALL)
