import gzip
import json
import tracemalloc

import pytest

from fleetwire.replay.readers import read_files, read_trace
from fleetwire.replay.rows import TraceError, UnreadableRows

HEADER = "device,ts_ms,lat,lon,alt_m,speed_mps,heading_deg,accuracy_m\n"
T0 = 1_700_000_000_000


def read(path, unreadable=None):
    return list(read_trace(str(path), unreadable or UnreadableRows()))


def written(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_csv_gives_numbers_and_none_for_blanks(tmp_path):
    path = written(tmp_path, "a.csv", HEADER + f"van,{T0},48.1,11.5,519,,271,5\n")
    assert read(path) == [("van", T0, 48.1, 11.5, 519.0, None, 271.0, 5.0, None)]


def test_csv_columns_are_found_by_name_in_any_order(tmp_path):
    path = written(tmp_path, "a.csv", f"lon,battery,device,colour,lat,ts_ms\n11.5,0.8,van,red,48.1,{T0}\n")
    assert read(path) == [("van", T0, 48.1, 11.5, None, None, None, None, 0.8)]


def test_gzip_is_known_by_content_and_a_byte_order_mark_is_skipped(tmp_path):
    path = tmp_path / "export"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + (HEADER + f"van,{T0},48.1,11.5,,,,\r\n").encode()))
    assert len(read(path)) == 1


def test_implausible_values_are_passed_on_for_the_server_to_judge(tmp_path):
    path = written(tmp_path, "a.csv", HEADER + "van,-5,91,999,,-3,720,\n")
    assert read(path) == [("van", -5, 91.0, 999.0, None, -3.0, 720.0, None, None)]


