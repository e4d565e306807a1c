"""Between workers: what one says, every other hears, and whoever may have missed something is told so.

    header:  version u8 (2), kind u8, worker 8 bytes, epoch u32, seq u64, tenant_id i32, sent_at_millis u64
    message: header, signature 16 bytes over channel, header and payload (redis_signing.py), payload of its kind

Numbers are big-endian. What is not signed, is old, or comes a second time is refused and counted; it may stand for
something that was held back, so the database is read then, once a second at most.

Nothing is promised to arrive. What is promised: if something did not, `missed` is called, with the time since when. The
truth is in PostgreSQL, and is read again from there.
"""

import asyncio
import secrets
import struct
from collections.abc import Callable
from typing import Any, Final, Literal
from zlib import crc32

import structlog

from fleetwire.live.relay.connection import RelayConnection
from fleetwire.live.relay.message import MessageKind
from fleetwire.live.relay.peers import FIRST_EPOCH, LOST_SECS, Peers
from fleetwire.redis.signing import SIGNATURE_BYTES, RedisSigner
from fleetwire.runtime import clock, supervisor
from fleetwire.runtime.supervisor import SupervisedTask, supervise
from fleetwire.settings import Settings
from fleetwire.settings.redis_url import parse
from fleetwire.telemetry import metrics

HEARTBEAT_SECS: Final = 1.0
START_SECS: Final = 5.0  # a worker does not wait longer for Redis before it serves
SHARD_CHANNELS: Final = 16  # in a Cluster, so that its shards share the work
MAX_AGE_MILLIS: Final = 600_000  # of a message; the clocks of nodes differ by less
_VERSION: Final = 2
_HEADER: Final = struct.Struct(">BB8sIQiQ")
_PAYLOAD_AT: Final = _HEADER.size + SIGNATURE_BYTES
_PURPOSE: Final = b"relay"

Heard = Callable[[int, bytes], object]
Missed = Callable[[int, str], object]
State = Literal["connected", "catching_up", "disconnected"]

_log = structlog.get_logger(__name__)


