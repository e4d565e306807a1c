"""The line of watchers: how many are sent a frame at once, in which order, and what becomes of slow ones."""

import asyncio

import pytest

from fleetwire.fanout.feed import send_budget as line
from fleetwire.fanout.feed.send_budget import AT_ONCE_BYTES, LEAST_BYTES, MOST_BYTES, OVERTAKEN_BY, SendBudget, SendSlot

AT_ONCE = AT_ONCE_BYTES // MOST_BYTES
"""Watchers of large frames."""


@pytest.fixture
def begun():
    """Numbers of the watchers in the order of their turns."""
    return []


@pytest.fixture
async def queue(begun):
    """Makes watchers that ask, and hold their turn until they are told that it is over."""
    turns, tasks = SendBudget(), []

    async def take(number, turn):
        await turn.comes(is_asked=True)
        begun.append(number)

    async def queue(count, frame_bytes=10 * MOST_BYTES):
        watchers = [SendSlot(turns) for _ in range(count)]
        for turn in watchers:
            turn.weigh(frame_bytes)
        tasks.extend(asyncio.ensure_future(take(number, turn)) for number, turn in enumerate(watchers))
        await settled()
        return watchers

    yield queue
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def settled():
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def patience(monkeypatch):
    """Turns are not ended by time within a test."""
    monkeypatch.setattr(line, "HELD_SECS", 60)


async def test_some_are_sent_at_once_and_the_others_follow_in_their_order(queue, begun, patience):
    watchers = await queue(3 * AT_ONCE)
    assert begun == list(range(AT_ONCE))
    for turn in watchers[: AT_ONCE // 2]:
        turn.end()
        turn.end()
    await settled()
    assert begun == list(range(AT_ONCE + AT_ONCE // 2))


async def test_small_frames_are_sent_to_many_at_once(queue, begun, patience):
    many = AT_ONCE_BYTES // LEAST_BYTES
    await queue(many + 1, frame_bytes=1)
    assert len(begun) == many > AT_ONCE


async def test_whoever_reads_slowly_is_overtaken_and_then_not_waited_for(queue, begun, patience):
    watchers = await queue(OVERTAKEN_BY + 3 * AT_ONCE)
    for turn in watchers[1:OVERTAKEN_BY]:
        turn.end()
        await settled()
        # All that have begun and are not over, the slow one among them.
        assert AT_ONCE // 2 < len(begun) - watchers.index(turn) <= AT_ONCE
    watchers[OVERTAKEN_BY].end()
    await settled()
    for turn in watchers[OVERTAKEN_BY + 1 : OVERTAKEN_BY + AT_ONCE]:
        turn.end()
        await settled()
    assert len(begun) >= OVERTAKEN_BY + AT_ONCE + AT_ONCE // 2
    count = len(begun)
    watchers[0].end()
    await settled()
    assert len(begun) == count


async def test_when_all_read_slowly_time_lets_the_others_go_on(queue, begun, monkeypatch):
    monkeypatch.setattr(line, "HELD_SECS", 0.01)
    await queue(2 * AT_ONCE)
    async with asyncio.timeout(20):
        while len(begun) < 2 * AT_ONCE:
            await asyncio.sleep(0.01)


async def test_a_watcher_that_went_away_is_passed_over(queue, patience):
    held = await queue(AT_ONCE)
    turns = held[0]._turns
    gone, next_one = SendSlot(turns), SendSlot(turns)
    leaving = asyncio.ensure_future(gone.comes(is_asked=True))
    staying = asyncio.ensure_future(next_one.comes(is_asked=False))
    await settled()
    next_one.ask()
    next_one.ask()
    leaving.cancel()
    await settled()
    assert not staying.done()
    for turn in held:
        turn.end()
    await asyncio.wait_for(staying, 20)
