"""When something may be missing: numbers that were skipped, a worker that was away, one that was there before."""

import pytest

from fleetwire.live.relay.peers import LOST_SECS, Peers

HERE, THERE = b"worker-1", b"worker-2"


def hear(peers, *messages):
    """(worker, epoch, channel, seq) each; what may be missing before the last of them."""
    *before, last = messages
    for message in before:
        peers.hear(*message, now_secs=0.0)
    return peers.hear(*last, now_secs=0.0)


@pytest.mark.parametrize(
    ("messages", "missing"),
    [
        ([(HERE, 1, "a", 0)], None),
        ([(HERE, 1, "a", 3)], "unknown"),
        ([(HERE, 2, "a", 0)], "unknown"),
        ([(HERE, 1, "a", 0), (HERE, 1, "a", 1)], None),
        ([(HERE, 1, "a", 0), (HERE, 1, "a", 2)], "gap"),
        ([(HERE, 1, "a", 0), (HERE, 1, "a", 0)], None),
        ([(HERE, 1, "a", 5), (HERE, 1, "b", 9)], None),
        ([(HERE, 1, "a", 5), (HERE, 1, "b", 9), (HERE, 1, "b", 11)], "gap"),
        ([(HERE, 1, "a", 5), (HERE, 2, "a", 0)], "away"),
        ([(HERE, 2, "a", 0), (HERE, 1, "a", 9)], None),
        ([(HERE, 2, "a", 0), (HERE, 1, "a", 9), (HERE, 2, "a", 1)], None),
        ([(HERE, 1, "a", 0), (THERE, 1, "a", 0), (HERE, 1, "a", 1)], None),
    ],
)
def test_what_may_be_missing(messages, missing):
    assert hear(Peers(), *messages) == missing


def test_a_gap_is_told_once():
    peers = Peers()
    assert hear(peers, (HERE, 1, "a", 0), (HERE, 1, "a", 2)) == "gap"
    assert hear(peers, (HERE, 1, "a", 3)) is None


def test_a_silent_worker_is_lost_once_and_one_that_left_never():
    peers = Peers()
    peers.hear(HERE, 1, "a", 0, now_secs=0.0)
    peers.hear(THERE, 1, "a", 0, now_secs=0.0)
    assert peers.lose(now_secs=LOST_SECS) == 0
    peers.leave(THERE)
    assert [peers.lose(now_secs=LOST_SECS + 0.1), peers.lose(now_secs=LOST_SECS + 0.1)] == [1, 0]
    assert len(peers) == 0
