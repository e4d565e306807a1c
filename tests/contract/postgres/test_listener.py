"""One connection hears for everybody, and everybody is told when it was made anew."""

import asyncio

import pytest

from fleetwire.postgres.listener import APPLICATION_NAME, Listener

LISTENERS = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1"


class Subscriber:
    """Keeps what it is told."""

    def __init__(self, listener, channel):
        self.told = []
        listener.on(channel, heard=self.told.append, connected=lambda: self.told.append("connected"))


@pytest.fixture
async def listener(database):
    made = Listener(database)
    yield made
    await made.stop()


async def until(holds):
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.01)


async def test_one_connection_hands_out_what_it_hears_by_channel(owner, listener):
    first, second, same = (Subscriber(listener, channel) for channel in ("first", "second", "first"))
    await listener.start()
    for channel, payload in (("first", "1"), ("second", "2"), ("other", "3"), ("first", "4")):
        await owner.execute("SELECT pg_notify($1, $2)", channel, payload)
    await until(lambda: len(first.told) == 3)
    assert first.told == same.told == ["connected", "1", "4"]
    assert second.told == ["connected", "2"]
    assert await owner.fetchval(f"SELECT count(*) {LISTENERS}", APPLICATION_NAME) == 1


async def test_every_subscriber_is_told_when_the_connection_was_made_anew(owner, listener):
    subscribers = [Subscriber(listener, channel) for channel in ("first", "second")]
    await listener.start()
    assert await owner.fetchval(f"SELECT bool_and(pg_terminate_backend(pid)) {LISTENERS}", APPLICATION_NAME)
    await until(lambda: all(each.told == ["connected"] * 2 for each in subscribers))
    await owner.execute("SELECT pg_notify('second', 'again')")
    await until(lambda: subscribers[1].told[2:] == ["again"])
    assert subscribers[0].told[2:] == []


async def test_a_subscriber_that_fails_leaves_the_others_hearing(owner, listener):
    def fails(*_):
        raise RuntimeError("not today")

    listener.on("first", heard=fails, connected=fails)
    other = Subscriber(listener, "first")
    await listener.start()
    for payload in ("1", "2"):
        await owner.execute("SELECT pg_notify('first', $1)", payload)
    await until(lambda: other.told == ["connected", "1", "2"])
    assert listener.connections == 1


async def test_without_a_database_it_goes_on_trying_in_the_background(tmp_path):
    listener = Listener(f"postgresql:///none?host={tmp_path}&user=nobody")
    listener.on("first", heard=pytest.fail, connected=lambda: pytest.fail("There is no database."))
    await listener.start(wait_secs=0.3)
    assert not listener.is_listening
    assert not listener._task.is_dead
    await listener.stop()
