import orjson
from hypothesis import given
from hypothesis import strategies as st

from fleetwire.replay.batches import Batcher
from fleetwire.replay.scheduler import BatchScheduler

INF = float("inf")


def row(device, at_millis):
    return (device, at_millis, 48.0, 11.0, None, None, None, None, None)


def cut(batches):
    bodies = [orjson.loads(batch.body) for batch in batches]
    return [(body["device"], [fix["timestamp"] for fix in body["fixes"]]) for body in bodies]


def test_full_batches_come_first_and_the_rest_in_the_order_they_were_opened():
    batcher = Batcher(batch_size=2)
    rows = [row("a", 1), row("b", 2), row("b", 3), row("c", 4), row("a", 5), row("d", 6), row("c", 7), row("c", 8)]
    assert cut(batcher.add(rows)) == [("b", [2, 3]), ("a", [1, 5]), ("c", [4, 7])]
    assert cut(batcher.flush()) == [("d", [6]), ("c", [8])]
    assert list(batcher.flush()) == []


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 10_000)), max_size=300),
    st.integers(1, 20),
    st.integers(1, 40),
    st.sampled_from([INF, 500.0]),
    st.integers(1, 50),
)
def test_every_row_comes_once_in_the_order_of_its_device(rows, batch_size, max_open_rows, max_span_millis, chunk):
    batcher = Batcher(batch_size=batch_size, max_open_rows=max_open_rows, max_span_millis=max_span_millis)
    sent = []
    for start in range(0, len(rows), chunk):
        batches = cut(batcher.add([row(*each) for each in rows[start : start + chunk]]))
        assert batcher._open_rows <= max_open_rows
        sent += batches
    sent += cut(batcher.flush())
    assert all(0 < len(times) <= batch_size for _, times in sent)
    assert all(times[-1] - times[0] < max_span_millis for _, times in sent)
    for device in "abcdef":
        assert [at for name, times in sent if name == device for at in times] == [
            at for name, at in rows if name == device
        ]


def test_a_full_window_lets_the_fullest_batches_go():
    batcher = Batcher(batch_size=500, max_open_rows=16)
    rows = [row("many", at) for at in range(10)] + [row(f"few-{at}", at) for at in range(7)]
    assert cut(batcher.add(rows)) == [("many", list(range(10)))]


def test_a_device_that_falls_silent_does_not_keep_its_fixes_in_a_paced_replay():
    batcher = Batcher(batch_size=500, max_span_millis=1000)
    assert cut(batcher.add([row("quiet", 0), row("busy", 999)])) == []
    assert cut(batcher.add([row("busy", 1000)])) == [("quiet", [0])]


def test_times_are_shifted_and_names_prefixed_in_the_body_only():
    batcher = Batcher(batch_size=1, device_prefix="copy-", shift_millis=100)
    (batch,) = batcher.add([row("a", 5)])
    assert cut([batch]) == [("copy-a", [105])]
    assert (batch.fixes, batch.due_millis) == (1, 5)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 3000)), max_size=100))
def test_paced_batches_of_an_ascending_recording_go_out_in_the_order_they_are_due(rows):
    rows.sort(key=lambda each: each[1])
    batcher, scheduler, due = (
        Batcher(batch_size=5, max_span_millis=400.0),
        BatchScheduler(speed=1.0, max_span_millis=400.0),
        [],
    )
    for each in rows:
        scheduler.add(batcher.add([row(*each)]))
        due += [batch.due_millis for batch in scheduler.ready(batcher.newest_millis)]
    scheduler.add(batcher.flush())
    due += [batch.due_millis for batch in scheduler.ready(INF)]
    assert due == sorted(due)


async def test_long_silences_are_cut_and_late_batches_do_not_wait():
    clock, slept = [0.0], []

    async def sleep(secs):
        slept.append(round(secs, 6))
        clock[0] += secs

    scheduler = BatchScheduler(speed=60.0, max_span_millis=1000, clock=lambda: clock[0], sleep=sleep)
    hour_millis = 3_600_000
    for at_millis in (0, 60_000, 30_000, hour_millis * 24 * 365, hour_millis * 24 * 365 + 60_000):
        (batch,) = Batcher(batch_size=1).add([row("a", at_millis)])
        await scheduler.wait_until_due(batch)
    assert slept == [0, 1, 0, 60, 1]
