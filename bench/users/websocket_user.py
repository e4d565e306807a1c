"""Base class of Locust users with a WebSocket; reports every exchange as a request."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import gevent
from locust import User
from locust.exception import StopUser
from websocket import WebSocket, WebSocketException, create_connection

from fleetwire.client import authorization, endpoint
from fleetwire.runtime.clock import monotonic_secs

ANSWER_TIMEOUT_SECS = 60.0
MIN_RETRY_DELAY_SECS, MAX_RETRY_DELAY_SECS = 0.5, 5.0
FAULTS = (WebSocketException, OSError)


class WebSocketUser(User):
    """User with one WebSocket, which is reopened when it is lost."""

    abstract = True
    path: str

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - Locust's own
        super().__init__(*arguments)
        self.socket: WebSocket | None = None
        self._retry_delay_secs = MIN_RETRY_DELAY_SECS

    @property
    def token(self) -> str:
        """Credential of the handshake."""
        raise NotImplementedError

    def on_stop(self) -> None:
        """Closes the socket."""
        self.disconnect()

    def connect(self) -> WebSocket:
        """Returns the open socket, or opens one; waits with a growing delay after each failure.

        Raises:
            StopUser: there is no token.
            OSError, WebSocketException: the socket could not be opened; the failure is counted.
        """
        if self.socket is None:
            if not self.token:
                raise StopUser
            try:
                with self.measured(f"{self.path} open"):
                    self.socket = create_connection(
                        endpoint(self.host or "", self.path, socket=True),
                        header=authorization(self.token),
                        timeout=ANSWER_TIMEOUT_SECS,
                        enable_multithread=False,
                    )
            except FAULTS:
                gevent.sleep(self._retry_delay_secs)
                self._retry_delay_secs = min(self._retry_delay_secs * 2, MAX_RETRY_DELAY_SECS)
                raise
            self._retry_delay_secs = MIN_RETRY_DELAY_SECS
        return self.socket

    def disconnect(self) -> None:
        """Closes the socket without waiting for the closing handshake."""
        if self.socket is not None:
            with suppress(*FAULTS):
                self.socket.close(timeout=0)
            self.socket = None

    @contextmanager
    def measured(self, name: str) -> Iterator[dict[str, Any]]:
        """Reports the block as a request; the block may set `response_length` or `exception`.

        A user that is stopped in the block reports nothing.
        """
        started_secs = monotonic_secs()
        event: dict[str, Any] = {"response_length": 0, "exception": None}
        try:
            yield event
        except FAULTS as fault:
            self.report_request(name, (monotonic_secs() - started_secs) * 1000, **event | {"exception": fault})
            raise
        self.report_request(name, (monotonic_secs() - started_secs) * 1000, **event)

    def report_request(self, name: str, millis: float, **event: Any) -> None:  # noqa: ANN401 - of Locust's event
        """Reports a request to Locust."""
        event = {"response_length": 0, "exception": None, "context": {}} | event
        self.environment.events.request.fire(request_type="WS", name=name, response_time=millis, **event)
