"""WebSockets under Locust: websocket-client over gevent's sockets, with every exchange counted as a request."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import gevent
from locust import User
from locust.exception import StopUser
from websocket import WebSocket, WebSocketException, create_connection

from fleetwire.client import authorization, endpoint
from fleetwire.clock import monotonic_secs

ANSWER_SECS = 60.0
FIRST_PAUSE_SECS, LONGEST_PAUSE_SECS = 0.5, 5.0
FAULTS = (WebSocketException, OSError)


class TalkingUser(User):
    """A user with one WebSocket, opened again when it is lost."""

    abstract = True
    path: str

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - Locust's own
        super().__init__(*arguments)
        self.socket: WebSocket | None = None
        self._pause_secs = FIRST_PAUSE_SECS

    @property
    def token(self) -> str:
        """The credential of the handshake."""
        raise NotImplementedError

    def on_stop(self) -> None:
        """Hangs up."""
        self.hang_up()

    def connected(self) -> WebSocket:
        """The open socket; waits a little longer after each failure.

        Raises:
            StopUser: there is no token, so there will never be a socket.
            OSError, WebSocketException: it could not be opened; the failure is counted.
        """
        if self.socket is None:
            if not self.token:
                raise StopUser
            try:
                with self.measured(f"{self.path} open"):
                    self.socket = create_connection(
                        endpoint(self.host or "", self.path, socket=True),
                        header=authorization(self.token),
                        timeout=ANSWER_SECS,
                        enable_multithread=False,
                    )
            except FAULTS:
                gevent.sleep(self._pause_secs)
                self._pause_secs = min(self._pause_secs * 2, LONGEST_PAUSE_SECS)
                raise
            self._pause_secs = FIRST_PAUSE_SECS
        return self.socket

    def hang_up(self) -> None:
        """Closes the socket without waiting for a goodbye."""
        if self.socket is not None:
            with suppress(*FAULTS):
                self.socket.close(timeout=0)
            self.socket = None

    @contextmanager
    def measured(self, name: str) -> Iterator[dict[str, Any]]:
        """Counts what happens in the block as a request; the block may set `response_length`, or an `exception`.

        A user who is stopped in the middle leaves nothing to count.
        """
        started_secs = monotonic_secs()
        event: dict[str, Any] = {"response_length": 0, "exception": None}
        try:
            yield event
        except FAULTS as fault:
            self.seen(name, (monotonic_secs() - started_secs) * 1000, **event | {"exception": fault})
            raise
        self.seen(name, (monotonic_secs() - started_secs) * 1000, **event)

    def seen(self, name: str, millis: float, **event: Any) -> None:  # noqa: ANN401 - of Locust's event
        """Counts a request that took so long."""
        event = {"response_length": 0, "exception": None, "context": {}} | event
        self.environment.events.request.fire(request_type="WS", name=name, response_time=millis, **event)
