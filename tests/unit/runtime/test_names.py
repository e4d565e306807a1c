"""One rule for names, and text from outside is harmless wherever it is written."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fleetwire._core import Decoder
from fleetwire.access.accounts.validation import check_name
from fleetwire.errors import BatchError, Problem
from fleetwire.fanout.events import rooms
from fleetwire.runtime.names import is_name
from fleetwire.runtime.terminal import print_table, visible, visible_lines

BAD = {
    "escape": "v\x1b[31mn",
    "bell": "v\x07n",
    "C1 control": "v\x9bn",
    "line feed": "v\nn",
    "right-to-left override": "v\u202en",
    "isolate": "v\u2066n",
    "direction mark": "v\u200fn",
    "zero-width space": "v\u200bn",
    "zero-width joiner alone": "\u200d",
    "byte order mark": "\ufeffvan",
    "soft hyphen": "v\xadn",
    "no-break space": "v\xa0n",
    "Hangul filler": "\u3164",
    "variation selector": "v\ufe0fn",
    "tag": "v\U000e0041n",
    "private use": "v\ue000n",
    "no character": "v\uffffn",
    "space before": " van",
    "space after": "van ",
    "nothing": "",
}
GOOD = [
    "van",
    "Laster 7",
    "München-3",
    "грузовик",
    "卡車 1",
    "شاحنة",
    "🚚",
    "[/]",
    "=HYPERLINK(1)",
    "<b>&",
    "a" * 128,
]


@pytest.mark.parametrize("name", BAD.values(), ids=BAD.keys())
def test_a_name_that_misleads_is_refused_at_every_door(name):
    assert not is_name(name)
    for noun in ("device", "user", "tenant", "ingest"):
        with pytest.raises(Problem) as refused:
            check_name(noun, name)
        assert refused.value.code == "name_invalid"
    for kind in ("driver", "order"):
        with pytest.raises(Problem) as refused:
            rooms.check_names([f"{kind}:{name}"])
        assert refused.value.code == "room_invalid"
    body = json.dumps({"device": name, "timestamp": 1_700_000_000_000, "latitude": 1, "longitude": 1}).encode()
    with pytest.raises(BatchError) as refused:
        Decoder(max_fixes=10, future_millis=0).json(body, now_millis=1_763_768_400_000, earliest_millis=0)
    assert refused.value.code == "device_name"


@pytest.mark.parametrize("name", GOOD)
def test_a_name_that_can_be_read_is_one_at_every_door(name):
    for noun in ("device", "user", "tenant"):
        check_name(noun, name)
    rooms.check_names([f"driver:{name}"])
    body = json.dumps({"device": name, "timestamp": 1_700_000_000_000, "latitude": 1, "longitude": 1}).encode()
    batch = Decoder(max_fixes=10, future_millis=0).json(body, now_millis=1_763_768_400_000, earliest_millis=0)
    assert batch.device == name


def test_half_of_a_surrogate_pair_is_no_name():
    assert not is_name("v\ud800n")


def test_a_terminal_shows_codes_instead_of_what_they_do():
    assert visible("a\x1b[31m\u202e\n\t\ud800é") == r"a\x1b[31m\u202e\n\t\ud800é"
    assert visible_lines("a\n\tb\x1b") == "a\n\tb\\x1b"


def test_brackets_in_a_table_are_no_markup(capsys):
    print_table(("for", "role"), [("[/]", "[red]x"), ("\x1b[2J", "y")])
    shown = capsys.readouterr().out
    assert "[/]" in shown
    assert "[red]x" in shown
    assert "\\x1b[2J" in shown
    assert "\x1b" not in shown


LOG = r"""
import structlog
from fleetwire.runtime import logs
logs.configure(level="info", form="{form}")
log = structlog.get_logger("x")
log.info("A name came.", name="v\x1b[2Jn\u202e", other="a\nforged=line")
try:
    raise ValueError("bad \x1b[31m name")
except ValueError:
    log.exception("It failed.")
"""


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_log_shows_codes_instead_of_what_they_do(form):
    done = subprocess.run(
        [sys.executable, "-c", LOG.replace("{form}", form)], capture_output=True, check=True, cwd=Path(__file__).parent
    )
    assert b"\x1b" not in done.stderr
    assert "\u202e".encode() not in done.stderr
    assert b"\nforged" not in done.stderr
    assert b"ValueError: bad" in done.stderr
