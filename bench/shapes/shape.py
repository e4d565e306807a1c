"""Base class of the load shapes: a share of --users for every moment of --run-time."""

from typing import Any

from locust import LoadTestShape

MIN_USERS = 1
DEFAULT_SECS = 120.0


class Shape(LoadTestShape):
    """Starts and stops users according to `share`."""

    abstract = True
    use_common_options = True
    at_once = False
    """Whether users start and stop all at once instead of at --spawn-rate."""

    def share(self, progress: float) -> float:
        """Returns the share of running users, 0 to 1, after `progress`, 0 to 1, of the run."""
        raise NotImplementedError

    def tick(self) -> tuple[int, float] | None:
        """Returns the number of users and the change per second; None ends the run. Locust calls it every second."""
        options = self._options()
        run_secs = float(options.run_time or DEFAULT_SECS)
        progress = self.get_run_time() / run_secs
        if progress >= 1:
            return None
        most: int = options.num_users or MIN_USERS
        users = round(most * self.share(progress))
        return users, float(most if self.at_once else options.spawn_rate or most)

    def _options(self) -> Any:  # noqa: ANN401 - argparse's
        if self.runner is None:
            raise RuntimeError("The shape is used before the run.")
        return self.runner.environment.parsed_options
