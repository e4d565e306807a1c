"""The bucket that a socket's messages are taken from, and the figures that are read off a histogram."""

import pytest
from prometheus_client import CollectorRegistry

from fleetwire.fanout.sockets.close_codes import Close
from fleetwire.fanout.sockets.heartbeat import is_heartbeat
from fleetwire.fanout.sockets.message_rate import MessageRate
from fleetwire.fanout.sockets.stats import quantile
from fleetwire.settings import Settings
from fleetwire.telemetry.fast_metrics import Durations


@pytest.fixture
def pace():
    return MessageRate(Settings(socket_messages_per_sec=10, socket_messages_burst=5, socket_rate_violations=3))


def test_burst_then_the_rate(pace):
    assert [pace.admits(100.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert [pace.admits(100.15), pace.admits(100.15)] == [True, False]
    assert [pace.admits(100.2 + number / 10) for number in range(1, 30)] == [True] * 29


def test_refusals_add_up_until_the_bucket_has_been_full(pace):
    for _ in range(7):
        pace.admits(100.0)
    assert not pace.is_exhausted
    assert not pace.admits(100.05)
    assert pace.is_exhausted
    assert pace.admits(101.0)
    assert not pace.is_exhausted


def test_clock_that_stands_still_gives_nothing(pace):
    assert sum(pace.admits(0.0) for _ in range(100)) == 5


@pytest.mark.parametrize(
    ("message", "is_one"),
    [
        (b'{"type":"heartbeat"}', True),
        (b' { "type" : "heartbeat", "n": 1 }', True),
        (b'{"type":"ack","note":"heartbeat"}', False),
        (b'{"type":"heartbeat"', False),
        (b'"heartbeat"', False),
        (b'{"type":"heartbeat","x":"' + b"x" * 64 + b'"}', False),
        (b'{"heartbeat":"\xff"}', False),
    ],
)
def test_heartbeat_is_told_by_its_type(message, is_one):
    assert is_heartbeat(message) is is_one


def test_quantiles_are_read_off_the_buckets():
    histogram = Durations("delay_seconds", "x", buckets=(1.0, 2.0, 4.0), registry=CollectorRegistry())
    assert quantile(histogram, 0.5) is None
    for value in (0.5, 1.5, 1.5, 3.0):
        histogram.observe(value)
    assert [quantile(histogram, share) for share in (0.25, 0.5, 0.75, 1.0)] == [1.0, 1.5, 2.0, 4.0]
    histogram.observe(99.0)
    assert quantile(histogram, 1.0) == 4.0


def test_our_close_codes_lie_where_the_table_says():
    assert all(close.value < 3000 or 4000 <= close.value < 4500 for close in Close)
