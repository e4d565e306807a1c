"""Several workers' metrics are one page: amounts added up, moments the newest."""

import msgspec

from fleetwire.telemetry import metrics, metrics_merge


def worker(*families):
    return msgspec.msgpack.encode(families)


def lines(*workers):
    text = metrics_merge.render(workers).decode()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line[0] != "#"}


def test_counters_gauges_and_buckets_are_added_up():
    one = worker(
        ("fixes", "Fixes.", "counter", [("fixes_total", (("outcome", "stored"),), 3.0), ("fixes_created", (), 20.0)]),
        ("wait", "Wait.", "histogram", [("wait_bucket", (("le", "+Inf"),), 2.0), ("wait_sum", (), 0.5)]),
        ("open", "Open.", "gauge", [("open", (), 4.0)]),
        ("round_last_seconds", "Last.", "gauge", [("round_last_seconds", (), 17.0)]),
    )
    other = worker(
        ("fixes", "Fixes.", "counter", [("fixes_total", (("outcome", "stored"),), 4.0), ("fixes_created", (), 10.0)]),
        ("wait", "Wait.", "histogram", [("wait_bucket", (("le", "+Inf"),), 1.0), ("wait_sum", (), 0.25)]),
        ("open", "Open.", "gauge", [("open", (), 1.0)]),
        ("round_last_seconds", "Last.", "gauge", [("round_last_seconds", (), 16.0)]),
    )
    found = lines(one, other)
    assert found['fixes_total{outcome="stored"}'] == 7
    assert found['wait_bucket{le="+Inf"}'] == 3
    assert (found["wait_sum"], found["open"], found["round_last_seconds"]) == (0.75, 5, 17)
    assert found["fixes_created"] == 10


def test_what_only_one_worker_has_is_there():
    assert lines(worker(("a", "A.", "gauge", [("a", (), 1.0)])), worker(("b", "B.", "gauge", [("b", (), 2.0)]))) == {
        "a": 1,
        "b": 2,
    }


def test_this_workers_own_metrics_are_packed_whole():
    metrics.RELAY_DROPPED.labels("full").inc(0)
    found = lines(metrics_merge.pack(), metrics_merge.pack())
    single = lines(metrics_merge.pack())
    assert found.keys() == single.keys()
    assert 'fleetwire_relay_dropped_messages_total{policy="full"}' in found
