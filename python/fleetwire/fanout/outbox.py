"""What a watcher has not seen yet: a cursor into the live table, not a queue.

A watcher at sequence number 7 gets, when its last send is done, one frame of every device that moved after 7, each
with its newest position only. So a slow watcher is conflated by itself, its memory is one frame, and a resume after a
broken connection is the same step as every other.
"""

import asyncio
from typing import Literal

import msgspec

from fleetwire import metrics
from fleetwire.live.state import Live


class Watch(msgspec.Struct, tag_field="type", tag="watch", forbid_unknown_fields=False):
    """The client's `watch`: the whole tenant."""

    area: list[float] | None = None
    devices: list[str] | None = None
    status: str | None = None
    orders: list[str] | None = None

    @property
    def is_filtered(self) -> bool:
        """Whether it asks for less than the whole tenant."""
        return any(part is not None for part in (self.area, self.devices, self.status, self.orders))


class Resume(msgspec.Struct, tag_field="type", tag="resume"):
    """The client's `resume`: from where it was before its connection broke."""

    epoch: str
    seq: int


Request = Watch | Resume
HEARTBEAT = b'{"type":"heartbeat"}'


class Outbox:
    """The frames of one watcher, in order."""

    def __init__(self, live: Live, tenant_id: int, *, heartbeat_secs: float) -> None:
        self._live = live
        self.tenant_id = tenant_id
        self._heartbeat_secs = heartbeat_secs
        self._seq: int | None = None
        self._request: Request | None = None
        self.has_spoken = False
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Something of the tenant moved."""
        self._woken.set()

    def ask(self, request: Request) -> None:
        """The client asks; of several requests that wait, the newest counts."""
        self._request = request
        self._woken.set()

    def ask_unless_spoken(self) -> None:
        """A client that has said nothing watches the whole tenant; one whose wish was refused is not given more."""
        if not self.has_spoken:
            self.ask(Watch())

    async def next_frames(self) -> list[bytes]:
        """Waits until there is something to say and returns it; a heartbeat if nothing moved for that long."""
        try:
            async with asyncio.timeout(self._heartbeat_secs):
                await self._woken.wait()
        except TimeoutError:
            return [self._counted(HEARTBEAT, "heartbeat")]
        self._woken.clear()
        request, self._request = self._request, None
        if isinstance(request, Resume):
            return self._resume(request)
        if request is not None:
            return [self._snapshot()]
        if self._seq is not None:
            metrics.CONFLATED.inc(max(0, self._live.seq(self.tenant_id) - self._seq - 1))
        return self._moved()

    def _snapshot(self) -> bytes:
        frame = self._live.snapshot(self.tenant_id)
        self._seq = self._live.seq(self.tenant_id)
        return self._counted(frame, "snapshot")

    def _resume(self, request: Resume) -> list[bytes]:
        if request.epoch == self._live.epoch and 0 <= request.seq <= self._live.seq(self.tenant_id):
            self._seq = request.seq
            return self._moved()
        resync = msgspec.json.encode({"type": "resync", "epoch": self._live.epoch})
        return [self._counted(resync, "resync"), self._snapshot()]

    def _moved(self) -> list[bytes]:
        if self._seq is None:
            return []
        frame = self._live.moved(self.tenant_id, since_seq=self._seq)
        seq = self._live.seq(self.tenant_id)
        self._seq = seq
        return [] if frame is None else [self._counted(frame, "moved")]

    @staticmethod
    def _counted(frame: bytes, kind: Literal["snapshot", "moved", "resync", "heartbeat"]) -> bytes:
        metrics.FRAMES.labels(kind).inc()
        metrics.FRAME_BYTES.labels(kind).inc(len(frame))
        return frame
