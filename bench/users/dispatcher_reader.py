"""Simulates dispatchers that read live positions, tracks and their session."""

import random
from typing import Any

import orjson
from locust import FastHttpUser, between, task
from locust.exception import StopUser


class DispatcherReader(FastHttpUser):
    """Requests the live positions, and the track of one of their devices."""

    weight = 3
    wait_time = between(1, 5)

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - Locust's own
        super().__init__(*arguments)
        self._headers = {"Authorization": f"Bearer {self.environment.parsed_options.watch_token}"}
        self._devices: list[str] = []

    def on_start(self) -> None:
        """Reads the live positions first, like a user who opens the map.

        Raises:
            StopUser: there is no token.
        """
        if not self.environment.parsed_options.watch_token:
            raise StopUser
        self.live()

    @task(3)
    def live(self) -> None:
        """Reads the live positions."""
        answer = self.client.get("/api/live", headers=self._headers)
        if answer.status_code == 200:
            self._devices = [feature["properties"]["device"] for feature in orjson.loads(answer.content)["features"]]

    @task
    def track(self) -> None:
        """Reads the track of a random device over the last day."""
        if self._devices:
            path = f"/api/devices/{random.choice(self._devices)}/track?format=geojson"
            self.client.get(path, headers=self._headers, name="/api/devices/{name}/track")

    @task
    def session(self) -> None:
        """Reads the session."""
        self.client.get("/api/session", headers=self._headers)
