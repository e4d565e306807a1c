"""A socket whose feed fails is closed with a code that says so: left open it would look like a fleet at rest."""

import asyncio
from types import SimpleNamespace

from fleetwire.fanout.close_codes import Close
from fleetwire.fanout.event_talk import EventTalk
from fleetwire.fanout.watch import DispatchSocket


class Socket:
    """What is needed of one; keeps the code that it was closed with."""

    def __init__(self):
        self.closed_with = None
        self.principal = SimpleNamespace(tenant_id=1, may=lambda _: True)

    def dismiss(self, code):
        self.closed_with = code


async def test_a_watcher_whose_frames_cannot_be_made_is_closed():
    async def next_messages():
        raise MemoryError

    socket = Socket()
    await DispatchSocket._feed(SimpleNamespace(), socket, SimpleNamespace(next_messages=next_messages))
    assert socket.closed_with is Close.INTERNAL


async def test_a_watcher_whose_rooms_cannot_be_joined_is_closed():
    def tail(_):
        raise KeyError

    socket = Socket()
    talk = EventTalk(SimpleNamespace(tail=tail), socket, SimpleNamespace(event_window=1, event_ack_secs=1))
    async with asyncio.timeout(5):
        await talk._join_first(["*"])
    assert socket.closed_with is Close.INTERNAL
