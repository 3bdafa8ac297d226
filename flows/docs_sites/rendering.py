"""Great Expectations' renderers, with what they lack here.

Importing this imports Great Expectations, which takes seconds: import it late.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

from great_expectations.render.renderer.column_section_renderer import ValidationResultsColumnSectionRenderer
from great_expectations.render.renderer.content_block.validation_results_table_content_block import (
    ValidationResultsTableContentBlockRenderer,
)
from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
from great_expectations.render.view.view import DefaultJinjaPageView
from jinja2 import pass_context

TEMPLATES = Path(__file__).parent / "templates"

BESIDE = ("Severity", "If it fails", "Judged", "Why", "Owner")
"""Columns of our own; an expectation's meta holds their texts, under this tuple's name in small letters."""


class Table(ValidationResultsTableContentBlockRenderer):
    """The table of one column's expectations, with more columns.

    Its own way to more columns, meta properties, fails: expectations take no argument of that name any more.
    """

    @classmethod
    def _get_content_block_fn(cls, expectation_type: str, expectation_config: Any = None) -> Callable[..., Any]:
        """Render a row; without the configuration, of which Great Expectations would make a whole expectation first."""
        row = super()._get_content_block_fn(expectation_type)
        assert row is not None  # noqa: S101  # what is not known is rendered as missing

        def with_ours(*, result: Any, **keywords: Any) -> list[list[Any]]:
            config, said = result.expectation_config, result.result.get("observed_value")
            try:
                [[status, expected, observed, *_]] = row(result=result, **keywords)
            except Exception:  # arguments that its renderer does not expect; and so is its own way out of that
                status, observed = cls._diagnostic_status_icon_renderer(result=result), "--"
                expected = " ".join([config.type.replace("_", " "), *map(str, config.kwargs.values())])
            # A few renderers want a list or a mapping here; ours is what the gate said of it, in words.
            return [[status, expected, observed if said is None else said, *config.meta["beside"]]]

        return with_ours

    @classmethod
    def _process_content_block(cls, content_block: Any, has_failed_evr: Any, render_object: Any = None) -> None:
        super()._process_content_block(content_block, has_failed_evr)
        content_block.header_row = [*content_block.header_row, *BESIDE]


class Section(ValidationResultsColumnSectionRenderer):
    """One column's expectations."""

    def __init__(self) -> None:
        super().__init__()
        self._table_renderer = Table

    @classmethod
    def _render_header(cls, validation_results: Any) -> Any:
        """The section's heading; a column may be called as markup is."""
        results, block = super()._render_header(validation_results)  # type: ignore[no-untyped-call]
        block.header.string_template["template"] = html.escape(str(cls._get_column_name(validation_results)))  # type: ignore[no-untyped-call]
        return results, block


class Page(ValidationResultsPageRenderer):
    """One table's page."""

    def __init__(self) -> None:
        super().__init__(run_info_at_end=True)
        self._column_section_renderer = Section()


class View(DefaultJinjaPageView):
    """The page as HTML, in a frame of our own."""

    _template = "page.html"

    def __init__(self) -> None:
        super().__init__(custom_views_directory=str(TEMPLATES))

    def text(self, document: Any, **values: Any) -> str:
        """Render a document, and what the frame shows beside it."""
        return str(self.render(document, **values))  # type: ignore[no-untyped-call]

    @pass_context
    def render_content_block(self, jinja_context: Any, content_block: Any, *args: Any, **keywords: Any) -> Any:
        """Render a block; a bare text among them is a text, and never markup."""
        return super().render_content_block(jinja_context, _escaped(content_block), *args, **keywords)


def _escaped(block: Any) -> Any:
    if isinstance(block, str):
        return html.escape(block)
    return [_escaped(part) for part in block] if isinstance(block, list) else block
