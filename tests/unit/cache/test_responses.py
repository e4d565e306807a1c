"""The cache without a server: who waits for whom, and what a write does to an answer that is being made."""

import asyncio

import pytest

from fleetwire.cache.entry import RenderedAnswer
from fleetwire.cache.responses import MAX_FLIGHTS, ResponseCache
from fleetwire.cache.rules import Cached, CacheRule
from fleetwire.errors import Overloaded
from fleetwire.redis.signing import RedisSigner
from fleetwire.runtime import clock
from fleetwire.settings import Settings

RULE = CacheRule(Cached(secs=10, stale_secs=20, scope="everyone", tags=("thing",)), None)
KEY = b"key"


@pytest.fixture
def now(monkeypatch):
    """A clock that the test moves."""
    moment = [1_000.0]
    monkeypatch.setattr(clock, "monotonic_secs", lambda: moment[0])
    return moment


@pytest.fixture
async def responses():
    opened = ResponseCache(Settings(cache_entries=10, cache_bytes=100_000), RedisSigner())
    yield opened
    await opened.stop()


class Handler:
    """Answers when it is let, and counts."""

    def __init__(self, *, status=200, headers=()):
        self.calls = 0
        self.may_go = asyncio.Event()
        self.may_go.set()
        self.status, self.headers = status, list(headers)

    async def __call__(self):
        self.calls += 1
        body = b"body %d" % self.calls
        await self.may_go.wait()
        return RenderedAnswer(self.status, self.headers, body)


async def ask(responses, handler, *, key=KEY, version=None, rule=RULE, is_exact=False):
    entry, state = await responses.answer(rule, None, key, version, handler, is_exact=is_exact)
    return entry.answer.body, state


async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


async def test_life_of_an_answer(responses, now):
    handler = Handler()
    assert await ask(responses, handler) == (b"body 1", "MISS")
    now[0] += 9.9
    assert await ask(responses, handler) == (b"body 1", "HIT")
    now[0] += 0.2
    handler.may_go.clear()
    assert await ask(responses, handler) == (b"body 1", "STALE")
    assert await ask(responses, handler) == (b"body 1", "STALE")
    handler.may_go.set()
    await settle()
    assert handler.calls == 2
    assert await ask(responses, handler) == (b"body 2", "HIT")
    now[0] += 31
    assert await ask(responses, handler) == (b"body 3", "MISS")


async def test_many_first_readers_wait_for_one(responses):
    handler = Handler()
    handler.may_go.clear()
    readers = [asyncio.ensure_future(ask(responses, handler)) for _ in range(1_000)]
    await settle()
    readers[0].cancel()  # Whoever began it may go away.
    handler.may_go.set()
    answers = await asyncio.gather(*readers[1:])
    assert (set(answers), handler.calls) == ({(b"body 1", "MISS")}, 1)
    assert len(responses.flights) == 0


async def test_write_outdates_what_is_kept_and_what_is_being_made(responses):
    handler, told = Handler(), []
    responses.on_invalidated = lambda *what: told.append(what)
    await ask(responses, handler)
    responses.invalidate(0, "other")
    responses.invalidate(7, "thing")
    assert (await ask(responses, handler))[1] == "HIT"
    responses.invalidate(0, "thing")
    handler.may_go.clear()
    before = asyncio.ensure_future(ask(responses, handler))
    await settle()
    responses.hear(0, "thing")
    after = asyncio.ensure_future(ask(responses, handler))
    await settle()
    handler.may_go.set()
    assert [await before, await after] == [(b"body 2", "MISS"), (b"body 3", "MISS")]
    assert await ask(responses, handler) == (b"body 3", "HIT")
    assert told == [(0, "other"), (7, "thing"), (0, "thing")]


async def test_a_gap_in_the_hearing_leaves_nothing(responses):
    handler = Handler()
    await ask(responses, handler)
    responses.forget()
    assert len(responses) == 0
    assert await ask(responses, handler) == (b"body 2", "MISS")


