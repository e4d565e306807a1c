"""Draws plots as SVG text: lines over a common axis, and bars in groups."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import chain
from math import floor, log10

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 30, 66
COLOURS = ("#1b6ca8", "#c8553d", "#4c956c", "#8d6a9f", "#b08900", "#3d5a6c", "#d1495b", "#2e8b8b")
_TICKS = 5


@dataclass(frozen=True, slots=True)
class Plot:
    """Title and axis labels."""

    title: str
    x_label: str
    y_label: str


Series = tuple[Sequence[float], Sequence[float]]
"""x and y values of the points."""


def lines(plot: Plot, series: Mapping[str, Series]) -> str:
    """Draws a line per name; returns an empty string if there are no points."""
    drawn = {name: line for name, line in series.items() if line[0]}
    if not drawn:
        return ""
    right = _end(max(chain.from_iterable(x for x, _ in drawn.values())))
    top = _end(max(chain.from_iterable(y for _, y in drawn.values())))
    parts = [*_frame(plot, top), *_x_ticks(right)]
    for colour, (name, (x_values, y_values)) in zip(_colours(), drawn.items(), strict=False):
        points = " ".join(f"{_x(x, right):.1f},{_y(y, top):.1f}" for x, y in zip(x_values, y_values, strict=True))
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8">'
            f"<title>{escape(name)}</title></polyline>"
        )
    return _svg(plot, [*parts, *_legend(list(drawn))])


def bars(plot: Plot, groups: Mapping[str, Mapping[str, float]]) -> str:
    """Draws a group of bars per name; returns an empty string if there are no groups."""
    if not groups:
        return ""
    names = list(dict.fromkeys(chain.from_iterable(groups.values())))
    top = _end(max(chain.from_iterable(group.values() for group in groups.values())))
    parts = _frame(plot, top)
    step = (WIDTH - LEFT - RIGHT) / len(groups)
    width = step * 0.8 / len(names)
    for place, (group, values) in enumerate(groups.items()):
        start = LEFT + step * (place + 0.1)
        for number, (name, colour) in enumerate(zip(names, _colours(), strict=False)):
            if name in values:
                y = _y(values[name], top)
                parts.append(
                    f'<rect x="{start + number * width:.1f}" y="{y:.1f}" width="{width:.1f}" '
                    f'height="{HEIGHT - BOTTOM - y:.1f}" fill="{colour}">'
                    f"<title>{escape(f'{group}, {name}: {values[name]:,.4g}')}</title></rect>"
                )
        parts.append(_text(start + step * 0.4, HEIGHT - BOTTOM + 15, group, anchor="middle"))
    return _svg(plot, [*parts, *_legend(names)])


def _end(largest: float) -> float:
    """Returns a round number not below the largest value."""
    if largest <= 0:
        return 1.0
    unit = 10.0 ** floor(log10(largest))
    return next(unit * step for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if unit * step >= largest * 0.999)


def _x(value: float, right: float) -> float:
    return LEFT + value / right * (WIDTH - LEFT - RIGHT)


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)


def _frame(plot: Plot, top: float) -> list[str]:
    """Draws title, labels and the grid of the y axis."""
    parts = [
        _text(LEFT, 16, plot.title, weight="bold"),
        _text(WIDTH - RIGHT, HEIGHT - BOTTOM + 30, plot.x_label, anchor="end"),
        _text(LEFT, TOP - 4, plot.y_label),
    ]
    for tick in range(_TICKS + 1):
        value = top * tick / _TICKS
        y = _y(value, top)
        colour = "#888" if tick == 0 else "#ddd"
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}"/>')
        parts.append(_text(LEFT - 5, y + 4, f"{value:,.4g}", anchor="end"))
    return parts


def _x_ticks(right: float) -> Iterator[str]:
    for tick in range(_TICKS + 1):
        value = right * tick / _TICKS
        yield _text(_x(value, right), HEIGHT - BOTTOM + 15, f"{value:,.4g}", anchor="middle")


def _legend(names: Sequence[str]) -> Iterator[str]:
    x, y = float(LEFT), HEIGHT - 22
    for name, colour in zip(names, _colours(), strict=False):
        width = 22 + 6.2 * len(name)
        if x + width > WIDTH and x > LEFT:
            x, y = float(LEFT), y + 15
        yield f'<rect x="{x:.1f}" y="{y - 9}" width="10" height="10" fill="{colour}"/>'
        yield _text(x + 14, y, name)
        x += width


def _colours() -> Iterator[str]:
    while True:
        yield from COLOURS


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'


def _svg(plot: Plot, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(plot.title)}" font-family="sans-serif" font-size="11">{"".join(parts)}</svg>'
    )
