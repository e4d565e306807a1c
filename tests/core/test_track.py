"""The border of `TrackWriter`; the rules themselves are tested in rust_core/tests/track.rs."""

import csv
import io
import json
import struct
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from fleetwire._core import TrackWriter

FIRST_AT_MILLIS = 1_763_768_400_000
GPX = {"gpx": "http://www.topografix.com/GPX/1/1", "fw": "urn:fleetwire:gpx:1"}


def int2(*values):
    """What `array_send()` gives for `int2[]`."""
    head = struct.pack(">iiIii", 1, int(None in values), 21, len(values), 1)
    return head + b"".join(struct.pack(">i", -1) if value is None else struct.pack(">ih", 2, value) for value in values)


def int4(*values):
    """What `record_send()` gives for `packed_int4` with a step of 1."""
    low = int2(0, *(after - before for before, after in pairwise(values)))
    fields = [(23, struct.pack(">i", values[0])), (23, struct.pack(">i", 1)), (1005, low)]
    return (
        struct.pack(">i", 4)
        + b"".join(struct.pack(">ii", oid, len(value)) + value for oid, value in fields)
        + struct.pack(">ii", 1005, -1)
    )


def push(track, first_at_millis, *offset_millis, speed_cmps=None, heading_cdeg=None):
    places = int4(*[481_371_540] * len(offset_millis))
    return track.push(first_at_millis, int4(*offset_millis), places, places, None, speed_cmps, heading_cdeg, None, None)


def writer(form, device="truck-7"):
    return TrackWriter(format=form, device=device, from_millis=0, to_millis=FIRST_AT_MILLIS + 10_000)


def test_csv_is_in_order_of_time_though_segments_overlap():
    track = writer("csv", 'a "b", c')
    text = push(track, FIRST_AT_MILLIS, 0, 4_000, 20_000)
    text += push(track, FIRST_AT_MILLIS + 1_000, 0, 1_000)
    assert text.count(b"\n") == 2
    text += track.finish()
    rows = list(csv.DictReader(io.StringIO(text.decode())))
    assert [int(row["ts_ms"]) - FIRST_AT_MILLIS for row in rows] == [0, 1_000, 2_000, 4_000]
    assert {row["device"] for row in rows} == {'a "b", c'}
    assert (rows[0]["lat"], rows[0]["alt_m"], rows[0]["battery"]) == ("48.137154", "", "")


def test_gpx_is_well_formed_and_names_its_own_elements():
    track = writer("gpx", "<truck> & trailer")
    text = push(track, FIRST_AT_MILLIS, 0, 250, speed_cmps=int2(1_340, None), heading_cdeg=int2(-8_900, None))
    root = ET.fromstring(text + track.finish())
    assert root.findtext("gpx:trk/gpx:name", namespaces=GPX) == "<truck> & trailer"
    points = root.findall("gpx:trk/gpx:trkseg/gpx:trkpt", GPX)
    times = [point.findtext("gpx:time", namespaces=GPX) for point in points]
    assert times == ["2025-11-21T23:40:00.000Z", "2025-11-21T23:40:00.250Z"]
    assert points[0].findtext("gpx:extensions/fw:speed", namespaces=GPX) == "13.4"
    assert points[0].findtext("gpx:extensions/fw:course", namespaces=GPX) == "271"
    assert points[1].find("gpx:extensions", GPX) is None


def test_geojson_is_read_back():
    track = writer("geojson")
    text = push(track, FIRST_AT_MILLIS, *range(1_000))
    features = json.loads(text + track.finish())["features"]
    assert len(features) == 1_000
    assert features[999]["properties"] == {
        "device": "truck-7",
        "timestamp": FIRST_AT_MILLIS + 999,
        "time": "2025-11-21T23:40:00.999Z",
    }


def test_an_empty_track_is_a_document():
    assert json.loads(writer("geojson").finish())["features"] == []
    assert ET.fromstring(writer("gpx").finish()).find("gpx:trk/gpx:trkseg", GPX) is not None
    assert writer("csv").finish() == b"device,ts_ms,lat,lon,alt_m,speed_mps,heading_deg,accuracy_m,battery\n"


def test_what_does_not_fit_is_a_value_error():
    with pytest.raises(ValueError, match="geojson, gpx or csv"):
        writer("kml")
    track = writer("csv")
    push(track, FIRST_AT_MILLIS, 0)
    with pytest.raises(ValueError, match="ascend"):
        push(track, FIRST_AT_MILLIS - 1, 0)
    with pytest.raises(ValueError, match="column lat_e7 has 1 entries for 2 fixes"):
        track.push(FIRST_AT_MILLIS, int4(0, 1), int4(0), int4(0), None, None, None, None, None)
    with pytest.raises(TypeError):
        track.push(FIRST_AT_MILLIS, bytearray(int4(0)), int4(0), int4(0), None, None, None, None, None)
    track.finish()
    with pytest.raises(ValueError, match="finished"):
        push(track, FIRST_AT_MILLIS + 1, 0)
