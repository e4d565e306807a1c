"""The report's plots are well-formed and to scale, and omit missing values."""

import re
from xml.etree import ElementTree as ET

from bench.report import svg
from bench.report.rows import rows

PLOT = svg.Plot("Title <of> it", "x", "y")
NAMESPACE = "{http://www.w3.org/2000/svg}"


def test_lines_are_to_scale():
    root = ET.fromstring(svg.lines(PLOT, {"a & b": ([0, 50, 100], [0, 10, 20])}))
    points = [tuple(map(float, pair.split(","))) for pair in root.find("polyline").get("points").split()]
    assert points[0] == (svg.LEFT, svg.HEIGHT - svg.BOTTOM)
    assert points[2] == (svg.WIDTH - svg.RIGHT, svg.TOP)
    assert points[1] == tuple((low + high) / 2 for low, high in zip(points[0], points[2], strict=True))
    assert "a & b" in [text.text for text in root.iter("text")]


def test_bars_stand_in_groups_and_leave_out_what_is_missing():
    root = ET.fromstring(svg.bars(PLOT, {"one": {"p50": 1.0, "p99": 4.0}, "two": {"p99": 2.0}}))
    heights = [float(bar.get("height")) for bar in root.iter("rect") if bar.find("title") is not None]
    assert heights == sorted(heights, key=[heights[0], heights[1], heights[2]].index)
    assert round(heights[1] / heights[0]) == 4
    assert round(heights[1] / heights[2]) == 2


def test_nothing_to_draw_draws_nothing():
    assert svg.lines(PLOT, {}) == svg.lines(PLOT, {"a": ([], [])}) == svg.bars(PLOT, {}) == ""
    assert not re.search("nan|inf", svg.lines(PLOT, {"zero": ([0.0], [0.0])}))


def test_every_row_of_the_table_is_there_even_if_nothing_was_measured():
    table = list(rows({}))
    assert len(table) == 21
    assert {row.verdict for row in table} == {"not measured"}


def test_a_row_knows_which_way_is_better():
    found = {
        "fanout_1000": {"figures": {"positions_per_core_sec": 26e6, "lost": 1}},
        "storm": {"figures": {"all_back_secs": 30.0}},
    }
    verdicts = {row.name.split(": ", 1)[1]: row.verdict for row in rows(found) if row.measured is not None}
    assert sorted(verdicts.values()) == ["MISSED", "aim", "holds"]
