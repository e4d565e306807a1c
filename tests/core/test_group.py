"""The border of `Group` and `Sealed`; the rules themselves are tested in rust_core/tests/group.rs."""

import json
import struct
from itertools import pairwise

import pytest

from fleetwire._core import Decoder, Group, Recent, RowTypes

NOW_MILLIS = 1_763_768_500_000
FIRST_AT_MILLIS = 1_763_768_400_000
TENANT_ID = 7
ROW_TYPES = RowTypes(track_segment=70_001, moved_position=70_002, packed_int4=70_003)


def batch(*times, message_id=None, **members):
    fixes = [{"timestamp": time, "latitude": 48.137154, "longitude": 11.576124, **members} for time in times]
    envelope = {"fixes": fixes} if message_id is None else {"type": "batch", "id": message_id, "fixes": fixes}
    decoder = Decoder(max_fixes=10_000, future_millis=600_000)
    return decoder.json(json.dumps(envelope).encode(), now_millis=NOW_MILLIS, earliest_millis=0)


def packed_times(*values):
    """What `record_send()` gives for `packed_int4` with a step of 1."""
    steps = [0, *(after - before for before, after in pairwise(values))]
    low = struct.pack(">iiIii", 1, 0, 21, len(steps), 1) + b"".join(struct.pack(">ih", 2, step) for step in steps)
    fields = [(23, struct.pack(">i", values[0])), (23, struct.pack(">i", 1)), (1005, low)]
    return (
        struct.pack(">i", 4)
        + b"".join(struct.pack(">ii", oid, len(value)) + value for oid, value in fields)
        + struct.pack(">ii", 1005, -1)
    )


def seal(group, last_fixed_millis, stored=()):
    return group.seal(
        last_fixed_millis=last_fixed_millis,
        stored=list(stored),
        recent=Recent(max_fixes=0),
        received_at_millis=NOW_MILLIS,
        row_types=ROW_TYPES,
    )


def rows_in(array):
    """Type and number of the rows of an array in binary form."""
    dimensions, _, row_type = struct.unpack_from(">iiI", array)
    return row_type, struct.unpack_from(">i", array, 12)[0] if dimensions else 0


