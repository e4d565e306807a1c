"""Simulates driver apps that post a batch every few seconds."""

from typing import Any

import orjson
from locust import FastHttpUser, constant_pacing, task

from bench.users.driver_app import DriverApp
from fleetwire.client import LOCATION_PATH


class HttpDriver(FastHttpUser):
    """Posts at a fixed interval; after an answer slower than the interval, at once."""

    weight = 60

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - Locust's own
        super().__init__(*arguments)
        options = self.environment.parsed_options
        self._headers = {"Authorization": f"Bearer {options.token}", "Content-Type": "application/json"}
        self._driver = DriverApp(self.environment)
        self._pacing = constant_pacing(options.every_secs)

    def on_start(self) -> None:
        """Waits for a random part of the interval."""
        self._driver.start()

    def wait_time(self) -> float:
        """Returns the seconds until the next batch."""
        pause_secs: float = self._pacing(self)
        return pause_secs

    @task
    def post(self) -> None:
        """Posts one batch."""
        body = self._driver.batch()
        with self.client.post(LOCATION_PATH, data=body, headers=self._headers, catch_response=True) as response:
            if response.status_code != 200:
                return  # Locust has counted the failure.
            if fault := self._driver.count(orjson.loads(response.content)):
                response.failure(fault)
