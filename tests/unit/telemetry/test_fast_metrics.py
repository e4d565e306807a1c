"""What the hot way counts, as Prometheus reads it."""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from fleetwire.telemetry.fast_metrics import Durations, FastCounters, LabelledDurations

BUCKETS = (0.001, 0.5, 1.0)
SECS = (0.0005, 0.001, 0.3, 0.5, 0.9, 1.0, 7.0)


def text_of(registry):
    lines = generate_latest(registry).decode().splitlines()
    return sorted(line for line in lines if "_created" not in line)


def test_a_tally_reads_like_the_librarys_counter():
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tallies = FastCounters("fw_batches", "Batches.", ["door", "outcome"], registry=ours)
    counter = Counter("fw_batches", "Batches.", ["door", "outcome"], registry=theirs)
    for door, outcome, amount in [("http", "received", 3), ("ws", "refused", 1), ("http", "received", 2)]:
        tallies.labels(door, outcome).inc(amount)
        counter.labels(door, outcome).inc(amount)
    assert text_of(ours) == text_of(theirs)


def test_durations_read_like_the_librarys_histogram():
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    durations = Durations("fw_receipt_seconds", "Receipts.", buckets=BUCKETS, registry=ours)
    histogram = Histogram("fw_receipt_seconds", "Receipts.", buckets=BUCKETS, registry=theirs)
    for secs in SECS:
        durations.observe(secs)
        histogram.observe(secs)
    assert text_of(ours) == text_of(theirs)


def test_labelled_durations_read_like_the_librarys_histogram():
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    durations = LabelledDurations("fw_http_seconds", "Requests.", ["method", "status"], buckets=BUCKETS, registry=ours)
    histogram = Histogram("fw_http_seconds", "Requests.", ["method", "status"], buckets=BUCKETS, registry=theirs)
    for number, secs in enumerate(SECS):
        labels = ("GET", "200") if number % 2 else ("POST", "503")
        durations.observe(labels, secs)
        histogram.labels(*labels).observe(secs)
    assert text_of(ours) == text_of(theirs)
