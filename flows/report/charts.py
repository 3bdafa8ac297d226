"""Charts as inline SVG, drawn by leather: no script, and colours that are the page's own, in light and in dark.

leather writes what it is told into SVG's attributes, so that a colour may be one of the style sheet's variables.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import leather
from leather import theme
from markupsafe import Markup, escape

theme.background_color = "none"
theme.margin = 0.0
theme.tick_font_family = "inherit"
theme.tick_font_size = theme.tick_font_char_height = 12
theme.tick_font_char_width = 7
theme.tick_color, theme.zero_color, theme.label_color = "var(--line)", "var(--muted)", "var(--muted)"

WIDTH, HEIGHT = 440, 150
"""Of a chart, in SVG's units; it is as wide as the page lets it be."""
SPARK_WIDTH, SPARK_HEIGHT = 132, 26
MOST_TICKS = 5
_WHOLE = leather.Linear(0, 1)


@dataclass(frozen=True, slots=True)
class Point:
    """One run in a trend: what was measured, None where nothing was; whether it is to be seen as bad, and how bad."""

    value: float | None
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """One colour of a chart of columns: its name, its class in the style sheet, and a value for each run."""

    name: str
    kind: str
    values: Sequence[float]

    @property
    def total(self) -> float:
        """The sum of its values."""
        return sum(self.values)


class _Stacked(leather.shapes.Shape):  # type: ignore[misc]
    """Columns on top of each other, one path for each part: as many rectangles would be a page of their own."""

    def __init__(self, parts: Sequence[Part], titles: Sequence[str]) -> None:
        self.parts, self.titles = parts, titles

    def validate_series(self, series: Any) -> None:
        """Everything that `stacked` makes fits."""

    def to_svg(self, width: Any, height: Any, x_scale: Any, y_scale: Any, series: Any, palette: Any) -> ET.Element:
        """Render the columns, and over each of them one that nobody sees and that tells what it is."""
        group = ET.Element("g", {"class": "columns"})
        spans = [tuple(map(float, x_scale.project_interval(d.x, 0, width))) for d in series.data()]
        tops = [0.0] * len(spans)
        for part in self.parts:
            drawn = []
            for at, ((left, right), value) in enumerate(zip(spans, part.values, strict=True)):
                if value:
                    low, high = (float(y_scale.project(tops[at] + more, height, 0)) for more in (0, value))
                    # What is not nothing is seen: half a unit at least.
                    high = min(high, low - 0.5)
                    drawn.append(f"M{left:.1f} {low:.1f}h{right - left:.1f}V{high:.1f}h{left - right:.1f}z")
                    tops[at] += value
            if drawn:
                ET.SubElement(group, "path", {"class": part.kind, "d": "".join(drawn)})
        for (left, right), title in zip(spans, self.titles, strict=True):
            box = {"x": f"{left:.1f}", "width": f"{right - left:.1f}", "height": f"{float(height):.0f}"}
            ET.SubElement(ET.SubElement(group, "rect", {"class": "hover", **box}), "title").text = title
        return group


def stacked(label: str, parts: Sequence[Part], days: Sequence[str], titles: Sequence[str], unit: str = "") -> Markup:
    """Draw columns over time, in the parts that they are made of.

    Args:
        label: what a screen reader says in the chart's place.
        parts: from the bottom up; their values are in the runs' order, oldest first.
        days: under each column; a few of them are written.
        titles: what is told of each column when it is pointed at.
        unit: behind the numbers of the axis.
    """
    most = max((sum(values) for values in zip(*(part.values for part in parts), strict=True)), default=0)
    top = _round_up(most)
    keys = [str(at) for at in range(len(days))]
    chart = leather.Chart()
    chart.set_x_scale(leather.Ordinal(keys))
    chart.set_y_scale(leather.Linear(0, top))
    step = max(1, math.ceil(len(keys) / MOST_TICKS))
    chart.set_x_axis(
        leather.Axis(ticks=keys[step // 2 :: step] or keys[:1], tick_formatter=lambda key, *_: days[int(key)])
    )
    chart.set_y_axis(leather.Axis(ticks=[0, top / 2, top], tick_formatter=lambda value, *_: _short(value) + unit))
    chart.add_series(leather.Series([(key, 0) for key in keys]), _Stacked(parts, titles))
    return _svg("chart", chart.to_svg_group(WIDTH, HEIGHT), WIDTH, HEIGHT, label)


def sparkline(points: Sequence[Point], label: str) -> Markup:
    """Draw a small line of one figure over the last runs, with a dot for each bad run and for the last one.

    Args:
        points: oldest first; at least one holds a value.
        label: what a screen reader says in its place.
    """
    known = [point.value for point in points if point.value is not None]
    low, high = min(0.0, *known), max(known)
    across, up = max(len(points) - 1, 1), high - low or 1.0
    last = max(at for at, point in enumerate(points) if point.value is not None)
    # In parts of the whole, so that every line has the same scale: leather takes its time to find good ticks for one.
    placed = [
        (at / across, None if point.value is None else (point.value - low) / up, point.mark, at == last)
        for at, point in enumerate(points)
    ]
    dotted = [dot for dot in placed if dot[1] is not None and (dot[2] or dot[3])]
    inner = (SPARK_WIDTH - 8, SPARK_HEIGHT - 8)
    group = ET.Element("g", {"transform": "translate(4 4)"})
    group.append(leather.Line("var(--plain)", 1.5).to_svg(*inner, _WHOLE, _WHOLE, leather.Series(placed), None))
    dots = leather.Dots(lambda dot: COLOURS[dot.row[2]], lambda dot: 3 if dot.row[3] else 2)
    group.append(dots.to_svg(*inner, _WHOLE, _WHOLE, leather.Series(dotted), None))
    return _svg("spark", group, SPARK_WIDTH, SPARK_HEIGHT, label)


COLOURS: Mapping[str, str] = {
    "": "var(--plain)",
    "critical": "var(--bad)",
    "warning": "var(--warn)",
    "info": "var(--muted)",
}


def _svg(kind: str, group: ET.Element, width: int, height: int, label: str) -> Markup:
    for item in group.iter():
        for name in ("cx", "cy", "x", "y", "x1", "x2", "y1", "y2"):
            if name in item.attrib:
                item.set(name, f"{float(item.attrib[name]):.4g}")
        if item.tag == "path" and item.get("fill") == "none":
            item.set("d", " ".join(part if part in "ML" else f"{float(part):.4g}" for part in item.attrib["d"].split()))
    size = f'viewBox="0 0 {width} {height}"' + (f' width="{width}" height="{height}"' if kind == "spark" else "")
    drawn = ET.tostring(group, encoding="unicode", short_empty_elements=True)
    return Markup(f'<svg class="{kind}" {size} role="img" aria-label="{escape(label)}">{drawn}</svg>')  # noqa: S704 - ElementTree escapes


def _round_up(value: float) -> float:
    """The end of an axis: half of it is a number that people would choose, too."""
    if value <= 2:
        return 2
    power = 10.0 ** math.floor(math.log10(value))
    steps = (1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10) if value > 10 else (2, 4, 6, 8, 10)
    return next(step * power for step in steps if step * power >= value * 0.999)


def _short(value: float) -> str:
    """A number as an axis has room for: ``0.5``, ``250``, ``12k``, ``1.5M``."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"