class Relay:
    """One worker's end. `on` and `on_missed` are called before `start`."""

    def __init__(self, settings: Settings, signer: RedisSigner) -> None:
        self._signer = signer
        address = parse(settings.redis_url or "")
        prefix = f"{settings.redis_prefix}:relay"
        sharded = [f"{prefix}:{{{number}}}" for number in range(SHARD_CHANNELS)]
        self._channels = sharded if address.form == "cluster" else [prefix]
        self._worker = secrets.token_bytes(8)
        self._peers = Peers()
        self._next_seq: dict[str, int] = {}
        self._callbacks: dict[int, list[Heard]] = {}
        self._missed: list[Missed] = []
        self._away_since_millis = clock.now_millis()
        self._first_epoch = FIRST_EPOCH
        self._beating: SupervisedTask | None = None
        self.is_catching_up = False
        self._connection = RelayConnection(
            address,
            self._channels,
            queue_bytes=settings.relay_queue_bytes,
            heard=self._hear,
            connected=self._connected,
            lost=self._lost,
        )

    def on(self, kind: MessageKind, callback: Heard) -> None:
        """From now on `callback(tenant_id, payload)` is called with each message of a kind from another worker."""
        self._callbacks.setdefault(kind, []).append(callback)

    def on_missed(self, callback: Missed) -> None:
        """From now on `callback(since_millis, why)` is called when messages since then may not have been heard.

        `why` is `gap`, `away` or `unknown` as in `Peers`, `lost` for a worker that died, and `outage` when this worker
        itself was not connected.
        """
        self._missed.append(callback)

    async def start(self) -> None:
        """Listens, or goes on trying behind if the server is away; what is committed from now on is heard or missed."""
        await self._connection.start(wait_secs=START_SECS)
        if not self._connection.is_connected:
            # Whatever is published until then is missed by all, and the number says so.
            self._first_epoch += 1
        self._beating = supervise(self._beat_next, name="relay-heartbeat")

    async def stop(self) -> None:
        """Says goodbye and closes."""
        await supervisor.stop(self._beating)
        for channel in self._channels:
            self._send(MessageKind.GOODBYE, 0, b"", channel)
        await self._connection.stop()

    @property
    def connections(self) -> int:
        """How often it has connected so far: what is between two of them was not heard."""
        return self._connection.connections

    @property
    def _epoch(self) -> int:
        return self._first_epoch + max(0, self.connections - 1)

    @property
    def state(self) -> State:
        """`catching_up` while connected again, but not yet sure to show all that was missed."""
        if not self._connection.is_connected:
            return "disconnected"
        return "catching_up" if self.is_catching_up else "connected"

    def report(self) -> dict[str, Any]:
        """What `/health` says of it."""
        waits = {} if self._connection.is_connected else {"next_try_secs": round(self._connection.wait_secs, 1)}
        return {"state": self.state, "workers": len(self._peers) + 1, "connections": self.connections, **waits}

    def publish(self, kind: MessageKind, tenant_id: int, payload: bytes) -> None:
        """Tells the other workers. Returns at once; what cannot be sent is dropped, and they will know."""
        self._send(kind, tenant_id, payload, self._channel(tenant_id))

    def _channel(self, tenant_id: int) -> str:
        # Not tenant_id itself: tenants made one after the other would fill the shards in turn, whatever their size.
        return self._channels[crc32(tenant_id.to_bytes(4, "big", signed=True)) % len(self._channels)]

    def _send(self, kind: MessageKind, tenant_id: int, payload: bytes, channel: str) -> None:
        # A number is used up also by what is dropped next, and that is how the others see it.
        seq = self._next_seq.get(channel, 0)
        self._next_seq[channel] = seq + 1
        header = _HEADER.pack(_VERSION, kind, self._worker, self._epoch, seq, tenant_id, clock.now_millis())
        signature = self._signer.sign(_PURPOSE, channel.encode(), header, payload)
        self._connection.send(channel, b"".join((header, signature, payload)))

    def _connected(self) -> None:
        self._next_seq.clear()
        self._peers.clear()
        for channel in self._channels:
            self._send(MessageKind.HEARTBEAT, 0, b"", channel)
        _log.info("The relay is connected.", connections=self.connections)
        self._miss(self._away_since_millis, "outage")

    def _lost(self) -> None:
        self._away_since_millis = clock.now_millis() - round(LOST_SECS * 1000)

    async def _beat_next(self) -> None:
        await asyncio.sleep(HEARTBEAT_SECS)
        if self._connection.is_connected:
            for channel in self._channels:
                self._send(MessageKind.HEARTBEAT, 0, b"", channel)
        if self._peers.lose(now_secs=clock.monotonic_secs()):
            self._miss_lately("lost")
        metrics.RELAY_WORKERS.set(len(self._peers) + 1)

    def _hear(self, channel: str, message: bytes) -> None:
        try:
            version, kind_number, worker, epoch, seq, tenant_id, sent_at_millis = _HEADER.unpack_from(message)
        except struct.error:
            version, kind_number, worker, epoch, seq, tenant_id, sent_at_millis = 0, 0, b"", 0, 0, 0, 0
        if worker == self._worker:
            return
        # Of another release, in the middle of an upgrade, or not of a worker: what is true is in the database.
        if (
            version != _VERSION
            or not self._is_signed(channel, message)
            or abs(clock.now_millis() - sent_at_millis) > MAX_AGE_MILLIS
            or self._peers.is_repeated(worker, epoch, channel, seq)
        ):
            metrics.RELAY_REFUSED.inc()
            self._miss_lately("gap")
            return
        metrics.RELAY_MESSAGES.labels("in").inc()
        metrics.RELAY_BYTES.labels("in").inc(len(message))
        missing = self._peers.hear(worker, epoch, channel, seq, now_secs=clock.monotonic_secs())
        if missing is not None:
            self._miss_lately(missing)
        if kind_number == MessageKind.GOODBYE:
            self._peers.leave(worker)
            return
        self._tell(kind_number, tenant_id, message[_PAYLOAD_AT:])

    def _is_signed(self, channel: str, message: bytes) -> bool:
        header, signature = message[: _HEADER.size], message[_HEADER.size : _PAYLOAD_AT]
        return self._signer.verifies(signature, _PURPOSE, channel.encode(), header, message[_PAYLOAD_AT:])

    def _tell(self, kind: int, tenant_id: int, payload: bytes) -> None:
        # A kind of a later release has no callbacks.
        for callback in self._callbacks.get(kind, ()):
            try:
                callback(tenant_id, payload)
            except Exception:  # noqa: BLE001 - one listener's mistake must not end the connection for all
                metrics.RELAY_REFUSED.inc()
                _log.exception("A message of another worker could not be used.", kind=kind)
                self._miss_lately("gap")

    def _miss_lately(self, why: str) -> None:
        self._miss(clock.now_millis() - round(2 * LOST_SECS * 1000), why)

    def _miss(self, since_millis: int, why: str) -> None:
        metrics.RELAY_MISSED.labels(why).inc()
        for callback in self._missed:
            callback(since_millis, why)
