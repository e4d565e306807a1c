"""The event log of a tenant: append within a transaction, read page by page.

publish: lock the counter, known client_id? -> append -> notify at the commit
read:    after a number, in the order of the numbers, which is the order of the commits
"""

from typing import Final, NamedTuple

import asyncpg
import msgspec

from fleetwire.fanout.events import event_kinds
from fleetwire.fleet.orders import store
from fleetwire.postgres import statements
from fleetwire.postgres.pool import tenant_transaction
from fleetwire.runtime import clock

CHANNEL: Final = "fleetwire_event"
PAGE_ROWS: Final = 200

_SQL = statements.load("fanout/events/event")


class Order(NamedTuple):
    """An order and the devices that work on it."""

    name: str
    device_ids: list[int]


class StoredEvent(NamedTuple):
    """What became of a published event."""

    seq: int
    recorded_millis: int
    is_new: bool
    """Whether this call stored it; False where the actor's `client_id` was known."""
    order: Order | None = None
    """The order that has other devices by this event."""


class Event(msgspec.Struct, frozen=True, tag_field="type", tag="event"):
    """An event as watchers get it. Times are ms since 1970."""

    seq: int
    room: str
    kind: str
    payload: msgspec.Raw
    actor: str
    occurred_at: int
    recorded_at: int


class EventSpan(NamedTuple):
    """Which events of a tenant there are."""

    newest: int
    """0 before the first."""
    oldest: int
    """The oldest kept one; one more than the newest where none is kept."""


async def publish(
    connection: asyncpg.Connection,
    tenant_id: int,
    *,
    room: str,
    kind: str,
    payload: bytes,
    actor: str,
    occurred_millis: int | None = None,
    client_id: str | None = None,
) -> StoredEvent:
    """Appends an event within the transaction of the change that it tells of; it exists when that commits.

    An assignment in a driver's room changes the devices of its order as well.

    The transaction must see its tenant (`tenant_transaction`) and be read committed. It locks the tenant's counter to
    its end, so publish last.

    Args:
        connection: in a transaction.
        tenant_id: whose event it is.
        room: a room's name, checked by the caller.
        kind: one of `event_kinds.KINDS`.
        payload: JSON.
        actor: who did it, as watchers are told.
        occurred_millis: when it happened, in ms since 1970; None is now.
        client_id: an id by which the same actor may repeat itself without a second event.

    Raises:
        Problem: 400 `event_kind`, `event_payload`.
    """
    stored = event_kinds.check(kind, payload)
    seq: int = await connection.fetchval(_SQL["next_seq"], tenant_id)
    if client_id is not None:
        # Behind the lock: of two that come at once, the second one sees the first.
        known = await connection.fetchrow(_SQL["find_by_client_id"], tenant_id, actor, client_id)
        if known is not None:
            await connection.execute(_SQL["give_back_seq"], tenant_id)
            return StoredEvent(known["seq"], known["recorded_millis"], is_new=False)
    now_millis = clock.now_millis()
    await connection.execute(
        _SQL["append"],
        tenant_id,
        seq,
        room,
        kind,
        stored.decode(),
        actor,
        client_id,
        now_millis if occurred_millis is None else occurred_millis,
        now_millis,
    )
    await connection.execute(_SQL["notify"], CHANNEL, f"{tenant_id} {seq}")
    order = await _follow(connection, tenant_id, room, stored) if kind == "assignment" else None
    return StoredEvent(seq, now_millis, is_new=True, order=order)


async def _follow(connection: asyncpg.Connection, tenant_id: int, room: str, payload: bytes) -> Order | None:
    place, _, driver = room.partition(":")
    if place != "driver":
        return None
    assignment = msgspec.json.decode(payload, type=event_kinds.Assignment)
    device_ids = await store.follow_assignment(connection, tenant_id, assignment.order, driver, assignment.state)
    return None if device_ids is None else Order(assignment.order, device_ids)


async def page(
    pool: asyncpg.Pool, tenant_id: int, *, after_seq: int, rooms: list[str] | None, limit: int = PAGE_ROWS
) -> list[Event]:
    """Events after a number, at most `limit`; of these rooms, or of all."""
    async with tenant_transaction(pool, tenant_id) as connection:
        rows = await connection.fetch(_SQL["page"], tenant_id, after_seq, rooms, limit)
    return [
        Event(
            seq=row["seq"],
            room=row["room"],
            kind=row["kind"],
            payload=msgspec.Raw(row["payload"].encode()),
            actor=row["actor"],
            occurred_at=row["occurred_millis"],
            recorded_at=row["recorded_millis"],
        )
        for row in rows
    ]


async def span(pool: asyncpg.Pool, tenant_id: int) -> EventSpan:
    """Which events of a tenant are kept."""
    async with tenant_transaction(pool, tenant_id) as connection:
        row = await connection.fetchrow(_SQL["newest"], tenant_id)
    return EventSpan(row["newest"], row["newest"] + 1 if row["oldest"] is None else row["oldest"])
