"""The present as GeoJSON and the past in three formats, as a program of the customer's reads them."""

import csv
import io
import json
import random
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import quote

import pytest

from harness.database import Stored, stored
from harness.fixes import fix, track
from harness.process import run
from harness.tenants import Tenant

START = 1_763_768_400_000  # 2025-11-21T23:40:00Z: the track crosses midnight
GPX = {"g": "http://www.topografix.com/GPX/1/1", "fw": "urn:fleetwire:gpx:1"}
OPTIONAL = {"accuracy": 5.5, "altitude": 519.5, "heading": 271.25, "speed": 13.4, "battery": 0.805}


def fixes():
    """Forty minutes, a fix a minute; every third has all members."""
    plain = track(40, start_millis=START, step_millis=60_000)
    return [each | OPTIONAL if number % 3 == 0 else each for number, each in enumerate(plain)]


@pytest.fixture
async def van(client, tenant):
    """A device whose track was sent in pieces, the late ones last and overlapping."""
    sent = fixes()
    late = sent[5:15]
    random.Random(1).shuffle(late)
    for piece in (sent[30:], sent[:6], late, sent[12:33]):
        answer = await client.send({"device": "van", "fixes": piece}, token=tenant.ingest)
        assert answer.status == 200
    return sent


@pytest.fixture
def read(client, tenant):
    """The track of the van in a format."""

    async def read(form, *, device="van", token=None, **span):
        span = {name.rstrip("_"): str(value) for name, value in span.items()}
        return await client.get(f"/api/devices/{device}/track", token=token or tenant.dispatcher, format=form, **span)

    return read


def from_geojson(body):
    document = json.loads(body)
    assert document["type"] == "FeatureCollection"
    found = []
    for feature in document["features"]:
        longitude, latitude, *altitude = feature["geometry"]["coordinates"]
        members = dict(feature["properties"])
        assert (feature["type"], feature["geometry"]["type"], members.pop("device")) == ("Feature", "Point", "van")
        assert millis(datetime.fromisoformat(members.pop("time"))) == members["timestamp"]
        assert members.get("altitude") == (altitude[0] if altitude else None)
        found.append({"latitude": latitude, "longitude": longitude, **members})
    return found


def from_csv(body):
    names = {
        "ts_ms": "timestamp", "lat": "latitude", "lon": "longitude", "alt_m": "altitude", "speed_mps": "speed",
        "heading_deg": "heading", "accuracy_m": "accuracy", "battery": "battery",
    }  # fmt: skip
    found = []
    for row in csv.DictReader(io.StringIO(body.decode())):
        assert row.pop("device") == "van"
        found.append({names[name]: float(text) for name, text in row.items() if text})
    return found


def from_gpx(body):
    found = []
    for point in ET.fromstring(body).findall("g:trk/g:trkseg/g:trkpt", GPX):
        members = {"latitude": float(point.get("lat")), "longitude": float(point.get("lon"))}
        members["timestamp"] = millis(datetime.fromisoformat(point.findtext("g:time", None, GPX)))
        for name, path in [
            ("altitude", "g:ele"),
            ("speed", "g:extensions/fw:speed"),
            ("heading", "g:extensions/fw:course"),
        ]:
            if (text := point.findtext(path, None, GPX)) is not None:
                members[name] = float(text)
        found.append(members)
    return found


def millis(moment):
    return round(moment.timestamp() * 1000)


FORMATS = {
    "geojson": (from_geojson, "application/geo+json", set()),
    "csv": (from_csv, "text/csv; charset=utf-8", set()),
    # GPX 1.1 has no place for these two.
    "gpx": (from_gpx, "application/gpx+xml", {"accuracy", "battery"}),
}


@pytest.mark.parametrize(("form", "how"), FORMATS.items(), ids=FORMATS)
async def test_track_is_whole_and_in_order_in_every_format(read, van, form, how):
    parse, media_type, unsaid = how
    answer = await read(form, from_=START, to=START + 86_400_000)
    assert (answer.status, answer.headers["content-type"]) == (200, media_type)
    assert parse(answer.body) == [{name: each[name] for name in each if name not in unsaid} for each in van]


@pytest.mark.parametrize(("form", "how"), FORMATS.items(), ids=FORMATS)
async def test_track_without_a_fix_is_an_empty_document(read, van, form, how):
    assert how[0]((await read(form, from_=0, to=START - 1)).body) == []


async def test_both_ends_of_the_span_belong_to_it(read, van):
    times = [each["timestamp"] for each in van]
    for first, last in [(0, 39), (3, 7), (7, 7), (19, 21), (39, 39)]:
        answer = await read("csv", from_=times[first], to=times[last])
        assert [each["timestamp"] for each in from_csv(answer.body)] == times[first : last + 1]
    inside = await read("csv", from_=times[3] + 1, to=times[7] - 1)
    assert [each["timestamp"] for each in from_csv(inside.body)] == times[4:7]


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))])
async def test_iso_times_with_any_offset_name_the_same_span(read, van, zone):
    start, end = (datetime.fromtimestamp(van[number]["timestamp"] / 1000, zone).isoformat() for number in (3, 7))
    answer = await read("csv", from_=start, to=end)
    assert [each["timestamp"] for each in from_csv(answer.body)] == [each["timestamp"] for each in van[3:8]]