def test_rows_that_are_no_numbers_are_counted_and_the_first_is_named(tmp_path):
    bad = ["van,yesterday,48,11,,,,", f"van,{T0},,11,,,,", f"van,{T0},nan,11,,,,", f"van,{T0},48,1e400,,,,"]
    bad += [f"van,{T0},48,11,inf,-inf,,", f"van,{T0},48", f",{T0},48,11,,,,", f"van,{10**30},48,11,,,,"]
    path = written(tmp_path, "a.csv", HEADER + f"van,{T0},48,11,,,,\n" + "\n".join(bad) + "\n\n")
    unreadable = UnreadableRows()
    assert len(read(path, unreadable)) == 1
    assert unreadable.rows == len(bad)
    assert unreadable.first.startswith(f"{path}:3: ")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "device,lat,lon\n", r"a\.csv:1: the header lacks ts_ms"),
        ("a.csv", "", r"a\.csv:1: the file is empty"),
        ("a.gpx", HEADER, r"a\.gpx:1: the name says gpx, the content looks like csv"),
        ("a.csv", '{"type": "FeatureCollection"}', r"a\.csv:1: the name says csv, the content looks like geojson"),
        ("a.gpx", "<gpx>\n<trk>\n</trkk></gpx>", r"a\.gpx:3: mismatched tag"),
        ("a.gpx", "<gpx>\n<trk>", r"a\.gpx:2: no element found"),
        ("a.gpx", "<html></html>", r"a\.gpx:1: is XML, but <html>"),
        ("a.gpx", '<?xml version="1.0" encoding="martian"?>\n<gpx/>', r"a\.gpx:1: unknown encoding"),
        (
            "a.gpx",
            '<?xml version="1.0"?>\n<!DOCTYPE gpx [<!ENTITY a "b">]>\n<gpx/>',
            r"a\.gpx:2: declares a document type",
        ),
        ("a.geojson", '{"type": "FeatureCollection",\n"features": [{"a": 1},\n{"a" 2}]}', r"a\.geojson:3: "),
        ("a.geojson", '{"type": "FeatureCollection", "features": [', r"a\.geojson:1: "),
        ("a.geojson", '{"type": "Topology"}', r"a\.geojson:1: is JSON of type 'Topology'"),
        ("a.csv", HEADER + '"' + "x" * 200_000, r"a\.csv:2: field larger than field limit"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_line(tmp_path, name, content, message):
    with pytest.raises(TraceError, match=message):
        read(written(tmp_path, name, content))


def test_a_missing_file_a_folder_and_damaged_gzip_are_named(tmp_path):
    with pytest.raises(TraceError, match=r"none\.csv:0: No such file"):
        read(tmp_path / "none.csv")
    with pytest.raises(TraceError, match="Is a directory"):
        read(tmp_path)
    damaged = tmp_path / "a.csv.gz"
    whole = gzip.compress((HEADER + f"van,{T0},48,11,,,,\n" * 1000).encode())
    damaged.write_bytes(whole[:-20])
    with pytest.raises(TraceError, match=r"a\.csv\.gz:\d+: "):
        read(damaged)
    (tmp_path / "b.csv").write_bytes(HEADER.encode() + b"\xff\xfe\n")
    with pytest.raises(TraceError, match=r"b\.csv:2: 'utf-8' codec"):
        read(tmp_path / "b.csv")


def test_gpx_reads_track_points_with_extension_speeds(tmp_path):
    path = written(
        tmp_path,
        "tour.gpx",
        """<?xml version="1.0"?>
<gpx version="1.1" xmlns="http://www.topografix.com/GPX/1/1"
     xmlns:tpx="http://www.garmin.com/xmlschemas/TrackPointExtension/v2">
  <metadata><name>not a device</name></metadata>
  <wpt lat="1" lon="2"><name>depot</name></wpt>
  <trk><name>van &amp; trailer</name><trkseg>
    <trkpt lat="48.1" lon="11.5"><ele>519.5</ele><time>2023-11-14T22:13:20Z</time>
      <extensions><tpx:TrackPointExtension><tpx:speed>13.4</tpx:speed><tpx:course>271</tpx:course>
      </tpx:TrackPointExtension></extensions></trkpt>
    <trkpt lat="48.2" lon="11.6"><time>2023-11-14T23:13:21.250+01:00</time></trkpt>
    <trkpt lat="48.3" lon="11.7"><ele>1</ele></trkpt>
  </trkseg></trk>
  <trk><trkseg><trkpt lat="48.4" lon="11.8"><time>2023-11-14T22:13:20</time></trkpt></trkseg></trk>
</gpx>""",
    )
    unreadable = UnreadableRows()
    assert read(path, unreadable) == [
        ("van & trailer", T0, 48.1, 11.5, 519.5, 13.4, 271.0, None, None),
        ("van & trailer", T0 + 1250, 48.2, 11.6, None, None, None, None, None),
        ("tour", T0, 48.4, 11.8, None, None, None, None, None),
    ]
    assert unreadable.rows == 1
    assert unreadable.first == f"{path}:11: no time"


def test_gpx_1_0_speed_and_course_are_members_of_the_point(tmp_path):
    path = written(
        tmp_path,
        "old.gpx.xml",
        '<gpx version="1.0" xmlns="http://www.topografix.com/GPX/1/0"><trk><trkseg><trkpt lat="1" lon="2">'
        "<time>2023-11-14T22:13:20Z</time><course>90</course><speed>2.5</speed></trkpt></trkseg></trk></gpx>",
    )
    assert read(path) == [("old.gpx", T0, 1.0, 2.0, None, 2.5, 90.0, None, None)]


def test_geojson_points_carry_device_time_and_optional_members(tmp_path):
    point = {"type": "Point", "coordinates": [11.5, 48.1, 519]}
    features = [
        {"type": "Feature", "geometry": point, "properties": {"device": "van", "timestamp": T0, "speed": 3}},
        {"type": "Feature", "geometry": point, "properties": {"time": "2023-11-14T22:13:20Z"}},
        {"type": "Feature", "geometry": point, "properties": {"device": "van"}},
        {"type": "Feature", "geometry": None, "properties": None},
    ]
    path = written(tmp_path, "day.geojson", json.dumps({"type": "FeatureCollection", "features": features}, indent=1))
    unreadable = UnreadableRows()
    assert read(path, unreadable) == [
        ("van", T0, 48.1, 11.5, 519.0, 3.0, None, None, None),
        ("day", T0, 48.1, 11.5, 519.0, None, None, None, None),
    ]
    assert unreadable.rows == 2


@pytest.mark.parametrize("times", ["coordTimes", "times"])
def test_geojson_lines_take_a_time_per_position(tmp_path, times):
    feature = {
        "type": "Feature",
        "geometry": {"type": "LineString", "coordinates": [[11.5, 48.1], [11.6, 48.2], [11.7, 48.3]]},
        "properties": {"device": "van", times: ["2023-11-14T22:13:20Z", T0 + 1000]},
    }
    unreadable = UnreadableRows()
    rows = read(written(tmp_path, "line.json", json.dumps(feature)), unreadable)
    assert [row[:4] for row in rows] == [("van", T0, 48.1, 11.5), ("van", T0 + 1000, 48.2, 11.6)]
    assert unreadable.rows == 1


def test_geojson_multilines_nest_their_times(tmp_path):
    feature = {
        "type": "Feature",
        "geometry": {"type": "MultiLineString", "coordinates": [[[11.5, 48.1]], [[11.6, 48.2]]]},
        "properties": {"name": "van", "coordinateProperties": {"times": [[T0], [T0 + 1000]]}},
    }
    assert [row[1] for row in read(written(tmp_path, "lines.json", json.dumps(feature)))] == [T0, T0 + 1000]


def test_geojson_is_the_same_whatever_falls_on_the_edge_of_a_buffer(tmp_path, monkeypatch):
    from fleetwire.replay import json_stream

    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [11.5 + index / 1e6, -48.125]},
            "properties": {"device": 'vän "7" \\', "timestamp": T0 + index, "accuracy": 1.5e1, "loaded": True},
        }
        for index in range(50)
    ]
    text = json.dumps({"type": "FeatureCollection", "bbox": [1, 2, 3, 4], "features": features, "n": 123})
    path = written(tmp_path, "a.geojson", text)
    whole = read(path)
    for chunk_chars in range(1, 40):
        monkeypatch.setattr(json_stream, "CHUNK_CHARS", chunk_chars)
        assert read(path) == whole
    assert len(whole) == 50


