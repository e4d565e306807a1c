"""The parts of one worker, put together once, started in order and stopped in the opposite one."""

import asyncio
import contextlib

import asyncpg
import structlog

from fleetwire.access.gate import Gate, open_gate
from fleetwire.errors import ConfigError
from fleetwire.fanout.hub import Hub
from fleetwire.fanout.sockets import Sockets
from fleetwire.fanout.watch import DispatchSocket
from fleetwire.health import Health
from fleetwire.ingest.decode import BatchDecoder
from fleetwire.ingest.http import LocationRoute
from fleetwire.ingest.outage import Outage
from fleetwire.ingest.pipeline import Pipeline
from fleetwire.ingest.ws import DriverSocket
from fleetwire.live.state import Live
from fleetwire.settings import INGEST_CONNECTIONS, Settings
from fleetwire.store.devices import Devices
from fleetwire.store.faults import PASSING
from fleetwire.store.lane import PLANNER
from fleetwire.store.partitions import Partitions
from fleetwire.store.pools import Pools
from fleetwire.store.retention import Retention
from fleetwire.store.spool import Spool
from fleetwire.store.upkeep import Upkeep
from fleetwire.store.writer import Writer
from fleetwire.tasks import spawn

_log = structlog.get_logger(__name__)

START_PAUSE_SECS = 0.5  # between two tries while the database is away


class Engine:
    """One worker's parts; those without a default exist between `start` and `stop`."""

    app_pool: asyncpg.Pool
    pools: Pools
    gate: Gate
    devices: Devices
    writer: Writer
    sockets: Sockets
    location_route: LocationRoute
    driver_socket: DriverSocket
    dispatch_socket: DispatchSocket

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.health = Health()
        self.live = Live()
        self._draining: asyncio.Task[None] | None = None
        self._exits = contextlib.AsyncExitStack()

    async def start_patiently(self) -> None:
        """As `start`, again and again while the database is away: a worker may have to be replaced just then.

        If it ended instead, the main process would take that for a loop of crashes, and end as well.

        Raises:
            ConfigError: as `start`; waiting would not help.
        """
        while True:
            try:
                return await self.start()
            except ConfigError:
                raise
            except PASSING as error:
                _log.warning("The worker waits for the database.", error=repr(error))
                await self.stop()
            await asyncio.sleep(START_PAUSE_SECS)

    async def start(self) -> None:
        """Opens connections, loads the present, then takes requests."""
        settings = self.settings
        if settings.database_url is None:
            raise ConfigError("FLEETWIRE_DATABASE_URL is not set: start the server with `fleetwire serve`")
        self.pools = Pools(settings, self._exits)
        dsn = settings.database_url
        ingest_pool = await self.pools.open("ingest", dsn, "fleetwire_ingest", INGEST_CONNECTIONS)
        # A group is given up by then: what still holds its devices' rows is a connection that got lost on the way.
        lost = {"idle_in_transaction_session_timeout": str(round(settings.commit_give_up_secs * 1000))}
        writer_pool = await self.pools.open(
            "writer", dsn, "fleetwire_ingest", settings.writer_connections, {**PLANNER, **lost}
        )
        self.app_pool = await self.pools.open("app", dsn, "fleetwire_app", settings.app_connections)
        self.gate = await open_gate(self.app_pool, dsn, allowed_origins=settings.origins)
        self._exits.push_async_callback(self.gate.close)
        await self.live.warm(ingest_pool)

        partitions = Partitions(ingest_pool)
        self.writer = Writer(writer_pool, partitions=partitions, settings=settings, on_stored=self.live.advance)
        await self.writer.start()
        self._exits.push_async_callback(self.writer.stop, within_secs=settings.drain_secs)
        retention = Retention(ingest_pool, default_days=settings.retention_days)
        await retention.load()
        self._exits.push_async_callback(retention.stop)
        decoder, devices = BatchDecoder(settings, retention), Devices(ingest_pool, on_met=self.live.meet)
        self.devices = devices
        outage = None
        if settings.spool is not None:
            spool = Spool(settings.spool, max_bytes=settings.spool_max_bytes)
            outage = Outage(spool, pool=ingest_pool, decoder=decoder, devices=devices, writer=self.writer)
            outage.start()
            self._exits.push_async_callback(outage.stop)
        pipeline = Pipeline(decoder=decoder, devices=devices, writer=self.writer, outage=outage)
        hub = Hub(self.live, tick_millis=settings.feed_tick_millis)
        await hub.start()
        self._exits.push_async_callback(hub.stop)

        credentials = self.gate.credentials
        self.sockets = Sockets(credentials, settings)
        self.location_route = LocationRoute(credentials=credentials, pipeline=pipeline, settings=settings)
        self.driver_socket = DriverSocket(pipeline=pipeline, sockets=self.sockets, settings=settings)
        self.dispatch_socket = DispatchSocket(hub=hub, live=self.live, sockets=self.sockets, settings=settings)
        upkeep = Upkeep(dsn, settings)
        upkeep.start()
        self._exits.push_async_callback(upkeep.stop)
        self.health.phase = "ready"

    def drain(self) -> None:
        """Begins a stop: what is held is answered, what comes is refused with 503, every socket is told."""
        if self.health.phase == "ready":
            self.health.phase = "draining"
            self._draining = spawn(self._drain(), name="drain")

    async def _drain(self) -> None:
        # At once: a driver's socket stays open for the receipts of its batches under way, a feed has none to wait for.
        within_secs = self.settings.drain_secs
        await asyncio.gather(self.writer.stop(within_secs=within_secs), self.sockets.goodbye(within_secs=within_secs))
        self.health.phase = "drained"
        _log.info("Nothing is held any more.")

    async def stop(self) -> None:
        """Closes everything; safe after a drain and without one."""
        await self._exits.aclose()
