"""`python -m bench.report --quick` measures its scenarios and gives every row a verdict."""

import re
from html.parser import HTMLParser

import pytest

pytestmark = pytest.mark.timeout(240)


class Page(HTMLParser):
    """Collects the external resources and the plots of a page."""

    def __init__(self, text):
        super().__init__()
        self.external, self.plots, self.open = [], 0, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.plots += tag == "svg"
        self.external += [value for name, value in attrs if name in {"src", "href"}]


def test_scenarios_give_their_rows_and_a_page(bench, loadgen, tmp_path, result):
    scenarios = "load,http_1000,storm,fanout_1000"
    out = bench("bench.report", "--quick", "--only", scenarios, "--out", tmp_path, "--loadgen", loadgen)
    found = result()
    assert set(found["scenarios"]) == set(scenarios.split(","))
    rows = {figure["name"]: figure for figure in found["figures"]}
    assert all(figure["measured"] is not None for figure in rows.values()), rows
    assert all(f"| {name} |" in out for name in rows)

    posts = found["scenarios"]["http_1000"]["report"]["posts"]
    # 20 drivers, a batch of 10 every second, for 1 + 2 seconds; the phase decides how many of the last are due.
    assert 40 <= posts["requests"] <= 60
    assert posts["fixes"]["stored"] == posts["fixes"]["sent"] == 10 * posts["requests"]
    watched = found["scenarios"]["http_1000"]["report"]["watched"]
    assert watched["snapshots"] == 5
    assert watched["delay"]["count"] > 0
    assert watched["unmatched"] == 0

    storm = found["scenarios"]["storm"]["report"]["storm"]
    assert (storm["cut"], storm["back"]) == (60, 60)
    fanout = found["scenarios"]["fanout_1000"]["report"]["watched"]
    assert fanout["positions"] >= 100 * 10  # at least once each of 100 devices to each of 10 watchers

    text = next(tmp_path.glob("*.html")).read_text()
    page = Page(text)
    assert page.external == []
    assert page.plots >= 9
    assert not re.search(r"\b(nan|inf)\b", text)


def test_a_scenario_that_fails_is_named_and_the_others_are_measured(bench, tmp_path, loadgen, result):
    broken = tmp_path / "loadgen"
    broken.write_text(f'#!/bin/sh\n[ "$1" = fleet ] && echo "no fleet today" >&2 && exit 1\nexec {loadgen} "$@"\n')
    broken.chmod(0o755)
    arguments = ("--quick", "--only", "load,http_1000", "--out", tmp_path, "--loadgen", broken)
    out = bench("bench.report", *arguments, exit_code=1)
    scenarios = result()["scenarios"]
    assert "no fleet today" in scenarios["http_1000"]["fault"]
    assert len(scenarios["load"]["steps"]) == 2
    assert "not measured" in out
    assert "no fleet today" in next(tmp_path.glob("*.html")).read_text()
