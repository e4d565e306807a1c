"""A watcher's outbox on a real live table, without a socket: what it says next, and when it begins anew."""

import asyncio
import json

import pytest

from fleetwire._core import Decoder, Group, Recent, RowTypes
from fleetwire.errors import Problem
from fleetwire.fanout.feed.feed_cursor import FeedCursor
from fleetwire.fanout.feed.send_budget import SendBudget
from fleetwire.live.state import Live
from fleetwire.live.subscription import WHOLE, Filter, Resume, Watch, read_wish
from fleetwire.runtime.clock import now_millis
from fleetwire.settings import Settings

TENANT_ID = 7
NOWHERE = RowTypes(track_segment=0, moved_position=0, packed_int4=0)  # of rows that are not written
MUNICH = {"area": [11, 48, 12, 49]}


@pytest.fixture
def live():
    live = Live(Settings())
    for device_id in range(3):
        live.meet(TENANT_ID, device_id, f"van-{device_id}")
    return live


def move(live, device_id, millis, longitude=11.5):
    fix = {"timestamp": now_millis() - 10_000 + millis, "latitude": 48.5, "longitude": longitude}
    batch = Decoder(max_fixes=1, future_millis=0).json(
        json.dumps(fix).encode(), now_millis=now_millis(), earliest_millis=0
    )
    group = Group([(TENANT_ID, device_id, batch)])
    live.advance(
        group.seal(
            last_fixed_millis=[None],
            stored=[],
            recent=Recent(max_fixes=0),
            received_at_millis=now_millis(),
            row_types=NOWHERE,
        )
    )


def opened(live, **members):
    outbox = FeedCursor(live, TENANT_ID, form="json", turns=SendBudget())
    outbox.ask(*read_wish(json.dumps({"type": "watch", **members}).encode()))
    return outbox


async def told(outbox):
    async with asyncio.timeout(10):
        return [json.loads(message) for message in await outbox.next_messages()]


async def silent(outbox):
    waiting = asyncio.ensure_future(outbox.next_messages())
    await asyncio.sleep(0.05)
    assert not waiting.done()
    waiting.cancel()


def names(message):
    return [position["device"] for position in message["positions"]]


async def test_an_outbox_that_is_woken_says_what_moved_and_nothing_twice(live):
    outbox = opened(live)
    assert [message["type"] for message in await told(outbox)] == ["snapshot"]
    move(live, 1, 1)
    move(live, 2, 1)
    live.tick()
    outbox.wake()
    outbox.wake()
    (moved,) = await told(outbox)
    assert names(moved) == ["van-1", "van-2"]
    outbox.wake()
    await silent(outbox)


async def test_a_new_epoch_of_the_table_is_a_resync_for_every_feed(live):
    outboxes = [opened(live), opened(live, **MUNICH)]
    for outbox in outboxes:
        await told(outbox)
    live.epoch = "another"
    for outbox in outboxes:
        outbox.wake()
        resync, snapshot = await told(outbox)
        assert (resync["type"], snapshot["type"]) == ("resync", "snapshot")
        assert resync["epoch"] == snapshot["epoch"]
        assert resync["epoch"].startswith("another")


async def test_a_feed_that_stood_still_for_longer_than_a_view_remembers_begins_anew(live):
    outbox = opened(live, **MUNICH)
    move(live, 1, 1)
    await told(outbox)
    move(live, 1, 2, longitude=20)
    for step in range(600):
        move(live, 2, step)
        live.tick()
    outbox.wake()
    resync, snapshot = await told(outbox)
    assert (resync["type"], names(snapshot)) == ("resync", ["van-2"])


async def test_a_feed_that_said_nothing_for_long_says_that_it_lives(live):
    outbox = opened(live)
    await told(outbox)
    outbox.beat(silent_since_secs=0)
    await silent(outbox)
    outbox.beat(silent_since_secs=float("inf"))
    assert await told(outbox) == [{"type": "heartbeat"}]


async def test_the_newest_of_several_wishes_counts_and_the_default_only_without_one(live):
    move(live, 1, 1)
    outbox = opened(live)
    outbox.ask(Watch(), Filter(devices=("van-2",)))
    assert names((await told(outbox))[0]) == []
    outbox.has_spoken = True
    outbox.ask_unless_spoken()
    await silent(outbox)


async def test_a_wish_for_the_same_in_other_words_is_the_same(live):
    wishes = [
        {"status": "moving", "devices": ["b", "a", "a"], "area": [1, 2, 3, 4]},
        {"status": ["moving", "moving"], "devices": ["a", "b"], "area": [1.0, 2.0, 3.0, 4.00000000001]},
    ]
    one, other = (read_wish(json.dumps({"type": "watch", **wish}).encode())[1] for wish in wishes)
    assert one == other
    assert one.tag == other.tag != ""
    assert WHOLE.tag == ""
    assert live.watch(TENANT_ID, one) == live.watch(TENANT_ID, other)


def test_a_resume_without_a_filter_is_one_of_everything():
    wish, wanted = read_wish(b'{"type":"resume","epoch":"e","seq":-1}')
    assert (isinstance(wish, Resume), wanted) == (True, WHOLE)
    with pytest.raises(Problem, match="watch or resume"):
        read_wish(b'{"type":"dance"}')
