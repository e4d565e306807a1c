"""An event from a client: checked against its credential, committed, and only then told to watchers."""

from typing import Final

from fleetwire.access.identity.principal import Principal
from fleetwire.errors import DatabaseAway, Problem
from fleetwire.fanout.events import event_log, rooms
from fleetwire.fanout.events.event_hub import EventHub
from fleetwire.fanout.events.event_kinds import check_kind
from fleetwire.fanout.events.event_messages import Publish
from fleetwire.fleet.orders.store import orders_of
from fleetwire.postgres.pool import tenant_transaction
from fleetwire.postgres.transient_errors import TRANSIENT
from fleetwire.runtime import clock
from fleetwire.telemetry import metrics

EARLIEST_MILLIS: Final = 946_684_800_000  # the year 2000, as for fixes


async def publish(hub: EventHub, principal: Principal, message: Publish, *, future_secs: int) -> event_log.StoredEvent:
    """Stores what a client says and wakes its watchers.

    Raises:
        Problem: 400 `room_invalid`, `event_kind`, `event_payload`, `time_invalid`; 403 `forbidden`, `room_forbidden`,
            `kind_forbidden`.
        DatabaseAway: nothing is known of the event; by its `client_id` it can be sent again.
    """
    principal.require("events")
    rooms.check_names([message.room])
    check_kind(message.kind)
    _check_time(message.occurred_at, future_secs)
    try:
        orders = await orders_heard(hub, principal, [message.room])
        rooms.check_says(principal, message.room, message.kind, orders)
        async with tenant_transaction(hub.pool, principal.tenant_id) as connection:
            stored = await event_log.publish(
                connection,
                principal.tenant_id,
                room=message.room,
                kind=message.kind,
                payload=bytes(message.payload),
                actor=rooms.actor(principal),
                occurred_millis=message.occurred_at,
                client_id=message.client_id,
            )
    except TRANSIENT as error:
        raise DatabaseAway from error
    metrics.EVENTS_PUBLISHED.labels(message.kind, "stored" if stored.is_new else "known").inc()
    if stored.order is not None:
        hub.ordered(principal.tenant_id, *stored.order)
    hub.announce(principal.tenant_id, stored.seq)
    return stored


async def orders_heard(hub: EventHub, principal: Principal, names: list[str]) -> frozenset[str]:
    """The asker's orders, looked up only where a room of an order is named by somebody who may not hear all."""
    own = rooms.own_room(principal)
    if own is None or not any(name.startswith("order:") for name in names):
        return frozenset()
    return await orders_of(hub.pool, principal.tenant_id, own.removeprefix("driver:"))


def _check_time(occurred_millis: int | None, future_secs: int) -> None:
    latest_millis = clock.now_millis() + future_secs * 1000
    if occurred_millis is not None and not EARLIEST_MILLIS <= occurred_millis <= latest_millis:
        raise Problem(
            "time_invalid", "occurred_at is before the year 2000 or too far ahead of the server's clock.", status=400
        )
