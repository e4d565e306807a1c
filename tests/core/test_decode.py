"""The border of the decoder: types, exceptions and catalogues. What the formats mean is tested in Rust."""

import json
import re
import sys
import threading
from pathlib import Path

import msgpack
import pytest

from fleetwire import _core
from fleetwire.errors import BatchError

NOW_MILLIS = 1_763_769_000_000
FIX = {"timestamp": 1_763_768_400_000, "latitude": 48.137154, "longitude": 11.576124, "speed": 13.4}


@pytest.fixture(scope="module")
def decoder():
    return _core.Decoder(max_fixes=100, future_millis=600_000)


@pytest.fixture(params=["json", "msgpack"])
def read(request, decoder):
    """Encodes a value in one of the formats and decodes it."""
    pack = {"json": lambda value: json.dumps(value).encode(), "msgpack": msgpack.packb}[request.param]
    return lambda value: getattr(decoder, request.param)(pack(value), now_millis=NOW_MILLIS, earliest_millis=0)


def test_batch_says_who_sent_what(read):
    yesterday = FIX | {"timestamp": FIX["timestamp"] - 86_400_000}
    batch = read({"device": "Lkw 3 ä", "id": 41, "fixes": [FIX, yesterday, FIX, FIX | {"latitude": 91}, 5, {}]})
    assert (batch.device, batch.message_id) == ("Lkw 3 ä", "41")
    assert (batch.accepted, batch.rejected) == (3, 3)
    assert batch.days == [20412, 20413]
    assert batch.rejected_by_code() == {"fix_type": 1, "latitude_range": 1, "timestamp_missing": 1}


def test_batch_without_envelope_has_no_names(read):
    for value in ([FIX], FIX):
        batch = read(value)
        assert (batch.device, batch.message_id, batch.accepted, batch.rejected) == (None, None, 1, 0)
        assert batch.rejected_by_code() == {}


def test_clock_is_the_caller_s(decoder):
    body = json.dumps(FIX).encode()
    early_millis = FIX["timestamp"] - 600_001
    assert decoder.json(body, now_millis=early_millis, earliest_millis=0).rejected_by_code() == {"timestamp_future": 1}
    assert decoder.json(body, now_millis=early_millis + 1, earliest_millis=0).accepted == 1


def test_unreadable_envelope_raises_with_a_known_code(decoder):
    details = dict(_core.BATCH_CODES)
    for body, code, status in [
        (b"", "body_empty", 400),
        (b"{", "json_syntax", 400),
        (b"[" * 1000, "json_depth", 400),
        (b"{}", "batch_shape", 400),
        (b"[" + b"0," * 100 + b"0]", "batch_too_large", 413),
    ]:
        with pytest.raises(BatchError) as caught:
            decoder.json(body, now_millis=NOW_MILLIS, earliest_millis=0)
        assert (caught.value.code, caught.value.status) == (code, status)
        assert caught.value.detail.startswith(details[code])
    with pytest.raises(BatchError, match="msgpack_syntax"):
        decoder.msgpack(b"\xc1", now_millis=NOW_MILLIS, earliest_millis=0)


@pytest.mark.parametrize("body", [bytearray(b"[0]"), memoryview(b"[0]"), "[0]", [0], None])
def test_body_is_bytes_and_nothing_else(decoder, body):
    for decode in (decoder.json, decoder.msgpack):
        with pytest.raises(TypeError):
            decode(body, now_millis=NOW_MILLIS, earliest_millis=0)


def test_arguments_are_named_and_plausible(decoder):
    with pytest.raises(TypeError):
        _core.Decoder(100, 600_000)
    with pytest.raises(TypeError):
        decoder.json(b"[0]", NOW_MILLIS)
    for wrong in ({"max_fixes": 0, "future_millis": 0}, {"max_fixes": 1, "future_millis": -1}):
        with pytest.raises(ValueError, match="at least"):
            _core.Decoder(**wrong)


def test_objects_cannot_be_changed_or_made_up(read):
    batch = read(FIX)
    with pytest.raises(AttributeError):
        batch.device = "other"
    with pytest.raises(TypeError):
        type(batch)()


def test_catalogues_are_closed_and_readable():
    for catalogue in (_core.REJECT_CODES, _core.BATCH_CODES):
        codes = [code for code, _ in catalogue]
        assert isinstance(catalogue, tuple)
        assert len(set(codes)) == len(codes)
        assert all(re.fullmatch(r"[a-z]+(_[a-z]+)+", code) for code in codes)
        assert all(re.fullmatch(r"\S.*[.?]", sentence) for _, sentence in catalogue)
    assert _core.MAX_FIXES_PER_BATCH == 10_000


def test_version_and_profile_are_told():
    manifest = Path(__file__).parents[2] / "Cargo.toml"
    assert f'version = "{_core.__version__}"' in manifest.read_text()
    assert _core.build_profile in {"debug", "release"}


def test_threads_share_one_decoder(decoder):
    body = json.dumps({"fixes": [FIX] * 50}).encode()
    counts = []
    switch_secs = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def work():
        counts.extend(decoder.json(body, now_millis=NOW_MILLIS, earliest_millis=0).accepted for _ in range(200))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(switch_secs)
    assert counts == [50] * 800
