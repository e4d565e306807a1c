"""Some watchers are sent a frame at a time, the others wait: sends under way cost memory, and time of the last one.

    ask -> in the line -> turn -> frame rendered and sent -> end
                            |
                            +-> overtaken by others, or too long: the next one's turn comes all the same

A thousand sends at once are a thousand copies of a frame, and all of them are done late. Some after the others, the
first are done early, and the last no later. Whoever reads slowly is seen by others being done before it, however busy
the machine is; the time is for the case that all whose turn it is read slowly.
"""

import asyncio
from collections import deque
from typing import Final

from fleetwire.telemetry import metrics

AT_ONCE_BYTES: Final = 2 * 1024 * 1024
REFILLED_AT_BYTES: Final = AT_ONCE_BYTES // 2
"""Turns begin when so much is left, and not one by one: threads that hand over to each other cost more than sending."""
LEAST_BYTES: Final = 16 * 1024
MOST_BYTES: Final = 64 * 1024
"""What is with the server of a large frame: one message."""
OVERTAKEN_BY: Final = 64
HELD_SECS: Final = 0.05
"""A turn is over after this time, or twice as long: one timer looks at all of them."""


class SendSlot:
    """One watcher's place in the line; has no task of its own."""

    __slots__ = ("_coming", "_is_queued", "_turns", "began_at_over", "began_in_round", "size_bytes")

    def __init__(self, turns: "SendBudget") -> None:
        self._turns = turns
        self._coming: asyncio.Future[None] | None = None
        self._is_queued = False
        self.began_at_over = 0
        self.began_in_round = 0
        self.size_bytes = MOST_BYTES
        """Of the frame before: the next is about as long. Before the first, a snapshot is to be expected."""

    async def comes(self, *, is_asked: bool) -> None:
        """Ends the turn before and waits for the next, which is asked for at once or by `ask`."""
        self.end()
        self._coming = asyncio.get_running_loop().create_future()
        if is_asked:
            self.ask()
        try:
            await self._coming
        finally:
            self._coming = None

    def ask(self) -> None:
        """There is something to send. Does nothing for who does not wait, or is in the line already."""
        if self._coming is not None and not self._coming.done() and not self._is_queued:
            self._is_queued = True
            self._turns.admit(self)

    def begin(self) -> bool:
        """The turn has come; whether anybody still waits for it."""
        self._is_queued = False
        if self._coming is None or self._coming.done():
            return False
        self._coming.set_result(None)
        return True

    def weigh(self, frame_bytes: int) -> None:
        """Remembers how long a frame was."""
        self.size_bytes = min(MOST_BYTES, max(LEAST_BYTES, frame_bytes))

    def end(self) -> None:
        """Lets others have their turn, if this one has one."""
        self._turns.end(self)


class SendBudget:
    """The line: first come, first served."""

    def __init__(self) -> None:
        self._line: deque[SendSlot] = deque()
        self._held: dict[SendSlot, int] = {}
        """What each was taken to send, bytes; in the order of their beginning."""
        self._held_bytes = 0
        self._over = 0
        self._round = 0
        self._timer: asyncio.TimerHandle | None = None

    def admit(self, turn: SendSlot) -> None:
        """Begins the turn, or queues it."""
        self._line.append(turn)
        if len(self._line) == 1 or not self._held:
            self._refill()

    def end(self, turn: SendSlot) -> None:
        """A turn is over; nothing if it has none."""
        if turn not in self._held:
            return
        self._held_bytes -= self._held.pop(turn)
        self._over += 1
        oldest = next(iter(self._held), None)
        if oldest is not None and self._over - oldest.began_at_over >= OVERTAKEN_BY:
            self._give_up(oldest)
        if self._held_bytes <= REFILLED_AT_BYTES:
            self._refill()

    def _refill(self) -> None:
        while self._line and self._held_bytes < AT_ONCE_BYTES:
            turn = self._line.popleft()
            if turn.begin():
                turn.began_at_over, turn.began_in_round = self._over, self._round
                self._held[turn] = turn.size_bytes
                self._held_bytes += turn.size_bytes
        if self._held and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(HELD_SECS, self._look)

    def _look(self) -> None:
        self._round += 1
        for turn in [each for each in self._held if self._round - each.began_in_round > 1]:
            self._give_up(turn)
        self._timer = None
        self._refill()

    def _give_up(self, turn: SendSlot) -> None:
        metrics.TURNS_OVERSTAYED.inc()
        self._held_bytes -= self._held.pop(turn)
