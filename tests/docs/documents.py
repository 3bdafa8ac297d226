"""Reading Markdown: documents, fenced blocks, tables under a heading, links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`[^`\n]+`")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: its language and its text, without the fence's indentation."""

    language: str
    text: str


def documents() -> list[Path]:
    """Every Markdown file of the checkout."""
    folders = [PROJECT / name for name in ("docs", "expectations", "dbt_project")]
    found = [*PROJECT.glob("*.md"), *(path for folder in folders for path in folder.rglob("*.md"))]
    return sorted(found)


def name(path: Path) -> str:
    """A document's path from the checkout on."""
    return path.relative_to(PROJECT).as_posix()


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a document."""
    for indent, language, body in _FENCE.findall(text):
        lines = [line.removeprefix(indent) for line in body.splitlines()]
        yield Block(language, "\n".join(lines) + "\n")


def prose(text: str) -> str:
    """A document without its fenced blocks."""
    return _FENCE.sub("", text)


def links(text: str) -> list[str]:
    """The targets of a document's links and images."""
    return _LINK.findall(_CODE.sub("", prose(text)))


def code_spans(text: str) -> list[str]:
    """What stands in backticks in a document's prose."""
    return [span.strip("`") for span in _CODE.findall(prose(text))]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives a document's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def table(text: str, heading: str, number: int = 0) -> list[list[str]]:
    """The rows of a table under a heading, without its title row; cells are stripped.

    Args:
        text: the document.
        heading: as it is written, without the number signs.
        number: which of the tables under that heading.
    """
    section = re.split(rf"^#+ {re.escape(heading)}$", text, maxsplit=1, flags=re.MULTILINE)
    assert len(section) == 2, f"there is no heading {heading!r}"
    body = re.split(r"^#+ ", section[1], maxsplit=1, flags=re.MULTILINE)[0]
    found = re.findall(r"(?:^\|.*\n)+", body, re.MULTILINE)
    rows = [[cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in found[number].splitlines()]
    return rows[2:]
