"""Simulates driver apps that send their batches over a WebSocket."""

from typing import Any

import orjson
from locust import constant_pacing, task

from bench.users.driver_app import DriverApp
from bench.users.websocket_user import FAULTS, WebSocketUser


class SocketDriver(WebSocketUser):
    """Sends a batch and waits for its receipt; reconnects after a lost connection."""

    weight = 30
    path = "/ws"

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - Locust's own
        super().__init__(*arguments)
        self._driver = DriverApp(self.environment)
        self._pacing = constant_pacing(self.environment.parsed_options.every_secs)
        self._last_id = 0

    @property
    def token(self) -> str:
        """Ingest key."""
        token: str = self.environment.parsed_options.token
        return token

    def on_start(self) -> None:
        """Waits for a random part of the interval."""
        self._driver.start()

    def wait_time(self) -> float:
        """Returns the seconds until the next batch."""
        pause_secs: float = self._pacing(self)
        return pause_secs

    @task
    def send(self) -> None:
        """Sends one batch."""
        try:
            socket = self.connect()
            self._last_id += 1
            batch = self._driver.batch(type="batch", id=str(self._last_id))
            with self.measured("/ws batch") as event:
                socket.send(batch.decode())
                receipt = self._receipt(event)
                if fault := self._driver.count(receipt):
                    event["exception"] = RuntimeError(fault)
        except FAULTS:
            self.disconnect()  # The failure is counted.

    def _receipt(self, event: dict[str, Any]) -> dict[str, Any]:
        """Receives the answer to the last batch; skips assignments and messages to the driver."""
        while True:
            text = self.connect().recv()
            message: dict[str, Any] = orjson.loads(text)
            if message.get("id") == str(self._last_id):
                event["response_length"] = len(text)
                return message
