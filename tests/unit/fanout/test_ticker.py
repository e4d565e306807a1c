"""Ticks of different workers fall together, and what comes late does not wait for the next one."""

import asyncio
import time

from fleetwire.live.ticker import Ticker
from fleetwire.runtime import clock

TICK_MILLIS = 200
SETTLE_MILLIS = 20


def off_beat(settle_millis):
    """How far past the tick's moment it is."""
    return (clock.now_millis() - settle_millis) % TICK_MILLIS


async def test_beats_fall_on_multiples_of_the_tick_and_none_comes_twice():
    rhythm = Ticker(tick_millis=TICK_MILLIS, settle_millis=SETTLE_MILLIS)
    beats = []
    for _ in range(6):
        await rhythm.beat()
        beats.append(round((clock.now_millis() - SETTLE_MILLIS) / TICK_MILLIS))
        # On a busy machine late, and never early.
        assert off_beat(SETTLE_MILLIS) < TICK_MILLIS - 2
    assert beats == sorted(set(beats))


async def test_a_hastened_beat_comes_after_the_settling_time():
    rhythm = Ticker(tick_millis=60_000, settle_millis=SETTLE_MILLIS)
    beating = asyncio.ensure_future(rhythm.beat())
    await asyncio.sleep(0)
    began = time.monotonic()
    rhythm.hasten()
    await asyncio.wait_for(beating, 20)
    assert time.monotonic() - began >= SETTLE_MILLIS / 1000 * 0.9
    # Only once.
    beating = asyncio.ensure_future(rhythm.beat())
    done, _ = await asyncio.wait({beating}, timeout=0.2)
    assert not done
    beating.cancel()
