"""A dispatcher who looks things up."""

import random
from typing import Any

import orjson
from locust import FastHttpUser, between, task
from locust.exception import StopUser


class DispatcherReader(FastHttpUser):
    """Asks for the live positions, and for the track of one of the devices in them."""

    weight = 3
    wait_time = between(1, 5)

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - Locust's own
        super().__init__(*arguments)
        self._headers = {"Authorization": f"Bearer {self.environment.parsed_options.watch_token}"}
        self._devices: list[str] = []

    def on_start(self) -> None:
        """Looks where everybody is, as whoever opens the map; without a token there is nothing to read.

        Raises:
            StopUser: there is none.
        """
        if not self.environment.parsed_options.watch_token:
            raise StopUser
        self.live()

    @task(3)
    def live(self) -> None:
        """Where everybody is."""
        answer = self.client.get("/api/live", headers=self._headers)
        if answer.status_code == 200:
            self._devices = [feature["properties"]["device"] for feature in orjson.loads(answer.content)["features"]]

    @task
    def track(self) -> None:
        """Where one of them was during the last day."""
        if self._devices:
            path = f"/api/devices/{random.choice(self._devices)}/track?format=geojson"
            self.client.get(path, headers=self._headers, name="/api/devices/{name}/track")

    @task
    def session(self) -> None:
        """Who am I."""
        self.client.get("/api/session", headers=self._headers)
