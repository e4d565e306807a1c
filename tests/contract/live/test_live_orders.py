"""The orders of feeds become those of the database after a gap, whatever is changed while they are read."""

import asyncio

import pytest

from fleetwire.fleet.orders import store
from fleetwire.live.state import Live
from fleetwire.postgres.pool import open_pool
from fleetwire.settings import Settings


@pytest.fixture
async def pool(database):
    async with await open_pool(database, "fleetwire_ingest", 1, 2) as opened:
        yield opened


@pytest.fixture
async def app_pool(database):
    async with await open_pool(database, "fleetwire_app", 1, 2) as opened:
        yield opened


def groups(live):
    return sorted(live._table.groups())


async def test_an_order_that_ended_unseen_leaves_the_feeds(pool, app_pool, acme):
    live = Live(Settings())
    for order in ("order 1", "order 2"):
        await store.set_devices(app_pool, acme.tenant_id, order, ["truck-1"], on_stored=lambda _: None)
    await live.warm(pool)
    assert groups(live) == [(acme.tenant_id, "order 1"), (acme.tenant_id, "order 2")]
    await store.set_devices(app_pool, acme.tenant_id, "order 1", [], on_stored=lambda _: None)
    await store.set_devices(app_pool, acme.tenant_id, "order 3", ["truck-2"], on_stored=lambda _: None)
    await live.catch_up(pool, since_millis=0)
    assert groups(live) == [(acme.tenant_id, "order 2"), (acme.tenant_id, "order 3")]


class Slow:
    """A connection that answers the first query only after something else has happened."""

    def __init__(self, connection, between):
        self._connection, self._between = connection, between

    async def fetch(self, *arguments):
        rows = await self._connection.fetch(*arguments)
        between, self._between = self._between, None
        if between is not None:
            await between()
        return rows


@pytest.mark.parametrize("order", ["order 1", "order 2"])
async def test_older_rows_do_not_replace_what_a_message_says_meanwhile(pool, app_pool, acme, order):
    live = Live(Settings())
    await store.set_devices(app_pool, acme.tenant_id, "order 1", ["truck-1"], on_stored=lambda _: None)

    async def change():
        devices = [] if order == "order 1" else ["truck-2"]
        await store.set_devices(
            app_pool, acme.tenant_id, order, devices, on_stored=lambda ids: live.set_order(acme.tenant_id, order, ids)
        )

    async with asyncio.timeout(10), pool.acquire() as connection:
        await live._replace_orders(Slow(connection, change))
    expected = [] if order == "order 1" else [(acme.tenant_id, "order 1"), (acme.tenant_id, "order 2")]
    assert groups(live) == expected