def test_a_fault_early_in_a_large_geojson_is_found_without_reading_it_all(tmp_path):
    path = written(tmp_path, "a.geojson", '{"features": [{"a" 1},\n' + "x" * 5_000_000 + "]}")
    tracemalloc.start()
    try:
        with pytest.raises(TraceError, match=r"a\.geojson:1: "):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


def test_merged_files_ascend_in_time_and_others_follow_each_other(tmp_path):
    first = written(tmp_path, "a.csv", "device,ts_ms,lat,lon\na,1,0,0\na,5,0,0\n")
    second = written(tmp_path, "b.csv", "device,ts_ms,lat,lon\nb,2,0,0\nb,4,0,0\n")
    seen = []
    for merged, expected in ((False, [1, 5, 2, 4]), (True, [1, 2, 4, 5])):
        rows = read_files([str(first), str(second)], UnreadableRows(), merged=merged, on_bytes=seen.append)
        assert [row[1] for row in rows] == expected
    assert sum(seen) == 2 * (first.stat().st_size + second.stat().st_size)


def test_reading_a_large_file_holds_no_more_than_its_buffers(tmp_path):
    path = tmp_path / "large.csv.gz"
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write(HEADER)
        for block in range(100):
            file.write("".join(f"van-{row % 97},{T0 + block * 1000 + row},48.1,11.5,,,,\n" for row in range(1000)))
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_trace(str(path), UnreadableRows())) == 100_000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
