"""The live positions of this worker: loaded at start, moved after every commit, read by feeds and `GET /api/live`."""

import asyncio
import secrets
from collections.abc import Callable, Iterable
from typing import Any, Literal

import asyncpg

from fleetwire._core import Departures, Frame, Group, LiveTable, Sealed, apply_moved, catch_up
from fleetwire.live.subscription import Filter
from fleetwire.postgres import statements
from fleetwire.postgres.pool import acquire
from fleetwire.runtime import clock
from fleetwire.settings import Settings
from fleetwire.telemetry import metrics

__all__ = ["Format", "Frame", "Live"]

Format = Literal["json", "rows", "protobuf"]

_SQL = statements.load("live/live")
_ORDER_SQL = statements.load("fleet/orders/order")
RELOAD_MARGIN_MILLIS = 60_000  # clocks of other workers may differ by so much
CATCH_UP_ROWS = 1000  # at a time; between two of them the event loop does other things
RELOAD_SECS = 60.0  # for all devices of all tenants, when the database may be another one


class Live:
    """The core's live table with an epoch: sequence numbers of another epoch mean nothing here.

    With Redis configured, it also keeps what other workers have to be told of.
    """

    def __init__(self, settings: Settings) -> None:
        self._table = LiveTable(
            moving_cmps=round(settings.feed_moving_mps * 100), offline_millis=round(settings.feed_offline_secs * 1000)
        )
        self._departures = Departures() if settings.redis_url is not None else None
        self.epoch = secrets.token_hex(8)
        self._moves: dict[int, int] = {}
        self._catch_ups = 0
        self._reading_orders = asyncio.Lock()
        self._changed_orders: set[tuple[int, str]] | None = None
        """Orders that were changed while all are being read; None at other times."""
        self._erased: set[int] = set()  # numbers are never used again; one each, for as long as the process lives

    async def warm(self, pool: asyncpg.Pool) -> None:
        """Loads every device and its stored position, and the devices of every order."""
        async with pool.acquire() as connection:
            async with connection.transaction():
                async for row in connection.cursor(_SQL["load_live"], None, prefetch=1000):
                    self._table.load(*row)
            await self._replace_orders(connection)

    async def catch_up(self, pool: asyncpg.Pool, *, since_millis: int) -> int:
        """Moves forward by what was stored since then; how many positions that were. Orders become the database's.

        Raises:
            any of PASSING: the database is away.
        """
        moved = 0
        async with acquire(pool) as connection:
            async with connection.transaction():
                cursor = await connection.cursor(_SQL["load_live"], since_millis)
                while rows := await cursor.fetch(CATCH_UP_ROWS):
                    moved += catch_up(self._table, self._living(rows))
            await self._replace_orders(connection)
        metrics.POSITIONS_MOVED.inc(moved)
        self._catch_ups += 1
        return moved

    async def is_contained(self, pool: asyncpg.Pool) -> bool:
        """Whether the database has every device that is known here, by its name, and nothing older of it."""
        # Before the reading: what moves meanwhile is newer than what is compared.
        known = {(tenant_id, device_id): rest for tenant_id, device_id, *rest in self._table.devices()}
        async with acquire(pool, limit_secs=RELOAD_SECS) as connection, connection.transaction():
            cursor = await connection.cursor(_SQL["load_live"], None)
            while rows := await cursor.fetch(CATCH_UP_ROWS):
                for row in rows:
                    name, millis = known.pop((row["tenant_id"], row["device_id"]), (None, None))
                    if name not in {None, row["name"]}:
                        return False
                    if millis is not None and (row["fixed_at_millis"] is None or row["fixed_at_millis"] < millis):
                        return False
        return all(name is None for name, _ in known.values())

    async def reload_all(self, pool: asyncpg.Pool) -> None:
        """Replaces everything by the rows of another database, and begins a new epoch."""
        async with acquire(pool, limit_secs=RELOAD_SECS) as connection:
            rows = await connection.fetch(_SQL["load_live"], None)
            # Without an await in between: nobody is shown a part.
            for tenant_id in self._table.tenants():
                self._drop(tenant_id)
            self._erased.clear()
            for row in rows:
                self._table.load(*row)
            self.renew()
            await self._replace_orders(connection)

    async def _replace_orders(self, connection: asyncpg.Connection) -> None:
        """Makes the orders those of the database: also those end that ended unseen.

        An order that is changed while this is read is read again, until nobody changes it: rows never replace what a
        message that came later says.
        """
        async with self._reading_orders:
            self._changed_orders = set()
            try:
                await self._read_orders(connection, self._changed_orders)
            finally:
                self._changed_orders = None

    async def _read_orders(self, connection: asyncpg.Connection, changed: set[tuple[int, str]]) -> None:
        rows = await connection.fetch(_ORDER_SQL["load_orders"])
        stored = {(row["tenant_id"], row["order_name"]): row["device_ids"] for row in rows}
        for tenant_id, order in self._table.groups():
            if (tenant_id, order) not in stored and (tenant_id, order) not in changed:
                self._table.set_group(tenant_id, order, [])
        for (tenant_id, order), device_ids in stored.items():
            if tenant_id not in self._erased and (tenant_id, order) not in changed:
                self._table.set_group(tenant_id, order, device_ids)
        while changed:
            tenant_id, order = changed.pop()
            rows = await connection.fetch(_ORDER_SQL["devices_of"], tenant_id, order)
            if (tenant_id, order) not in changed and tenant_id not in self._erased:
                self._table.set_group(tenant_id, order, [row["device_id"] for row in rows])

    def correct(self, tenant_id: int, rows: Iterable[asyncpg.Record]) -> int:
        """Moves forward by rows of `positions_of` that this worker may have stored; how many moved.

        Other workers are told, as after a commit.
        """
        moved = catch_up(self._table, self._living(rows), self._departures)
        self._moves[tenant_id] = self._moves.get(tenant_id, 0) + 1
        metrics.POSITIONS_MOVED.inc(moved)
        return moved

    def _living(self, rows: Iterable[asyncpg.Record]) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in rows if row["tenant_id"] not in self._erased]

    def tenants(self) -> list[int]:
        """The tenants that anything is known of."""
        return self._table.tenants()

    def erase(self, tenant_id: int) -> None:
        """Forgets a tenant that was erased, for good: what is still on its way is not taken in again."""
        self._erased.add(tenant_id)
        self._drop(tenant_id)

    async def reload(self, pool: asyncpg.Pool, tenant_id: int, *, dropped: Callable[[], object]) -> None:
        """Replaces what is known of a tenant by what the database has: devices of it were removed.

        `dropped` is called at that moment: its views are gone, and watchers need a snapshot.
        """
        began_millis = clock.now_millis()
        async with acquire(pool) as connection:
            rows = await connection.fetch(_SQL["load_live_of"], tenant_id, None)
            orders = await connection.fetch(_ORDER_SQL["load_orders_of"], tenant_id)
            self._table.forget(tenant_id)
            catch_up(self._table, self._living(rows))
            for order, device_ids in orders:
                self.set_order(tenant_id, order, device_ids)
            self._moves[tenant_id] = self._moves.get(tenant_id, 0) + 1
            dropped()
            # What was committed between the read and the replacement moved only what is no more.
            rows = await connection.fetch(_SQL["load_live_of"], tenant_id, began_millis - RELOAD_MARGIN_MILLIS)
            metrics.POSITIONS_MOVED.inc(catch_up(self._table, self._living(rows)))

    def _drop(self, tenant_id: int) -> None:
        self._table.forget(tenant_id)
        self._moves.pop(tenant_id, None)
        if self._departures is not None:
            self._departures.forget(tenant_id)

    def renew(self) -> None:
        """Begins a new epoch: watchers may have missed something and start again from a snapshot."""
        self.epoch = secrets.token_hex(8)

    def departed(self) -> list[tuple[int, bytes]]:
        """What moved by this worker's commits since the last call: (tenant_id, packed message)."""
        return [] if self._departures is None else self._departures.take()

    def arrive(self, tenant_id: int, message: bytes) -> int:
        """Moves positions by what another worker packed; how many.

        Raises:
            ValueError: the message cannot be read.
        """
        if tenant_id in self._erased:
            return 0
        moved = apply_moved(self._table, tenant_id, message)
        self._moves[tenant_id] = self._moves.get(tenant_id, 0) + 1
        metrics.POSITIONS_MOVED.inc(moved)
        return moved

    def meet(self, tenant_id: int, device_id: int, name: str) -> None:
        """Makes a device known that has no position yet."""
        if tenant_id in self._erased:
            return
        if self._departures is not None:
            self._departures.meet(tenant_id, device_id, name)
        self._table.load(tenant_id, device_id, name, None, None, None, None, None, None, None, None)

    def advance(self, sealed: Sealed) -> None:
        """Moves positions forward after a commit; a late fix moves nothing."""
        if self._departures is not None:
            self._departures.record(sealed)
        metrics.POSITIONS_MOVED.inc(self._table.advance(sealed))
        for tenant_id in sealed.moved_tenants:
            self._moves[tenant_id] = self._moves.get(tenant_id, 0) + 1
            if tenant_id in self._erased:
                self._drop(tenant_id)

    def newest_millis(self, group: Group) -> list[int | None]:
        """Times of the newest fixes of a group's devices, as far as this worker knows them."""
        return self._table.newest_millis(group)

    def set_order(self, tenant_id: int, order: str, device_ids: Iterable[int]) -> None:
        """Says which devices work on an order, for feeds that watch it; none ends it."""
        if tenant_id in self._erased:
            return
        if self._changed_orders is not None:
            self._changed_orders.add((tenant_id, order))
        self._table.set_group(tenant_id, order, list(device_ids))

    def tick(self) -> list[int]:
        """Closes a tick: the tenants with something to tell since the last one."""
        return self._table.tick(now_millis=clock.now_millis())

    def seq(self, tenant_id: int) -> int:
        """The number of the tenant's newest tick."""
        return self._table.seq(tenant_id)

    def watch(self, tenant_id: int, wanted: Filter) -> int:
        """The view of a filter, with one watcher more; to be given back by `release`."""
        return self._table.watch(
            tenant_id,
            area=wanted.area_e7,
            devices=wanted.devices,
            statuses=wanted.statuses,
            groups=wanted.orders,
            now_millis=clock.now_millis(),
        )

    def release(self, tenant_id: int, view: int) -> None:
        """One watcher of a view less."""
        self._table.release(tenant_id, view)

    def is_exact(self, tenant_id: int, view: int, *, since_seq: int) -> bool:
        """Whether `moved` holds all that differs since then; a watcher of which it does not needs a snapshot."""
        return self._table.is_exact(tenant_id, view, since_seq)

    def snapshot(self, tenant_id: int, view: int, *, form: Format, tag: str) -> Frame:
        """All positions of a view as a frame of the epoch with this tag. `seq` is its number afterwards."""
        epoch = self.epoch + tag
        return self._table.snapshot(tenant_id, view, format=form, epoch=epoch, now_millis=clock.now_millis())

    def moved(self, tenant_id: int, view: int, *, form: Format, since_seq: int) -> Frame | None:
        """What changed in a view after `since_seq` as a frame; None if nothing did."""
        return self._table.moved(tenant_id, view, format=form, since_seq=since_seq)

    def count_frames(self) -> tuple[int, int]:
        """Frames that were rendered, and those that were handed out again, since the start."""
        return self._table.frames_made()

    def version(self, tenant_id: int) -> str:
        """Names the present state of a tenant's positions: another one once anything has moved.

        Whatever else moves positions must count as well.
        """
        moves = self._moves.get(tenant_id, 0)
        return f"{self.epoch}-{self._table.seq(tenant_id)}-{self._catch_ups}-{moves}"

    def geojson(self, tenant_id: int) -> bytes:
        """All positions of a tenant as GeoJSON."""
        return self._table.geojson(tenant_id)

    def __len__(self) -> int:
        return len(self._table)