async def test_who_wants_the_present_state_is_given_no_past_one(responses):
    handler = Handler()
    handler.may_go.clear()
    old = asyncio.ensure_future(ask(responses, handler, version="1", is_exact=True))
    await settle()
    new = asyncio.ensure_future(ask(responses, handler, version="2", is_exact=True))
    await settle()
    handler.may_go.set()
    assert [(await old)[0], (await new)[0]] == [b"body 1", b"body 2"]
    assert await ask(responses, handler, version="2", is_exact=True) == (b"body 2", "HIT")
    assert await ask(responses, handler, version="3", is_exact=True) == (b"body 3", "MISS")


async def test_a_past_state_is_served_as_long_as_declared_and_the_present_one_longer(responses, now):
    rule = CacheRule(Cached(secs=1, stale_secs=2, unchanged_secs=60, version=lambda _, __: "", scope="everyone"), None)
    handler = Handler()
    assert await ask(responses, handler, version="1", rule=rule) == (b"body 1", "MISS")
    now[0] += 50
    assert await ask(responses, handler, version="1", rule=rule) == (b"body 1", "HIT")
    assert await ask(responses, handler, version="2", rule=rule) == (b"body 2", "MISS")
    now[0] += 0.9
    assert await ask(responses, handler, version="3", rule=rule) == (b"body 2", "HIT")
    now[0] += 2
    handler.may_go.clear()
    for version in ("3", "4"):
        assert await ask(responses, handler, version=version, rule=rule) == (b"body 2", "STALE")
    handler.may_go.set()
    await settle()
    assert handler.calls == 3  # One for both who found it old.
    now[0] += 3.1
    assert await ask(responses, handler, version="5", rule=rule) == (b"body 4", "MISS")
    now[0] += 61
    assert await ask(responses, handler, version="5", rule=rule) == (b"body 5", "MISS")


@pytest.mark.parametrize("wrong", [{"status": 503}, {"status": 404}, {"headers": [(b"set-cookie", b"a=b")]}])
async def test_what_is_no_plain_success_is_not_kept(responses, wrong):
    handler = Handler(**wrong)
    assert [(await ask(responses, handler))[1] for _ in range(2)] == ["MISS", "MISS"]
    assert len(responses) == 0


async def test_a_failure_leaves_the_stale_answer(responses, now):
    handler = Handler()
    await ask(responses, handler)
    now[0] += 15
    handler.status = 503
    for _ in range(3):
        assert await ask(responses, handler) == (b"body 1", "STALE")
        await settle()
    assert handler.calls == 4


async def test_first_readers_of_too_many_things_are_refused(responses):
    handler = Handler()
    handler.may_go.clear()
    waiting = [asyncio.ensure_future(ask(responses, handler, key=b"%d" % n)) for n in range(MAX_FLIGHTS)]
    await settle()
    with pytest.raises(Overloaded) as refusal:
        await ask(responses, handler)
    assert (refusal.value.code, refusal.value.status, responses.flights.refused) == ("cache_busy", 503, 1)
    handler.may_go.set()
    await asyncio.gather(*waiting)
    assert (await ask(responses, handler))[1] == "MISS"
    assert len(responses) == 10  # FLEETWIRE_CACHE_ENTRIES


async def test_a_handler_that_takes_too_long_is_not_waited_for(monkeypatch):
    monkeypatch.setattr("fleetwire.cache.responses.WAIT_SECS", 0.01)
    responses = ResponseCache(Settings(cache_entries=10, cache_bytes=100_000), RedisSigner())
    handler = Handler()
    handler.may_go.clear()
    with pytest.raises(Overloaded, match="cache_busy"):
        await ask(responses, handler)
    handler.may_go.set()
    await settle()
    assert (await ask(responses, handler))[1] == "HIT"
