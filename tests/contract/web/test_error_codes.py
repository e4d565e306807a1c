"""What the wire says is what the protocol's document says: every code of the core, every close code, and no others."""

import re
from pathlib import Path

import pytest

from fleetwire import _core
from fleetwire.fanout.sockets.close_codes import MEANINGS, Close
from fleetwire.telemetry import metrics

PROTOCOL = Path(__file__).parents[3] / "docs" / "protocol.md"
DOCUMENTS = [*PROTOCOL.parent.glob("*.md"), PROTOCOL.parents[1] / "README.md"]
SOURCES = Path(__file__).parents[3] / "python" / "fleetwire"


@pytest.fixture(scope="module")
def named() -> set[str]:
    """Everything that the document sets in code type."""
    return set(re.findall(r"`([^`\n]+)`", PROTOCOL.read_text(encoding="utf-8")))


@pytest.mark.parametrize("code", [code for code, _ in (*_core.REJECT_CODES, *_core.BATCH_CODES)])
def test_every_code_of_the_core_is_documented(named: set[str], code: str) -> None:
    assert code in named


@pytest.mark.parametrize("close", Close)
def test_every_close_code_is_documented(named: set[str], close: Close) -> None:
    assert str(close.value) in named | set(re.findall(r"\b\d{4}\b", PROTOCOL.read_text(encoding="utf-8")))
    assert close in MEANINGS


def test_every_problem_that_a_client_can_meet_is_documented(named: set[str]) -> None:
    raised = set()
    for path in SOURCES.rglob("*.py"):
        if path.relative_to(SOURCES).parts[0] in {"replay", "simulate", "client", "demo.py"}:
            continue  # Clients: what they raise goes over no wire.
        text = path.read_text(encoding="utf-8")
        if path.name in {"issue.py", "passwords.py", "tenants.py"}:
            continue  # What the command line says, on stderr.
        raised |= set(re.findall(r"""(?:Problem|Overloaded|BatchError|Refusal)\(\s*"([a-z_]+)\"""", text))
    assert len(raised) > 20
    assert raised - named == set()


def test_codes_are_stable_words() -> None:
    codes = [code for code, _ in (*_core.REJECT_CODES, *_core.BATCH_CODES)]
    assert len(codes) == len(set(codes))
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)+", code) for code in codes)
    assert all(sentence.endswith((".", "?")) for _, sentence in (*_core.REJECT_CODES, *_core.BATCH_CODES))


def test_every_figure_that_the_documents_name_is_in_the_metrics() -> None:
    exposed = {sample.name for family in metrics.REGISTRY.collect() for sample in family.samples}
    # A figure with labels has no sample before its first count.
    exposed |= {
        name
        for family in metrics.REGISTRY.collect()
        for name in (family.name, f"{family.name}_total")
        if not family.samples
    }
    texts = [path.read_text(encoding="utf-8") for path in DOCUMENTS]
    written = {name for text in texts for name in re.findall(r"`(fleetwire_[a-z_]+)(?:\{[^`]*)?`", text)}
    histograms = {family.name for family in metrics.REGISTRY.collect() if family.type == "histogram"}
    figures = {name for name in written if name.split("_")[1] in {"access", "fanout", "ingest", "live", "store"}}
    assert len(figures) > 15
    assert figures - exposed - histograms == set()
