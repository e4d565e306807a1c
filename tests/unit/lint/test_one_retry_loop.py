"""Loops that try again are those of `runtime/`: a hand-written one forgets its bound, its count, or an error."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[3] / "python" / "fleetwire"
ALLOWED = {
    "client/events.py": "A program of its users: it raises what they must know, and ends when they end it.",
    "client/feed.py": "The same.",
    "runtime/retry.py": "The one loop.",
    "store/commit.py": "Ends with the time that a sender is to wait.",
}


def hand_written(source: str) -> list[int]:
    """Lines of loops that sleep and go on after an exception."""
    return [
        loop.lineno
        for loop in ast.walk(ast.parse(source))
        if isinstance(loop, ast.While) and _sleeps(loop) and any(map(_goes_on, ast.walk(loop)))
    ]


def _sleeps(loop: ast.While) -> bool:
    calls = (each.func for each in ast.walk(loop) if isinstance(each, ast.Call))
    return any(isinstance(called, ast.Attribute) and called.attr == "sleep" for called in calls)


def _goes_on(node: ast.AST) -> bool:
    return isinstance(node, ast.ExceptHandler) and not any(
        isinstance(each, ast.Raise | ast.Return | ast.Break) for each in ast.walk(node)
    )


def test_a_loop_that_logs_sleeps_and_tries_again_is_found():
    source = "while True:\n    try:\n        work()\n    except OSError:\n        log()\n    time.sleep(1)\n"
    assert hand_written(source) == [1]
    assert hand_written(source.replace("log()", "raise")) == []
    assert hand_written(source.replace("time.sleep(1)", "rest()")) == []


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_has_a_retry_loop_of_its_own(path):
    if str(path.relative_to(PACKAGE)) not in ALLOWED:
        assert hand_written(path.read_text(encoding="utf-8")) == []