async def test_span_that_is_not_given_is_the_last_day(client, tenant, read):
    recent = fix()
    await client.send({"device": "van", "fixes": [fix(recent["timestamp"] - 86_500_000), recent]}, token=tenant.ingest)
    assert [each["timestamp"] for each in from_csv((await read("csv")).body)] == [recent["timestamp"]]
    assert [each["timestamp"] for each in from_geojson((await read("geojson")).body)] == [recent["timestamp"]]
    default = await client.get("/api/devices/van/track", token=tenant.dispatcher)
    assert from_geojson(default.body) == from_geojson((await read("geojson")).body)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"from": "yesterday"}, "time_invalid"),
        ({"from": "2025-11-21T23:40:00"}, "time_invalid"),
        ({"from": "-1"}, "time_invalid"),
        ({"to": "99999999999999999999"}, "time_invalid"),
        ({"to": "1e3"}, "time_invalid"),
        ({"from": "2025-13-01T00:00:00Z"}, "time_invalid"),
        ({"from": "²"}, "time_invalid"),
        ({"from": "2", "to": "1"}, "span_invalid"),
        ({"format": "pdf"}, "request_invalid"),
        ({"format": "CSV"}, "request_invalid"),
    ],
)
@pytest.mark.usefixtures("van")
async def test_question_that_makes_no_sense_is_refused(client, tenant, query, code):
    answer = await client.get("/api/devices/van/track", token=tenant.dispatcher, **query)
    assert answer.refusal == (400, code)


async def test_device_of_nobody_and_of_another_tenant_are_the_same_404(client, tenant, rival, read, van):
    await client.send({"device": "rover", "fixes": [fix()]}, token=rival.ingest)
    foreign = await read("csv", device="rover")
    unknown = await read("csv", device="nobody")
    theirs = await read("csv", token=rival.dispatcher)
    for answer in (foreign, unknown, theirs):
        assert answer.refusal == (404, "device_unknown")
    foreign, unknown = ({**answer.json, "request_id": None} for answer in (foreign, unknown))
    assert {**foreign, "detail": foreign["detail"].replace("rover", "nobody")} == unknown


@pytest.mark.parametrize("name", ['Lkw "3", <ä> & 50%', "50%25", "a?b#c", "fleet/van", "/", "van/track"])
async def test_device_of_any_name_has_a_track(client, tenant, name):
    await client.send({"device": name, "fixes": [fix()]}, token=tenant.ingest)
    path = f"/api/devices/{quote(name, safe='')}/track"
    answer = await client.get(path, token=tenant.dispatcher, format="csv")
    assert answer.status == 200, answer.body
    assert next(csv.DictReader(io.StringIO(answer.body.decode())))["device"] == name


async def test_live_is_the_newest_fix_of_every_device(client, tenant, rival, van):
    await client.send(
        {"device": "bus", "fixes": [bare := fix(latitude=-48.1371549, longitude=-180)]}, token=tenant.ingest
    )
    await client.send({"device": "rover", "fixes": [fix()]}, token=rival.ingest)
    answer = await client.get("/api/live", token=tenant.dispatcher)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/geo+json")
    assert answer.headers["Cache-Control"] == "private, no-cache"
    document = answer.json
    assert document["type"] == "FeatureCollection"
    features = {feature["properties"]["device"]: feature for feature in document["features"]}
    assert features.keys() == {"van", "bus"}
    newest = van[-1]
    assert features["van"]["geometry"]["coordinates"] == [newest["longitude"], newest["latitude"], newest["altitude"]]
    assert features["van"]["properties"] == {
        "device": "van", "timestamp": newest["timestamp"], **{name: newest[name] for name in OPTIONAL}
    }  # fmt: skip
    assert features["bus"]["geometry"] == {"type": "Point", "coordinates": [-180, -48.1371549]}
    assert features["bus"]["properties"] == {"device": "bus", "timestamp": bare["timestamp"]}


async def test_tenant_without_devices_has_an_empty_present(client, tenant):
    answer = await client.get("/api/live", token=tenant.dispatcher)
    assert answer.json == {"type": "FeatureCollection", "features": []}


async def test_exported_track_replayed_into_another_tenant_is_equal(tenant, server, read, van, tmp_path):
    other = Tenant(tenant.dsn)
    exported = await read("csv", from_=START, to=START + 86_400_000)
    path = tmp_path / "track.csv"
    path.write_bytes(exported.body)
    done = run("replay", path, "--url", server.url, "--token", other.ingest, "--json")
    summary = json.loads(done.stdout)
    assert (summary["stored"], summary["duplicate"], summary["rejected"]) == (len(van), 0, {})
    original, copy = await stored(tenant.dsn, tenant.name), await stored(tenant.dsn, other.name)
    assert sorted(original) == sorted(copy)
    assert Stored("van", START, 480_000_000, 110_000_000) in copy
    again = await read("csv", token=other.dispatcher, from_=START, to=START + 86_400_000)
    assert again.body == exported.body


async def test_long_track_of_many_segments_is_streamed_whole(client, tenant, read):
    sent = track(3_000, start_millis=START, step_millis=1_000)
    order = [sent[place::30] for place in range(30)]  # every segment overlaps every other
    random.Random(2).shuffle(order)
    for piece in order:
        assert (await client.send({"device": "van", "fixes": piece}, token=tenant.ingest)).receipt == (100, 0, {})
    singles = track(520, start_millis=START - 700_000)  # more segments than a page of the store holds
    for each in singles:
        assert (await client.send({"device": "van", "fixes": [each]}, token=tenant.ingest)).receipt == (1, 0, {})
    answer = await read("csv", from_=START - 700_000, to=START + 86_400_000)
    assert from_csv(answer.body) == singles + sent
