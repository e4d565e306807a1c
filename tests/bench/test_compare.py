"""Comparison of two results."""

import json
from pathlib import Path

from bench.compare import table


def result(commit, p99, machine="2x-cpu", **more):
    return {
        "commit": commit,
        "machine": {"name": machine},
        "figures": [{"name": "p99 of the receipt", "measured": p99}, {"name": "left out", "measured": None}],
        "scenarios": {"load": {"steps": [{"rate": 500, "p50": p99 / 2}]}, "relay": {"fault": "no relay"}},
        "entries": [{"name": "POST /x", "requests": 10, "p50_millis": p99}],
        **more,
    }


def test_ratios_are_those_of_the_later_over_the_earlier():
    lines = list(table(result("aaa", 10.0), result("bbb", 25.0, counts={"stored": 3})))
    assert lines[0] == "| figure | aaa | bbb | later / earlier |"
    assert "| p99 of the receipt, measured | 10 | 25 | 2.5 |" in lines
    assert "| load at 500/s, p50 | 5 | 12.5 | 2.5 |" in lines
    assert "| POST /x, requests | 10 | 10 | 1 |" in lines
    assert lines[-1].strip() == "In one of them only: 1 figures."


def test_a_renamed_scenario_is_compared_with_its_older_name():
    earlier, later = (
        {
            "commit": name,
            "machine": {"name": "2x-cpu"},
            "figures": [{"name": f"{name}: one watcher reads nothing", "measured": 2.0}],
            "scenarios": {name: {"figures": {"delay_p99_ratio": 1.5}}},
        }
        for name in ("deaf", "stalled")
    )
    lines = list(table(earlier, later))
    assert "| stalled: one watcher reads nothing, measured | 2 | 2 | 1 |" in lines
    assert "| stalled, delay_p99_ratio | 1.5 | 1.5 | 1 |" in lines


def test_results_of_earlier_commits_can_be_compared():
    results = sorted((Path(__file__).parents[2] / "bench" / "results").glob("*-report.json"))
    lines = list(table(*(json.loads(path.read_text()) for path in results[:2])))
    assert any(line.startswith("| stalled, ") for line in lines)


def test_two_machines_are_a_warning():
    assert next(table(result("a", 1.0), result("b", 1.0, machine="4x-cpu"))).startswith("Two machines")


def test_it_is_a_command(bench, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(json.dumps(result(name, 4.0)))
    assert "| p99 of the receipt, measured | 4 | 4 | 1 |" in bench("bench.compare", tmp_path / "a", tmp_path / "b")