def test_devices_are_distinct_and_ascending():
    one = batch(FIRST_AT_MILLIS)
    group = Group([(2, 5, one), (1, 9, one), (2, 3, one), (1, 9, one)])
    assert group.devices() == ("{1,2,2}", "{9,3,5}")
    assert group.days() == [FIRST_AT_MILLIS // 86_400_000]


def test_a_batch_in_order_is_new_as_a_whole():
    group = Group([(TENANT_ID, 1, batch(FIRST_AT_MILLIS, FIRST_AT_MILLIS + 1_000, speed=13.4, heading=271))])
    assert group.late_spans([FIRST_AT_MILLIS - 1], Recent(max_fixes=0)) == []
    sealed = seal(group, [FIRST_AT_MILLIS - 1])
    assert (sealed.stored, sealed.duplicate, sealed.segment_count) == (2, 0, 1)
    assert sealed.newest == f"{{{FIRST_AT_MILLIS - 1}}}"
    assert rows_in(sealed.segments) == (70_001, 1)
    assert rows_in(sealed.positions) == (70_002, 1)
    assert sealed.segments is sealed.segments
    assert [json.loads(receipt) for receipt in sealed.receipts()] == [{"stored": 2, "duplicate": 0, "rejected": []}]


def test_what_is_stored_already_is_a_duplicate():
    group = Group(
        [
            (TENANT_ID, 1, batch(FIRST_AT_MILLIS, FIRST_AT_MILLIS + 1_000, message_id="41")),
            (TENANT_ID, 1, batch(FIRST_AT_MILLIS + 1_000, FIRST_AT_MILLIS + 2_000, -5)),
        ]
    )
    last = [FIRST_AT_MILLIS]
    assert group.late_spans(last, Recent(max_fixes=0)) == [(TENANT_ID, 1, FIRST_AT_MILLIS, FIRST_AT_MILLIS)]
    sealed = seal(group, last, [(TENANT_ID, 1, FIRST_AT_MILLIS - 500, 2, None, packed_times(0, 500))])
    assert (sealed.stored, sealed.duplicate) == (2, 2)
    first, second = (json.loads(receipt) for receipt in sealed.receipts())
    assert first == {"type": "receipt", "id": "41", "stored": 1, "duplicate": 1, "rejected": []}
    assert (second["stored"], second["duplicate"]) == (1, 1)
    assert [line["index"] for line in second["rejected"]] == [2]


def test_a_regular_segment_is_known_by_its_step():
    group = Group([(TENANT_ID, 1, batch(*(FIRST_AT_MILLIS + millis for millis in (0, 999, 2_000, 4_000))))])
    sealed = seal(group, [FIRST_AT_MILLIS + 9_000], [(TENANT_ID, 1, FIRST_AT_MILLIS - 1_000, 4, 1_000, None)])
    assert sealed.tallies() == [(2, 2)]


def test_late_fixes_far_apart_are_spans_of_their_own():
    years_ago = FIRST_AT_MILLIS - 1_024 * 7 * 86_400_000
    group = Group([(TENANT_ID, 1, batch(FIRST_AT_MILLIS, years_ago, years_ago + 1_000))])
    assert group.late_spans([FIRST_AT_MILLIS], Recent(max_fixes=0)) == [
        (TENANT_ID, 1, years_ago, years_ago + 1_000),
        (TENANT_ID, 1, FIRST_AT_MILLIS, FIRST_AT_MILLIS),
    ]


def test_a_replay_stores_nothing_and_sends_nothing():
    group = Group([(TENANT_ID, 1, batch(FIRST_AT_MILLIS))])
    sealed = seal(group, [FIRST_AT_MILLIS], [(TENANT_ID, 1, FIRST_AT_MILLIS, 1, None, packed_times(0))])
    assert (sealed.segment_count, sealed.stored, sealed.duplicate) == (0, 0, 1)
    assert (rows_in(sealed.segments), rows_in(sealed.positions)) == ((70_001, 0), (70_002, 0))


def test_wrong_answers_are_value_errors():
    group = Group([(TENANT_ID, 1, batch(FIRST_AT_MILLIS))])
    with pytest.raises(ValueError, match="0 newest times for 1 devices"):
        group.late_spans([], Recent(max_fixes=0))
    with pytest.raises(ValueError, match="offset_millis"):
        seal(group, [None], [(TENANT_ID, 1, 0, 1, None, b"no array")])
    with pytest.raises(TypeError):
        Group([(TENANT_ID, 1, "no batch")])


def test_a_batch_is_cut_by_its_days_and_its_receipt_is_that_of_all():
    whole = batch(*(FIRST_AT_MILLIS - day * 86_400_000 for day in (0, 3, 1, 3, 2)), -5, message_id="41")
    pieces = whole.by_days(2)
    assert [(piece.accepted, len(piece.days)) for piece in pieces] == [(3, 2), (2, 2)]
    assert pieces[0].days + pieces[1].days == whole.days
    assert [(piece.device, piece.message_id, piece.rejected) for piece in pieces] == [(None, None, 0)] * 2
    assert seal(Group([(TENANT_ID, 1, pieces[0])]), [None]).tallies() == [(2, 1)]
    receipt = json.loads(whole.receipt(stored=4, duplicate=1))
    assert (receipt["id"], receipt["stored"], receipt["duplicate"], len(receipt["rejected"])) == ("41", 4, 1, 1)


def test_a_group_outlives_the_names_of_its_batches():
    members = [(TENANT_ID, device_id, batch(FIRST_AT_MILLIS)) for device_id in range(50)]
    group = Group(members)
    del members
    assert seal(group, [None] * 50).stored == 50
