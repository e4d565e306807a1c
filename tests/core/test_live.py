"""The border of `LiveTable`; the rules themselves are tested in rust_core/tests/live.rs."""

import json
import threading

from fleetwire._core import Decoder, Group, LiveTable

NOW_MILLIS = 1_763_768_500_000
FIRST_AT_MILLIS = 1_763_768_400_000
TENANT_ID = 7


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
    return group.seal(last_fixed_millis=[None] * len(device_ids), stored=[], received_at_millis=NOW_MILLIS)


def table(device_ids):
    live = LiveTable()
    for device_id in device_ids:
        live.load(TENANT_ID, device_id, f"truck-{device_id}", *[None] * 8)
    return live


def test_frames_are_spelt_as_the_contract_has_them():
    live = table([7])
    assert live.advance(sealed([7])) == 1
    assert live.tick() == [TENANT_ID]
    assert live.moved(TENANT_ID, since_seq=0) == (
        b'{"type":"moved","seq":1,"positions":[{"device":"truck-7","timestamp":1763768400000,"latitude":48.137154,'
        b'"longitude":11.576124,"accuracy":5,"altitude":519,"heading":271,"speed":13.4,"battery":0.8}]}'
    )
    snapshot = json.loads(live.snapshot(TENANT_ID, epoch="e1"))
    assert (snapshot["type"], snapshot["epoch"], snapshot["seq"]) == ("snapshot", "e1", 1)
    assert [position["device"] for position in snapshot["positions"]] == ["truck-7"]
    assert (live.seq(TENANT_ID), live.seq(99), len(live)) == (1, 0, 1)
    assert live.moved(TENANT_ID, since_seq=1) is None


def test_a_stored_position_is_shown_and_is_no_movement():
    live = LiveTable()
    live.load(TENANT_ID, 1, 'a "quoted" name', FIRST_AT_MILLIS, 481_371_540, 115_761_240, None, 1_340, -1, None, None)
    assert (live.tick(), len(live)) == ([], 1)
    feature = json.loads(live.geojson(TENANT_ID))["features"][0]
    assert feature["geometry"]["coordinates"] == [11.576124, 48.137154]
    assert feature["properties"] == {
        "device": 'a "quoted" name',
        "timestamp": FIRST_AT_MILLIS,
        "heading": 359.99,
        "speed": 13.4,
    }


def test_watchers_in_step_hold_one_object():
    live = table([1, 2])
    live.advance(sealed([1, 2]))
    live.tick()
    assert live.moved(TENANT_ID, since_seq=0) is live.moved(TENANT_ID, since_seq=0)


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
                live.tick()
                json.loads(live.snapshot(TENANT_ID, epoch="e"))
                json.loads(live.moved(TENANT_ID, since_seq=0) or b"{}")
        except BaseException as failure:  # noqa: BLE001 - a panic is one, and must fail the test
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(groups[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    positions = json.loads(live.snapshot(TENANT_ID, epoch="e"))["positions"]
    assert [position["timestamp"] for position in positions] == [FIRST_AT_MILLIS + 39] * 20
