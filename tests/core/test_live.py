"""The border of `LiveTable`; the rules themselves are tested in rust_core/tests/live.rs and frames.rs."""

import json
import threading

import pytest

from fleetwire._core import Decoder, Group, LiveTable, Recent, RowTypes

NOW_MILLIS = 1_763_768_500_000
FIRST_AT_MILLIS = 1_763_768_400_000
TENANT_ID = 7
NOWHERE = RowTypes(track_segment=0, moved_position=0, packed_int4=0)  # of rows that are not written


def sealed(device_ids, fixed_at_millis=FIRST_AT_MILLIS):
    fix = {
        "timestamp": fixed_at_millis,
        "latitude": 48.137154,
        "longitude": 11.576124,
        "accuracy": 5.0,
        "altitude": 519.0,
    }
    fix |= {"heading": 271.0, "speed": 13.4, "battery": 0.8}
    decoder = Decoder(max_fixes=10, future_millis=600_000)
    batch = decoder.json(json.dumps(fix).encode(), now_millis=NOW_MILLIS, earliest_millis=0)
    group = Group([(TENANT_ID, device_id, batch) for device_id in device_ids])
    return group.seal(
        last_fixed_millis=[None] * len(device_ids),
        stored=[],
        recent=Recent(max_fixes=0),
        received_at_millis=NOW_MILLIS,
        row_types=NOWHERE,
    )


def empty():
    return LiveTable(moving_cmps=80, offline_millis=120_000)


def table(device_ids):
    live = empty()
    for device_id in device_ids:
        live.load(TENANT_ID, device_id, f"truck-{device_id}", *[None] * 8)
    return live


def watch(live, **members):
    nothing = dict.fromkeys(("area", "devices", "statuses", "groups"))
    return live.watch(TENANT_ID, **nothing | members, now_millis=NOW_MILLIS)


def moved(live, view=0, form="json", *, since_seq):
    return live.moved(TENANT_ID, view, format=form, since_seq=since_seq)


def snapshot(live, view=0, epoch="e1", form="json"):
    frame = live.snapshot(TENANT_ID, view, format=form, epoch=epoch, now_millis=NOW_MILLIS)
    (message,) = frame.messages
    assert frame.size_bytes == len(message)
    return json.loads(message) if form == "json" else message


def devices(frame):
    return [position["device"] for position in frame["positions"]]


def test_frames_are_spelt_as_the_contract_has_them():
    live = table([7])
    assert live.advance(sealed([7])) == 1
    assert live.tick(now_millis=NOW_MILLIS) == [TENANT_ID]
    (message,) = moved(live, since_seq=0).messages
    assert message == (
        '{"type":"moved","seq":1,"positions":[{"device":"truck-7","timestamp":1763768400000,"latitude":48.137154,'
        '"longitude":11.576124,"accuracy":5,"altitude":519,"heading":271,"speed":13.4,"battery":0.8}]}'
    )
    shown = snapshot(live)
    assert (shown["type"], shown["epoch"], shown["seq"], devices(shown)) == ("snapshot", "e1", 1, ["truck-7"])
    assert (live.seq(TENANT_ID), live.seq(99), len(live)) == (1, 0, 1)
    assert moved(live, since_seq=1) is None


def test_columns_are_bytes_and_smaller():
    live = table(range(1, 101))
    live.advance(sealed(range(1, 101)))
    live.tick(now_millis=NOW_MILLIS)
    text, columns = moved(live, since_seq=0), moved(live, form="protobuf", since_seq=0)
    assert isinstance(columns.messages[0], bytes)
    assert columns.size_bytes == len(columns.messages[0]) < text.size_bytes / 4
    assert b"truck-100" in columns.messages[0], "a device that nobody has seen yet is named"


def test_a_stored_position_is_shown_and_is_no_movement():
    live = empty()
    live.load(TENANT_ID, 1, 'a "quoted" name', FIRST_AT_MILLIS, 481_371_540, 115_761_240, None, 1_340, -1, None, None)
    assert (live.tick(now_millis=NOW_MILLIS), len(live)) == ([], 1)
    feature = json.loads(live.geojson(TENANT_ID))["features"][0]
    assert feature["geometry"]["coordinates"] == [11.576124, 48.137154]
    assert feature["properties"] == {
        "device": 'a "quoted" name',
        "timestamp": FIRST_AT_MILLIS,
        "heading": 359.99,
        "speed": 13.4,
    }
    live.load(TENANT_ID, 2, "b", FIRST_AT_MILLIS, 0, 0, None, None, None, None, None)
    assert devices(snapshot(live)) == ['a "quoted" name', "b"]
    live.load(TENANT_ID, 3, "c", FIRST_AT_MILLIS, 0, 0, None, None, None, None, None)
    assert devices(snapshot(live))[2:] == ["c"], "a frame that was handed out before is not handed out again"


def test_each_member_of_a_filter_reaches_the_core():
    live = table([1, 2, 3])
    live.advance(sealed([1, 2, 3]))
    live.set_group(TENANT_ID, "load-7", [2, 99])
    munich, elsewhere = (115_000_000, 480_000_000, 116_000_000, 490_000_000), (1, 1, 2, 2)
    assert len(devices(snapshot(live, watch(live, area=munich)))) == 3
    assert devices(snapshot(live, watch(live, area=elsewhere))) == []
    assert devices(snapshot(live, watch(live, devices=("truck-3", "unknown")))) == ["truck-3"]
    assert devices(snapshot(live, watch(live, groups=["load-7"]))) == ["truck-2"]
    assert len(devices(snapshot(live, watch(live, statuses=["moving"])))) == 3
    assert devices(snapshot(live, watch(live, statuses=["stopped", "offline"]))) == []
    with pytest.raises(ValueError, match="flying"):
        watch(live, statuses=["flying"])
    with pytest.raises(ValueError, match="yaml"):
        snapshot(live, form="yaml")


def test_watchers_in_step_hold_one_object():
    live = table([1, 2])
    live.advance(sealed([1, 2]))
    live.tick(now_millis=NOW_MILLIS)
    rendered, shared = live.frames_made()
    assert moved(live, since_seq=0) is moved(live, since_seq=0)
    assert live.frames_made() == (rendered + 1, shared + 1)
    assert moved(live, form="protobuf", since_seq=0) is not moved(live, since_seq=0)
    view = watch(live, devices=["truck-1"])
    assert live.is_exact(TENANT_ID, view, 1)
    assert not live.is_exact(TENANT_ID, view, 0), "it begins after that"


def test_an_older_group_does_not_move_anything():
    live = table([1])
    live.advance(sealed([1]))
    assert live.advance(sealed([1], FIRST_AT_MILLIS - 1)) == 0


def test_threads_may_share_a_table():
    live = table(range(20))
    groups = [sealed(range(20), FIRST_AT_MILLIS + step) for step in range(40)]
    failures = []

    def run(part):
        try:
            for group in part:
                live.advance(group)
                live.tick(now_millis=NOW_MILLIS)
                snapshot(live)
                view = watch(live, devices=["truck-1"])
                moved(live, view, since_seq=0)
                live.release(TENANT_ID, view)
        except BaseException as failure:  # noqa: BLE001 - a panic is one, and must fail the test
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(groups[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    positions = snapshot(live)["positions"]
    assert [position["timestamp"] for position in positions] == [FIRST_AT_MILLIS + 39] * 20
