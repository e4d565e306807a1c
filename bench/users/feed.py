"""A dispatcher who watches the whole tenant."""

from statistics import median
from typing import Any

import orjson
from locust import task

from bench.users import tally
from bench.users.talking import FAULTS, TalkingUser
from fleetwire.clock import monotonic_secs


class DispatcherFeed(TalkingUser):
    """Reads one frame after the other.

    A `moved` frame counts as a request that took from the receipt of its fixes to the frame: the median over those of
    its positions whose batch this process sent last. A frame without such positions is only added to the counts.
    """

    weight = 6
    path = "/ws/dispatch"

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - Locust's own
        super().__init__(*arguments)
        self._is_watching = False

    @property
    def token(self) -> str:
        """A dispatcher's."""
        token: str = self.environment.parsed_options.watch_token
        return token

    @task
    def watch(self) -> None:
        """One frame."""
        try:
            socket = self.connected()
            if not self._is_watching:
                with self.measured("/ws/dispatch snapshot") as event:
                    socket.send('{"type":"watch"}')
                    event["response_length"] = self._snapshot()
                self._is_watching = True
            self._frame(socket.recv())
        except FAULTS as fault:
            self.seen("/ws/dispatch lost", 0, exception=fault)
            self._is_watching = False
            self.hang_up()

    def _snapshot(self) -> int:
        """Reads until the snapshot is whole and returns its length."""
        length = 0
        while True:
            text = self.connected().recv()
            message = orjson.loads(text)
            if message["type"] == "snapshot":
                length += len(text)
                if not message.get("more"):
                    return length

    def _frame(self, text: str | bytes) -> None:
        message: dict[str, Any] = orjson.loads(text)
        positions = message.get("positions", [])
        tally.counts.update(frames=1, positions=len(positions), frame_bytes=len(text))
        now_secs = monotonic_secs()
        delays = [delay for each in positions if (delay := tally.delay_secs(each, now_secs)) is not None]
        if message["type"] == "moved" and delays:
            self.seen("/ws/dispatch moved", median(delays) * 1000, response_length=len(text))
