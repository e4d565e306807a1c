"""SECURITY.md names the test that shows each item; each of them exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_every_test_that_the_document_names_exists():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))
    assert len(named) > 30
    missing = [(path, name) for path, name in named if f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8")]
    assert missing == []
