"""What cannot be stored gets a clear answer, leaves nothing behind, and harms nobody who comes after it."""

import gzip
import json
import os
import zlib
from pathlib import Path

import msgpack
import pytest

from harness.database import stored_times
from harness.fixes import fix, now_millis

GZIP = {"Content-Encoding": "gzip"}
MSGPACK = {"Content-Type": "application/msgpack"}
GOOD = b'{"device":"van","fixes":[{"timestamp":1700000000000,"latitude":1,"longitude":1}]}'
DAY_MILLIS = 86_400_000


def batch(text):
    """A batch of one fix, given as JSON text."""
    return b'{"device":"van","fixes":[%b]}' % text.encode()


def members(**changed):
    """The text of a good fix with some members replaced by text; None takes one out."""
    texts = {"timestamp": "1700000000000", "latitude": "1", "longitude": "1"} | changed
    return "{" + ",".join(f'"{name}":{text}' for name, text in texts.items() if text is not None) + "}"


def bomb(size_bytes):
    """So many spaces, compressed a thousand times."""
    packer = zlib.compressobj(wbits=31)
    parts = [packer.compress(b" " * 1_000_000) for _ in range(size_bytes // 1_000_000)]
    return b"".join(parts) + packer.flush()


BOMB = bomb(100_000_000)

ENVELOPES = {
    "empty body": (b"", {}, 400, "body_empty"),
    "white space": (b" \r\n\t ", {}, 400, "body_empty"),
    "broken JSON": (GOOD[:-2], {}, 400, "json_syntax"),
    "bytes after the end": (GOOD + b"]", {}, 400, "json_syntax"),
    "no JSON at all": (b"device=van&latitude=1", {}, 400, "json_syntax"),
    "random bytes": (os.urandom(1000).replace(b"[", b"\xff"), {}, 400, "json_syntax"),
    "text that is not UTF-8": (GOOD.replace(b"van", b"v\xffn"), {}, 400, "json_syntax"),
    "lone surrogate in the name": (GOOD.replace(b"van", rb"v\ud800n"), {}, 400, "json_syntax"),
    "literal NaN": (batch(members(latitude="NaN")), {}, 400, "json_syntax"),
    "literal Infinity": (batch(members(latitude="-Infinity")), {}, 400, "json_syntax"),
    "single quotes": (b"{'device': 'van'}", {}, 400, "json_syntax"),
    "deep nesting": (b"[" * 1_000_000, {}, 400, "json_depth"),
    "deep nesting in a member nobody reads": (b'{"x":' * 5_000 + b"1" + b"}" * 5_000, {}, 400, "json_depth"),
    "10,001 fixes": (batch(",".join([members()] * 10_001)), {}, 413, "batch_too_large"),
    "a million fixes that are none": (b"[" + b"0," * 1_000_000 + b"0]", {}, 413, "batch_too_large"),
    "9 MB body": (GOOD + b" " * 9_000_000, {}, 413, "body_too_large"),
    "no fix": (b'{"device":"van","fixes":[]}', {}, 400, "batch_empty"),
    "empty array": (b"[]", {}, 400, "batch_empty"),
    "empty object": (b"{}", {}, 400, "batch_shape"),
    "null": (b"null", {}, 400, "batch_shape"),
    "a number of many digits": (b"1" * 1_000_000, {}, 400, "batch_shape"),
    "fixes that are an object": (b'{"device":"van","fixes":{}}', {}, 400, "fixes_type"),
    "fixes that are null": (b'{"device":"van","fixes":null}', {}, 400, "fixes_type"),
    "device that is a number": (GOOD.replace(b'"van"', b"7"), {}, 400, "device_type"),
    "device without a name": (GOOD.replace(b"van", b""), {}, 400, "device_name"),
    "NUL in the device's name": (GOOD.replace(b"van", rb"v\u0000n"), {}, 400, "device_name"),
    "line feed in the device's name": (GOOD.replace(b"van", rb"v\nn"), {}, 400, "device_name"),
    "name of 129 characters": (GOOD.replace(b"van", b"v" * 129), {}, 400, "device_name"),
    "name of a megabyte": (GOOD.replace(b"van", b"v" * 1_000_000), {}, 400, "device_name"),
    "id that is an object": (GOOD.replace(b'{"device"', b'{"id":{},"device"'), {}, 400, "id_type"),
    "id over 64 bits": (GOOD.replace(b'{"device"', b'{"id":18446744073709551616,"device"'), {}, 400, "id_type"),
    "another type of message": (GOOD.replace(b'{"device"', b'{"type":"watch","device"'), {}, 400, "message_type"),
    "no device with an ingest key": (GOOD.replace(b'"device":"van",', b""), {}, 400, "device_missing"),
    "plain text": (GOOD, {"Content-Type": "text/plain"}, 415, "content_type_unsupported"),
    "form": (GOOD, {"Content-Type": "application/x-www-form-urlencoded"}, 415, "content_type_unsupported"),
    "nonsense for a content type": (GOOD, {"Content-Type": "batch"}, 415, "content_type_unsupported"),
    "encoding nobody speaks": (GOOD, {"Content-Encoding": "lzma"}, 415, "content_encoding_unsupported"),
    "encoded twice": (
        gzip.compress(gzip.compress(GOOD)),
        {"Content-Encoding": "gzip, gzip"},
        415,
        "content_encoding_unsupported",
    ),
    "gzip that is none": (GOOD, GZIP, 400, "body_gzip"),
    "gzip that ends early": (gzip.compress(GOOD)[:-1], GZIP, 400, "body_gzip"),
    "gzip with a wrong checksum": (gzip.compress(GOOD)[:-8] + b"12345678", GZIP, 400, "body_gzip"),
    "bytes after the gzip": (gzip.compress(GOOD) + gzip.compress(GOOD), GZIP, 400, "body_gzip"),
    "gzip of nothing": (gzip.compress(b""), GZIP, 400, "body_empty"),
    "gzip bomb": (BOMB, GZIP, 413, "body_too_large"),
    "JSON said to be MessagePack": (GOOD, MSGPACK, 400, "msgpack_syntax"),
    "MessagePack said to be JSON": (msgpack.packb({"device": "van"}), {}, 400, "json_syntax"),
    "empty MessagePack": (b"", MSGPACK, 400, "body_empty"),
    "cut MessagePack": (msgpack.packb(json.loads(GOOD))[:-1], MSGPACK, 400, "msgpack_syntax"),
    "deep MessagePack": (b"\x91" * 1_000_000, MSGPACK, 400, "msgpack_depth"),
    "MessagePack that promises 4 GB": (b"\xdd\xff\xff\xff\xff\x01", MSGPACK, 400, "msgpack_syntax"),
    "MessagePack text that promises 4 GB": (b"\x81\xa6device\xdb\xff\xff\xff\xffv", MSGPACK, 400, "msgpack_syntax"),
}

FIXES = {
    "latitude 91": (members(latitude="91"), "latitude_range"),
    "latitude a step beyond the pole": (members(latitude="-90.0000001"), "latitude_range"),
    "longitude 180.1": (members(longitude="180.1"), "longitude_range"),
    "latitude 1e400": (members(latitude="1e400"), "latitude_not_finite"),
    "longitude -1e400": (members(longitude="-1e400"), "longitude_not_finite"),
    "timestamp 1e400": (members(timestamp="1e400"), "timestamp_not_finite"),
    "latitude of 400 digits": (members(latitude="9" * 400), "latitude_not_finite"),
    "timestamp of 400 digits": (members(timestamp="9" * 400), "timestamp_not_finite"),
    "a fix a year ahead": (members(timestamp=str(now_millis() + 365 * DAY_MILLIS)), "timestamp_future"),
    "a fix an hour ahead": (members(timestamp=str(now_millis() + 3_600_000)), "timestamp_future"),
    "timestamp of 19 digits": (members(timestamp="9223372036854775807"), "timestamp_future"),
    "timestamp over 64 bits": (members(timestamp="18446744073709551616"), "timestamp_future"),
    "timestamp 0": (members(timestamp="0"), "timestamp_past"),
    "timestamp in seconds": (members(timestamp="1700000000"), "timestamp_past"),
    "timestamp -1": (members(timestamp="-1"), "timestamp_past"),
    "the last millisecond of 1999": (members(timestamp="946684799999"), "timestamp_past"),
    "no timestamp": (members(timestamp=None), "timestamp_missing"),
    "no latitude": (members(latitude=None), "latitude_missing"),
    "no longitude": (members(longitude=None), "longitude_missing"),
    "null for the timestamp": (members(timestamp="null"), "timestamp_missing"),
    "null for the latitude": (members(latitude="null"), "latitude_missing"),
    "a word for the time": (members(timestamp='"yesterday"'), "timestamp_format"),
    "a time without an offset": (members(timestamp='"2025-11-21T23:40:00"'), "timestamp_format"),
    "a NUL for the time": (members(timestamp=r'"\u0000"'), "timestamp_format"),
    "true for the time": (members(timestamp="true"), "timestamp_type"),
    "text for the latitude": (members(latitude='"48.1"'), "latitude_type"),
    "an array for the longitude": (members(longitude="[1]"), "longitude_type"),
    "an object for the latitude": (members(latitude='{"value":1}'), "latitude_type"),
    "a number for a fix": ("5", "fix_type"),
    "null for a fix": ("null", "fix_type"),
    "text for a fix": ('"fix"', "fix_type"),
    "an array for a fix": ("[1,2,3]", "fix_type"),
    "an empty fix": ("{}", "timestamp_missing"),
    "text for the speed": (members(speed='"fast"'), "speed_type"),
    "speed backwards": (members(speed="-1"), "speed_range"),
    "speed 1e400": (members(speed="1e400"), "speed_not_finite"),
    "heading 361": (members(heading="361"), "heading_range"),
    "battery in percent": (members(battery="80"), "battery_range"),
    "accuracy -1": (members(accuracy="-1"), "accuracy_range"),
    "altitude of a satellite": (members(altitude="400000"), "altitude_range"),
}  # fmt: skip


@pytest.fixture
async def good_batch(client, tenant):
    """After the test, another good batch is stored, and the good ones are all there is."""
    sent = []

    async def send():
        sent.append(fix())
        answer = await client.send({"device": "van", "fixes": sent[-1:]}, token=tenant.ingest)
        assert answer.receipt == (1, 0, {})

    await send()
    yield
    await send()
    assert await stored_times(tenant.dsn, tenant.name) == [each["timestamp"] for each in sent]


@pytest.mark.parametrize(("body", "headers", "status", "code"), ENVELOPES.values(), ids=ENVELOPES.keys())
@pytest.mark.usefixtures("good_batch")
async def test_unreadable_batch_is_refused_as_a_whole(client, tenant, body, headers, status, code):
    answer = await client.send(body, token=tenant.ingest, headers=headers)
    assert answer.refusal == (status, code)


@pytest.mark.parametrize(("text", "code"), FIXES.values(), ids=FIXES.keys())
async def test_bad_fix_is_refused_by_its_index_and_the_rest_is_stored(client, tenant, text, code):
    answer = await client.send(
        batch(",".join([members(), text, members(timestamp="1700000001000")])), token=tenant.ingest
    )
    assert answer.receipt == (2, 0, {1: code})
    assert await stored_times(tenant.dsn, tenant.name) == [1_700_000_000_000, 1_700_000_001_000]


async def test_every_bad_fix_at_once_is_a_batch_too(client, tenant):
    answer = await client.send(batch(",".join(text for text, _ in FIXES.values())), token=tenant.ingest)
    assert answer.receipt == (0, 0, dict(enumerate(code for _, code in FIXES.values())))
    assert await stored_times(tenant.dsn, tenant.name) == []


async def test_not_a_number_in_msgpack_is_refused(client, tenant):
    for value, code in [
        (float("nan"), "latitude_not_finite"),
        (float("-inf"), "latitude_not_finite"),
        (b"1", "latitude_type"),
    ]:
        body = msgpack.packb({"device": "van", "fixes": [fix(latitude=value)]})
        assert (await client.send(body, token=tenant.ingest, headers=MSGPACK)).receipt == (0, 0, {0: code})


async def test_bomb_does_not_swell_the_server(client, server, tenant):
    before = _peak_kib(server)
    for _ in range(20):
        assert (await client.send(BOMB, token=tenant.ingest, headers=GZIP)).refusal == (413, "body_too_large")
    assert _peak_kib(server) - before < 32 * 1024  # KiB; inflated, one is 98,000


def _peak_kib(server):
    (worker,) = server.workers()
    (line,) = [line for line in Path(f"/proc/{worker}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1])


async def test_an_answer_to_a_body_that_was_not_read_says_that_the_connection_closes(client, tenant):
    answer = await client.send(b" " * (9 * 1024 * 1024), token=tenant.ingest)
    assert answer.refusal == (413, "body_too_large")
    assert answer.headers["Connection"].lower() == "close"
