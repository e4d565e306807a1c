"""A visitor of the console: the page with all it needs, then a look at the map, then gone."""

import re

import gevent
import orjson
from locust import between, task
from locust.contrib.fasthttp import FastHttpSession
from websocket import WebSocketTimeoutException

from bench.users.talking import FAULTS, TalkingUser
from fleetwire.client import authorization
from fleetwire.clock import monotonic_secs

_ASSET = re.compile(r'(?:src|href)="(/?assets/[^"]+)"')
LOOK_SECS = 10.0


class ConsoleVisitor(TalkingUser):
    """Comes with an empty cache every time."""

    weight = 1
    path = "/ws/dispatch"
    wait_time = between(5, 15)

    @property
    def token(self) -> str:
        """A dispatcher's, as if already logged in."""
        token: str = self.environment.parsed_options.watch_token
        return token

    @task
    def visit(self) -> None:
        """One visit."""
        client = FastHttpSession(self.host, self.environment.events.request, self)
        page = client.get("/", name="console page")
        if page.status_code != 200:
            return
        for asset in dict.fromkeys(_ASSET.findall(page.text)):
            client.get(f"/{asset.lstrip('/')}", name="console assets")
        client.get("/api/console")
        if self.token:
            client.get("/api/session", headers=authorization(self.token))
            self._look()

    def _look(self) -> None:
        """Watches for a while."""
        until_secs = monotonic_secs() + LOOK_SECS
        try:
            socket = self.connected()
            with self.measured("/ws/dispatch snapshot"):
                socket.send('{"type":"watch"}')
                while orjson.loads(socket.recv())["type"] != "snapshot":
                    pass
            socket.settimeout(1.0)
            while monotonic_secs() < until_secs:
                try:
                    socket.recv()
                except WebSocketTimeoutException:  # Nothing moved for a second.
                    gevent.sleep(0)
        except FAULTS as fault:
            self.seen("/ws/dispatch lost", 0, exception=fault)
        finally:
            self.hang_up()
