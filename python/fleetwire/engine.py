"""The parts of one worker, put together once, started in order and stopped in the opposite one."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import asyncpg
import msgspec
import structlog

from fleetwire.access.auth import AuthServices, open_auth
from fleetwire.access.identity.authenticator import Authenticator
from fleetwire.access.limits.rate_limiter import RateLimiter
from fleetwire.cache.invalidation_bus import InvalidationBus
from fleetwire.cache.responses import ResponseCache
from fleetwire.cache.rules import WHOLE_TENANT
from fleetwire.errors import ConfigError
from fleetwire.fanout.events.event_hub import EventHub
from fleetwire.fanout.feed.dispatch_socket import DispatchSocket
from fleetwire.fanout.feed.feed_latency import FeedLatency
from fleetwire.fanout.feed.hub import Hub
from fleetwire.fanout.sockets.sockets import Sockets
from fleetwire.ingest.decode import BatchDecoder
from fleetwire.ingest.http import LocationRoute
from fleetwire.ingest.limit import IngestLimit
from fleetwire.ingest.pipeline import Pipeline
from fleetwire.ingest.spool import Spool
from fleetwire.ingest.spooling import SpoolFallback
from fleetwire.ingest.ws import DriverSocket
from fleetwire.live.in_doubt import InDoubtCommits
from fleetwire.live.relay.message import MessageKind
from fleetwire.live.state import Live
from fleetwire.live.streams import Streams
from fleetwire.live.tenant_erasure_listener import TenantErasureListener
from fleetwire.postgres.incarnation import Incarnation
from fleetwire.postgres.listener import Listener
from fleetwire.postgres.migrate import keep_up
from fleetwire.postgres.pinned_connection import PLANNER
from fleetwire.postgres.pools import Pools
from fleetwire.postgres.transient_errors import TRANSIENT
from fleetwire.redis.signing import RedisSigner
from fleetwire.runtime.retry import Backoff, RetryState, retry
from fleetwire.runtime.tasks import spawn
from fleetwire.server.worker_control import Answers
from fleetwire.settings import INGEST_CONNECTIONS, Settings
from fleetwire.store.devices import DEVICES_TAG, Devices
from fleetwire.store.group_bounds import statement_limits
from fleetwire.store.maintenance.rounds import Maintenance
from fleetwire.store.partitions import Partitions
from fleetwire.store.retention import Retention
from fleetwire.store.writer import Writer
from fleetwire.telemetry import metrics, metrics_merge
from fleetwire.telemetry.health import Health

if TYPE_CHECKING:
    from fleetwire.live.relay.relay import Relay
    from fleetwire.telemetry.tracing.tracer import Tracing

_log = structlog.get_logger(__name__)

# Of our own code: a worker that starts with one would do so again and again, and the main process shall say so.
MISTAKES = (TypeError, AttributeError, NameError, ImportError, LookupError)
# With several workers: how long after the tick's moment it is closed, so that what the others publish then is in it.
SETTLE_MILLIS = 10


class Engine:
    """One worker's parts; those without a default exist between `start` and `stop`."""

    app_pool: asyncpg.Pool
    pools: Pools
    listener: Listener
    gate: AuthServices
    devices: Devices
    doubts: InDoubtCommits
    retention: Retention
    writer: Writer
    events: EventHub
    sockets: Sockets
    location_route: LocationRoute
    driver_socket: DriverSocket
    dispatch_socket: DispatchSocket

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.health = Health()
        self.incarnation = Incarnation()
        self.live = Live(settings)
        self.relay: Relay | None = None
        self.limits = RateLimiter(settings)
        self.signer = RedisSigner()
        self.responses = ResponseCache(settings, self.signer)
        self.streams = Streams(settings)
        self.tracing = _open_tracing(settings)
        self._draining: asyncio.Task[None] | None = None
        self._exits = contextlib.AsyncExitStack()

    async def start_patiently(self) -> None:
        """As `start`, again and again while the database is away: a worker may have to be replaced just then.

        If it ended instead, the main process would take that for a loop of crashes, and end as well.

        Raises:
            ConfigError: as `start`; waiting would not help.
        """
        await retry(
            self._start_or_stop,
            name="start",
            state=RetryState("start", Backoff(first_secs=0.5, max_secs=2.0)),
            fatal=(ConfigError, *MISTAKES),
        )

    async def _start_or_stop(self) -> None:
        """As `start`, but leaves nothing half open."""
        try:
            await self.start()
        except ConfigError:
            raise
        except Exception as error:
            if isinstance(error, TRANSIENT):
                _log.warning("The worker waits for the database.", error=repr(error))
            await self.stop()
            raise

    async def start(self) -> None:
        """Opens connections, loads the present, then takes requests."""
        settings = self.settings
        if settings.database_url is None:
            raise ConfigError("FLEETWIRE_DATABASE_URL is not set: start the server with `fleetwire serve`")
        dsn = settings.database_url
        await keep_up(dsn, connect_timeout_secs=settings.connect_timeout_secs)
        self.relay = _open_relay(settings, self.signer)
        ingest_pool, writer_pool = await self._open_pools(dsn)
        self._open_gate(dsn)
        if settings.redis_url is not None:
            await self.signer.load(self.app_pool)
            self.signer.follow(self.app_pool, self.listener)
            self._exits.push_async_callback(self.signer.stop)
        self.events = EventHub(self.app_pool, self.listener, tell=self._tell_event, ordered=self.set_order)
        delay = FeedLatency()
        hub = Hub(
            self.live,
            delay,
            tick_millis=settings.feed_tick_millis,
            heartbeat_secs=settings.feed_heartbeat_secs,
            settle_millis=SETTLE_MILLIS if self.relay else 0,
        )
        await self._warm(ingest_pool, hub)
        self.devices = Devices(
            ingest_pool,
            patience_secs=settings.patience_secs,
            on_met=self.live.meet,
            on_created=self._devices_changed,
        )
        await self._follow(ingest_pool, hub)
        await self._open_writer(writer_pool, Partitions(ingest_pool), delay)
        limit = IngestLimit(self.limits)
        pipeline = await self._open_pipeline(ingest_pool, limit)
        await hub.start()
        self._exits.push_async_callback(hub.stop)
        self._exits.push_async_callback(self.events.stop)
        self._open_doors(pipeline, limit, hub)
        self._follow_incarnation(ingest_pool, hub)
        upkeep = Maintenance(dsn, settings)
        self._report(upkeep.warnings)
        upkeep.start()
        self._exits.push_async_callback(upkeep.stop)
        self.health.phase = "ready"

    async def _open_pools(self, dsn: str) -> tuple[asyncpg.Pool, asyncpg.Pool]:
        """The pools of ingest and of its committers; that of the API stays at hand for all."""
        settings = self.settings
        self.pools = Pools(
            settings,
            self._exits,
            incarnation=self.incarnation,
            on_query=None if self.tracing is None else self.tracing.query,
        )
        ingest_pool = await self.pools.open("ingest", dsn, "fleetwire_ingest", INGEST_CONNECTIONS)
        # A group is given up by then: what still holds its devices' rows is a connection that got lost on the way.
        lost = {
            "idle_in_transaction_session_timeout": str(round(settings.commit_give_up_secs * 1000)),
            **statement_limits(settings),
        }
        writer_pool = await self.pools.open(
            "writer", dsn, "fleetwire_ingest", settings.writer_connections + 1, {**PLANNER, **lost}
        )
        self.app_pool = await self.pools.open("app", dsn, "fleetwire_app", settings.app_connections)
        return ingest_pool, writer_pool

    async def _open_writer(self, pool: asyncpg.Pool, partitions: Partitions, delay: FeedLatency) -> None:
        make_writer: Callable[..., Writer] = Writer if self.tracing is None else self.tracing.writer
        self.writer = make_writer(
            pool,
            partitions=partitions,
            settings=self.settings,
            known_millis=self.live.newest_millis,
            on_stored=delay.counted_from(self.live.advance),
            on_doubt=self.doubts.look_again,
            incarnation=self.incarnation,
        )
        await self.writer.start()
        self._exits.push_async_callback(self.writer.stop, within_secs=self.settings.drain_secs)

    async def _open_pipeline(self, pool: asyncpg.Pool, limit: IngestLimit) -> Pipeline:
        settings = self.settings
        self.retention = Retention(pool, default_days=settings.retention_days, on_changed=self.writer.forget_recent)
        await self.retention.load()
        self.retention.start()
        self._exits.push_async_callback(self.retention.stop)
        decoder = BatchDecoder(settings, self.retention)
        spooling = None
        if settings.spool is not None:
            spool = Spool(settings.spool, max_bytes=settings.spool_max_bytes)
            spooling = SpoolFallback(spool, pool=pool, devices=self.devices, writer=self.writer)
            spooling.start()
            self._report(spooling.warnings)
            self._exits.push_async_callback(spooling.stop)
        self.incarnation.reload_by(self.retention.load)
        return Pipeline(
            decoder=decoder,
            limit=limit,
            devices=self.devices,
            writer=self.writer,
            spooling=spooling,
            incarnation=self.incarnation,
        )

    def _open_doors(self, pipeline: Pipeline, limit: IngestLimit, hub: Hub) -> None:
        settings, credentials = self.settings, self.gate.credentials
        self.sockets = Sockets(credentials, settings)
        self.sockets.start()
        self._exits.push_async_callback(self.sockets.stop)
        self.location_route = LocationRoute(credentials=credentials, pipeline=pipeline, limit=limit, settings=settings)
        self.driver_socket = DriverSocket(
            pipeline=pipeline, limit=limit, events=self.events, sockets=self.sockets, settings=settings
        )
        self.dispatch_socket = DispatchSocket(
            hub=hub,
            events=self.events,
            live=self.live,
            limits=self.limits,
            sockets=self.sockets,
            settings=settings,
        )

    def _report(self, warnings: Callable[[], list[str]]) -> None:
        """Adds a source of sentences to `/health` until the stop."""
        self.health.warnings.append(warnings)
        self._exits.callback(self.health.warnings.remove, warnings)

    def _follow_incarnation(self, pool: asyncpg.Pool, hub: Hub) -> None:
        """Drops what is in memory when the database turns out to be another one."""
        incarnation = self.incarnation
        for forget in (self.gate.credentials.forget, self.responses.forget, self.writer.forget_recent):
            incarnation.on_suspected(forget)
        incarnation.compare_by(lambda: self.live.is_contained(pool))
        incarnation.compare_by(self.events.is_contained)

        for drop in (
            self.devices.clear,
            self.doubts.clear,
            self.writer.forget_recent,
            self.gate.credentials.forget,
            self.responses.forget,
            self.events.reset,
            self.sockets.restart_all,
        ):
            incarnation.on_replaced(drop)

        async def reload() -> None:
            await self.pools.replace_connections()
            await self.live.reload_all(pool)
            hub.resync()

        incarnation.reload_by(reload)
        incarnation.reload_by(self.writer.reload)
        incarnation.start()
        self._exits.push_async_callback(incarnation.stop)

    async def _follow(self, pool: asyncpg.Pool, hub: Hub) -> None:
        """Keeps what is in memory in step with the database from now on."""
        self.doubts = InDoubtCommits(self.live, pool, moved=hub.hasten)
        self.doubts.start()
        self._exits.push_async_callback(self.doubts.stop)

        def forget(tenant_id: int) -> None:
            self.live.erase(tenant_id)
            hub.begin_anew(tenant_id)
            self.devices.forget(tenant_id)
            self.responses.hear(tenant_id, WHOLE_TENANT)

        async def reload(tenant_id: int) -> None:
            def dropped() -> None:
                hub.begin_anew(tenant_id)
                self.devices.forget(tenant_id)
                self.responses.hear(tenant_id, WHOLE_TENANT)

            await self.live.reload(pool, tenant_id, dropped=dropped)

        erasures = TenantErasureListener(
            self.listener,
            pool,
            known=self.live.tenants,
            erased=forget,
            outdated=self.devices.forget,
            reload=reload,
            incarnation=self.incarnation,
        )
        erasures.start()
        self._exits.push_async_callback(erasures.stop)
        await self.responses.start()
        self._exits.push_async_callback(self.responses.stop)
        notices = InvalidationBus(self.app_pool, self.listener, self.responses)
        notices.start()
        self._exits.push_async_callback(notices.stop)
        self._exits.push_async_callback(self.listener.stop)
        await self.listener.start()

    async def _warm(self, pool: asyncpg.Pool, hub: Hub) -> None:
        """Loads the present; with other workers, without a gap to what they tell from then on."""
        if self.relay is None:
            await self.live.warm(pool)
            return
        from fleetwire.live.live_sync import LiveSync

        self.relay.on(MessageKind.REVOKED, lambda _, key: self.gate.credentials.revoke(key.decode()))
        self.relay.on(MessageKind.ORDER, self._hear_order)
        self.relay.on(MessageKind.EVENT, lambda tenant_id, seq: self.events.wake(tenant_id, int.from_bytes(seq, "big")))
        self.relay.on_missed(lambda _since_millis, _why: self.events.wake_all())
        movements = LiveSync(
            self.live, self.relay, tick_millis=self.settings.feed_tick_millis, moved=hub.hasten, renewed=hub.resync
        )
        self._exits.push_async_callback(movements.stop)
        await movements.start(pool)

    def _tell_revoked(self, key: str) -> None:
        if self.relay is not None:
            self.relay.publish(MessageKind.REVOKED, 0, key.encode())

    def set_order(self, tenant_id: int, order: str, device_ids: list[int]) -> None:
        """Says, here and to the other workers, which devices work on an order."""
        self.live.set_order(tenant_id, order, device_ids)
        if self.relay is not None:
            self.relay.publish(MessageKind.ORDER, tenant_id, msgspec.msgpack.encode((order, device_ids)))

    def _hear_order(self, tenant_id: int, payload: bytes) -> None:
        order, device_ids = msgspec.msgpack.decode(payload, type=tuple[str, list[int]])
        self.live.set_order(tenant_id, order, device_ids)

    def _tell_event(self, tenant_id: int, seq: int) -> None:
        if self.relay is not None:
            self.relay.publish(MessageKind.EVENT, tenant_id, seq.to_bytes(8, "big"))

    def _devices_changed(self, tenant_id: int) -> None:
        self.responses.invalidate(tenant_id, DEVICES_TAG)

    def answers(self) -> Answers:
        """What this worker is asked in person."""
        return {b"state": self._state, b"metrics": self.packed_metrics}

    def _state(self) -> bytes:
        return self.health.phase.encode()

    def packed_metrics(self) -> bytes:
        """This worker's counters, for whichever worker is asked for those of all."""
        if self.health.phase != "starting":
            metrics.INTAKE_BATCHES.set(self.writer.held_batches)
            self.pools.publish()
            self.responses.measure()
        return metrics_merge.pack()

    def _open_gate(self, dsn: str) -> None:
        self.listener = Listener(dsn, self.incarnation)
        self.limits.start()
        metrics.LIMITS.source = self.limits
        self._exits.push_async_callback(self.limits.stop)
        self.gate = open_auth(
            self.app_pool,
            self.listener,
            allowed_origins=self.settings.origins,
            limits=self.limits,
            recheck_secs=self.settings.socket_recheck_secs,
            make_credentials=Authenticator if self.tracing is None else self.tracing.credentials,
            tell_revoked=self._tell_revoked,
        )
        self._exits.push_async_callback(self.gate.close)

    def drain(self) -> None:
        """Begins a stop: what is held is answered, what comes is refused with 503, every socket is told."""
        if self.health.phase == "ready":
            self.health.phase = "draining"
            self._draining = spawn(self._drain(), name="drain")

    async def _drain(self) -> None:
        # At once: a driver's socket stays open for the receipts of its batches under way, a feed has none to wait for.
        within_secs = self.settings.drain_secs
        try:
            await asyncio.gather(
                self.writer.stop(within_secs=within_secs), self.sockets.goodbye(within_secs=within_secs)
            )
        finally:
            self.health.phase = "drained"  # Whatever happened, the main process need not wait any longer.
        _log.info("Nothing is held any more.")

    async def stop(self) -> None:
        """Closes everything; safe after a drain and without one."""
        await self._exits.aclose()


def _open_relay(settings: Settings, signer: RedisSigner) -> "Relay | None":
    if settings.redis_url is None:
        return None
    # Only where it is needed: its client library takes a good part of a worker's start.
    from fleetwire.live.relay.relay import Relay

    return Relay(settings, signer)


def _open_tracing(settings: Settings) -> "Tracing | None":
    if settings.otlp_endpoint is None:
        return None
    # Only where it is asked for: its packages are an extra.
    from fleetwire.telemetry.tracing.tracer import Tracing

    return Tracing(settings, settings.otlp_endpoint)
