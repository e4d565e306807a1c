"""Simulates visitors of the console: load the page with its assets, watch the map, leave."""

import re

import gevent
import orjson
from locust import between, task
from locust.contrib.fasthttp import FastHttpSession
from websocket import WebSocketTimeoutException

from bench.users.websocket_user import FAULTS, WebSocketUser
from fleetwire.client import authorization
from fleetwire.runtime.clock import monotonic_secs

_ASSET = re.compile(r'(?:src|href)="(/?assets/[^"]+)"')
WATCH_SECS = 10.0


class ConsoleVisitor(WebSocketUser):
    """Visits the console with an empty browser cache every time."""

    weight = 1
    path = "/ws/dispatch"
    wait_time = between(5, 15)

    @property
    def token(self) -> str:
        """Token of a dispatcher who is logged in."""
        token: str = self.environment.parsed_options.watch_token
        return token

    @task
    def visit(self) -> None:
        """Visits the console once."""
        client = FastHttpSession(self.host, self.environment.events.request, self)
        page = client.get("/", name="console page")
        if page.status_code != 200:
            return
        for asset in dict.fromkeys(_ASSET.findall(page.text)):
            client.get(f"/{asset.lstrip('/')}", name="console assets")
        client.get("/api/console")
        if self.token:
            client.get("/api/session", headers=authorization(self.token))
            self._watch()

    def _watch(self) -> None:
        """Watches the feed for WATCH_SECS."""
        deadline_secs = monotonic_secs() + WATCH_SECS
        try:
            socket = self.connect()
            with self.measured("/ws/dispatch snapshot"):
                socket.send('{"type":"watch"}')
                while orjson.loads(socket.recv())["type"] != "snapshot":
                    pass
            socket.settimeout(1.0)
            while monotonic_secs() < deadline_secs:
                try:
                    socket.recv()
                except WebSocketTimeoutException:  # Nothing moved for a second.
                    gevent.sleep(0)
        except FAULTS as fault:
            self.report_request("/ws/dispatch lost", 0, exception=fault)
        finally:
            self.disconnect()
