"""A driver's app that sends its batches over a WebSocket."""

from typing import Any

import orjson
from locust import constant_pacing, task

from bench.users.driver import Driver
from bench.users.talking import FAULTS, TalkingUser


class SocketDriver(TalkingUser):
    """Sends a batch, waits for its receipt; after a lost connection it opens another."""

    weight = 30
    path = "/ws"

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - Locust's own
        super().__init__(*arguments)
        self._driver = Driver(self.environment)
        self._pace = constant_pacing(self.environment.parsed_options.every_secs)
        self._last_id = 0

    @property
    def token(self) -> str:
        """An ingest key."""
        token: str = self.environment.parsed_options.token
        return token

    def on_start(self) -> None:
        """Somewhere in the interval."""
        self._driver.start()

    def wait_time(self) -> float:
        """Until the next batch."""
        pause_secs: float = self._pace(self)
        return pause_secs

    @task
    def send(self) -> None:
        """One batch."""
        try:
            socket = self.connected()
            self._last_id += 1
            batch = self._driver.batch(type="batch", id=str(self._last_id))
            with self.measured("/ws batch") as event:
                socket.send(batch.decode())
                receipt = self._receipt(event)
                if fault := self._driver.count(receipt):
                    event["exception"] = RuntimeError(fault)
        except FAULTS:
            self.hang_up()  # It is counted.

    def _receipt(self, event: dict[str, Any]) -> dict[str, Any]:
        """The answer to the last batch; assignments and messages to the driver in between are passed over."""
        while True:
            text = self.connected().recv()
            message: dict[str, Any] = orjson.loads(text)
            if message.get("id") == str(self._last_id):
                event["response_length"] = len(text)
                return message
