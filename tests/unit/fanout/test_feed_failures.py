"""A socket whose feed fails is closed with a code that says so: left open it would look like a fleet at rest."""

import asyncio
from types import SimpleNamespace

import asyncpg
import pytest

from fleetwire.fanout.events import event_session
from fleetwire.fanout.events.event_session import EventSession
from fleetwire.fanout.feed.dispatch_socket import DispatchSocket
from fleetwire.fanout.sockets.close_codes import Close


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
    settings = SimpleNamespace(event_window=1, event_ack_secs=1)
    talk = EventSession(SimpleNamespace(tail=tail), socket, SimpleNamespace(), settings)
    async with asyncio.timeout(5):
        await talk._join_first(["*"])
    assert socket.closed_with is Close.INTERNAL


@pytest.mark.parametrize("error", [KeyError, asyncpg.InternalServerError, asyncpg.UndefinedTableError])
async def test_a_driver_whose_orders_could_not_be_read_leaves_the_room_of_a_lost_one(monkeypatch, error):
    """Whatever the error is: taken for sure, the driver would go on to be told of an order that is another's."""
    readings = []

    async def orders_heard(*_):
        readings.append(True)
        if len(readings) < 3:
            raise error
        return {"kept"}

    monkeypatch.setattr(event_session, "orders_heard", orders_heard)
    socket = Socket()
    socket.principal.may = lambda _: False
    settings = SimpleNamespace(event_window=1, event_ack_secs=1)
    talk = EventSession(SimpleNamespace(), socket, SimpleNamespace(), settings)
    talk._tail = SimpleNamespace(leave=lambda _: None, enter=lambda _: None)
    talk._feed.rooms = ["order:kept", "order:lost"]
    talk._doubt()
    async with asyncio.timeout(10):
        await talk._checking
    assert (len(readings), talk._feed.rooms) == (3, ["order:kept"])
