"""Simulates dispatchers that watch the whole tenant."""

from statistics import median
from typing import Any

import orjson
from locust import task

from bench.users import counters
from bench.users.websocket_user import FAULTS, WebSocketUser
from fleetwire.runtime.clock import monotonic_secs


class DispatcherFeed(WebSocketUser):
    """Reads one frame after the other.

    A `moved` frame is reported as a request whose duration is the delay from receipt to frame: the median over the
    positions whose last batch this process sent. A frame without such positions is only counted.
    """

    weight = 6
    path = "/ws/dispatch"

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - Locust's own
        super().__init__(*arguments)
        self._is_watching = False

    @property
    def token(self) -> str:
        """Token of a dispatcher."""
        token: str = self.environment.parsed_options.watch_token
        return token

    @task
    def watch(self) -> None:
        """Receives one frame."""
        try:
            socket = self.connect()
            if not self._is_watching:
                with self.measured("/ws/dispatch snapshot") as event:
                    socket.send('{"type":"watch"}')
                    event["response_length"] = self._snapshot()
                self._is_watching = True
            self._count_frame(socket.recv())
        except FAULTS as fault:
            self.report_request("/ws/dispatch lost", 0, exception=fault)
            self._is_watching = False
            self.disconnect()

    def _snapshot(self) -> int:
        """Receives messages until the snapshot is complete and returns its length."""
        length = 0
        while True:
            text = self.connect().recv()
            message = orjson.loads(text)
            if message["type"] == "snapshot":
                length += len(text)
                if not message.get("more"):
                    return length

    def _count_frame(self, text: str | bytes) -> None:
        message: dict[str, Any] = orjson.loads(text)
        positions = message.get("positions", [])
        counters.counts.update(frames=1, positions=len(positions), frame_bytes=len(text))
        now_secs = monotonic_secs()
        delays = [delay for each in positions if (delay := counters.delay_secs(each, now_secs)) is not None]
        if message["type"] == "moved" and delays:
            self.report_request("/ws/dispatch moved", median(delays) * 1000, response_length=len(text))
