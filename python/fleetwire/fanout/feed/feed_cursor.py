"""What a watcher has not seen yet: a cursor into the live table, not a queue.

A watcher at sequence number 7 gets, when its last send is done, one frame of every device that moved after 7, each
with its newest position only. So a slow watcher is conflated by itself, its memory is one frame, and a resume after a
broken connection is the same step as every other. Watchers of the same filter share a view, and its frames.
"""

from typing import Final

import msgspec

from fleetwire.fanout.feed.send_budget import SendBudget, SendSlot
from fleetwire.live.state import Format, Frame, Live
from fleetwire.live.subscription import WHOLE, FeedRequest, Filter, Resume, Watch
from fleetwire.runtime import clock
from fleetwire.telemetry import metrics
from fleetwire.telemetry.fast_metrics import FastCounter

Messages = tuple[str | bytes, ...]

HEARTBEAT: Final = '{"type":"heartbeat"}'
RARELY_TICKS: Final = 64
"""Who is no further behind is told by a view what it missed: a view remembers hundreds of ticks."""


class FeedCursor:
    """The frames of one watcher, in order. To be closed, or its view is kept for ever."""

    def __init__(self, live: Live, tenant_id: int, *, form: Format, turns: SendBudget) -> None:
        self._live = live
        self.tenant_id = tenant_id
        self._form: Format = form
        self._filter = WHOLE
        self._view: int | None = None
        self._epoch = ""
        """Of the live table, when the watcher's place in it was last known."""
        self._seq: int | None = None
        self._wish: tuple[FeedRequest, Filter] | None = None
        self.has_spoken = False
        self.has_told_movement = False
        """Whether the newest messages tell of movement."""
        self._is_late = False
        self._has_moved = False
        self._turn = SendSlot(turns)
        self._said_secs = clock.monotonic_secs()

    def wake(self) -> None:
        """A tick announced something of the tenant."""
        if self._has_moved:
            metrics.CONFLATED.inc()
        self._has_moved = True
        self._turn.ask()

    def begin_anew(self) -> None:
        """The numbers it was told count no more."""
        self._epoch = ""
        self.wake()

    def beat(self, *, silent_since_secs: float) -> None:
        """Says that the feed lives if it has said nothing since then."""
        if self._said_secs <= silent_since_secs:
            self._is_late = True
            self._turn.ask()

    def ask(self, wish: FeedRequest, wanted: Filter) -> None:
        """The client asks; of several requests that wait, the newest counts."""
        self._wish = wish, wanted
        self._turn.ask()

    def ask_unless_spoken(self) -> None:
        """A client that has said nothing watches the whole tenant; one whose wish was refused is not given more."""
        if not self.has_spoken:
            self.ask(Watch(), WHOLE)

    def close(self) -> None:
        """Gives the turn and the view back."""
        self._turn.end()
        self._release()

    def _release(self) -> None:
        if self._view is not None:
            self._live.release(self.tenant_id, self._view)
            self._view = None

    async def next_messages(self) -> Messages:
        """Waits until there is something to say and returns it: the messages of one frame, to be sent in order.

        Whoever asks for the next ones has sent the last.
        """
        while True:
            await self._turn.comes(is_asked=self._has_moved or self._is_late or self._wish is not None)
            if messages := self._due():
                self._said_secs = clock.monotonic_secs()
                return messages

    def _due(self) -> Messages:
        wish, self._wish = self._wish, None
        is_late, self._is_late = self._is_late, False
        self._has_moved = self.has_told_movement = False
        if wish is not None:
            return self._answer(*wish)
        if messages := self._moved():
            return messages
        if is_late:
            metrics.FRAMES_HEARTBEAT.inc()
            return (HEARTBEAT,)
        return ()

    def _answer(self, wish: FeedRequest, wanted: Filter) -> Messages:
        view = self._live.watch(self.tenant_id, wanted)
        self._release()
        self._view, self._filter = view, wanted
        if not isinstance(wish, Resume):
            return self._snapshot()
        self._epoch = self._live.epoch
        is_ours = wish.epoch == self._epoch + wanted.tag and wish.seq >= 0
        if not is_ours or not self._live.is_exact(self.tenant_id, view, since_seq=wish.seq):
            return self._resync()
        self._seq = wish.seq
        return self._moved()

    def _resync(self) -> Messages:
        metrics.FRAMES_RESYNC.inc()
        # The view may have been dropped with the tenant; without it everything would be shown.
        view = self._live.watch(self.tenant_id, self._filter)
        self._release()
        self._view = view
        told = {"type": "resync", "epoch": self._live.epoch + self._filter.tag}
        return (msgspec.json.encode(told).decode(), *self._snapshot())

    def _snapshot(self) -> Messages:
        self._epoch = self._live.epoch
        frame = self._live.snapshot(self.tenant_id, self._view or 0, form=self._form, tag=self._filter.tag)
        self._seq = self._live.seq(self.tenant_id)
        metrics.FRAMES_SNAPSHOT.inc()
        return self._counted(frame, metrics.FRAME_BYTES_SNAPSHOT)

    def _moved(self) -> Messages:
        since_seq, view = self._seq, self._view
        if since_seq is None or view is None:
            return ()
        seq = self._live.seq(self.tenant_id)
        if self._epoch != self._live.epoch or (
            seq - since_seq > RARELY_TICKS and not self._live.is_exact(self.tenant_id, view, since_seq=since_seq)
        ):
            return self._resync()
        frame = self._live.moved(self.tenant_id, view, form=self._form, since_seq=since_seq)
        self._seq = seq
        if frame is None:
            return ()
        metrics.FRAMES_MOVED.inc()
        self.has_told_movement = True
        return self._counted(frame, metrics.FRAME_BYTES_MOVED)

    def _counted(self, frame: Frame, sent_bytes: FastCounter) -> Messages:
        self._turn.weigh(frame.size_bytes)
        sent_bytes.inc(frame.size_bytes)
        return frame.messages
