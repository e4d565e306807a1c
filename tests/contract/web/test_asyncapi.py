"""`/asyncapi.json` says what the code says: every message type and every close code, and no others."""

import re
from pathlib import Path

import jsonschema
import pytest

from fleetwire.fanout.sockets.close_codes import MEANINGS, Close
from fleetwire.settings import Settings
from fleetwire.web import asyncapi

ROOT = Path(__file__).parents[3]
# Where messages are read and written; `frames.py` only describes what is written elsewhere.
SOURCES = [
    *(path for path in (ROOT / "python/fleetwire/fanout").rglob("*.py") if path.name != "frames.py"),
    *(ROOT / "python/fleetwire/ingest").glob("*.py"),
    ROOT / "python/fleetwire/live/subscription.py",
    ROOT / "rust_core/src/frame.rs",
    *(ROOT / "rust_core/src/frame").glob("*.rs"),
    ROOT / "rust_core/src/receipt.rs",
    *(ROOT / "rust_core/src/decode").glob("*.rs"),
]
# `tag="watch"`, {"type": "error"}, br#"{"type":"moved"#, and the one type that the core accepts.
WRITTEN = re.compile(r"""tag="([a-z_]+)"|\\?"type\\?":\s*\\?"([a-z_]+)\\?["",]|(?:==|!=) "(batch)"|b"(batch)\"""")
REFERENCE = "#/components/"


@pytest.fixture(scope="module")
def document():
    return asyncapi.document(Settings())


def types(kinds):
    return {asyncapi.type_of(kind) for each in kinds.values() for kind in each}


def test_every_type_in_the_code_is_described_and_no_other():
    found = set()
    for path in SOURCES:
        text = path.read_text(encoding="utf-8").partition("#[cfg(test)]")[0]
        found |= {next(filter(None, match)) for match in WRITTEN.findall(text)}
    assert found == types(asyncapi.UP) | types(asyncapi.DOWN)


def references(part):
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for each in part.values():
            yield from references(each)
    elif isinstance(part, list):
        for each in part:
            yield from references(each)


def test_every_reference_leads_somewhere_and_every_part_is_referred_to(document):
    referred = set(references(document))
    for reference in referred:
        part = document
        for step in reference.removeprefix("#/").split("/"):
            part = part[step]
    for section in ("messages", "schemas", "securitySchemes"):
        assert {f"{REFERENCE}{section}/{name}" for name in document["components"][section]} <= referred


def test_document_has_the_parts_that_asyncapi_3_asks_for(document):
    assert document["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= document["info"].keys()
    assert {channel["address"] for channel in document["channels"].values()} == {"/ws", "/ws/dispatch"}
    for operation in document["operations"].values():
        assert operation["action"] in {"send", "receive"}
        (channel,) = references(operation["channel"])
        # An operation's messages must be among its channel's.
        assert all(reference.startswith(f"{channel}/messages/") for reference in references(operation["messages"]))
    assert len(document["operations"]) == 4
    for message in document["components"]["messages"].values():
        assert message["summary"].endswith(".")


def test_schemas_are_json_schemas(document):
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_close_codes_are_those_of_the_table(document):
    for channel in document["channels"].values():
        codes = {entry["code"]: entry for entry in channel["x-close-codes"]}
        assert codes.keys() == {close.value for close in Close}
        for close in Close:
            assert codes[close.value]["why"] == MEANINGS[close].why
            assert codes[close.value]["may_reconnect"] == (MEANINGS[close].again_after_secs is not None)


def test_table_of_close_codes_in_the_protocol_is_this_one():
    protocol = (ROOT / "docs/protocol.md").read_text(encoding="utf-8")
    section = protocol.partition("\n## Close codes\n")[2].partition("\n## ")[0]
    table = []
    for close, meaning in MEANINGS.items():
        span = meaning.again_after_secs
        again = f"after {span[0]} to {span[1]} s" if span else "not with the same credential"
        table.append(f"| {close.value} | `{close.name.lower()}` | {meaning.why} | {again} | {meaning.advice} |")
    assert [line for line in section.splitlines() if line.startswith("|")][2:] == table
    assert MEANINGS.keys() == set(Close)
