"""A driver's app that posts a batch every few seconds."""

from typing import Any

import orjson
from locust import FastHttpUser, constant_pacing, task

from bench.users.driver import Driver
from fleetwire.client import LOCATION_PATH


class HttpDriver(FastHttpUser):
    """Posts by the clock as long as the answers are quicker than the clock; after a slow one, at once."""

    weight = 60

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - Locust's own
        super().__init__(*arguments)
        options = self.environment.parsed_options
        self._headers = {"Authorization": f"Bearer {options.token}", "Content-Type": "application/json"}
        self._driver = Driver(self.environment)
        self._pace = constant_pacing(options.every_secs)

    def on_start(self) -> None:
        """Somewhere in the interval."""
        self._driver.start()

    def wait_time(self) -> float:
        """Until the next batch."""
        pause_secs: float = self._pace(self)
        return pause_secs

    @task
    def post(self) -> None:
        """One batch."""
        body = self._driver.batch()
        with self.client.post(LOCATION_PATH, data=body, headers=self._headers, catch_response=True) as response:
            if response.status_code != 200:
                return  # A failure already.
            if fault := self._driver.count(orjson.loads(response.content)):
                response.failure(fault)
