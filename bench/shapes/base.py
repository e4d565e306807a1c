"""What all shapes share: a share of the users for every part of the run, over --users and --run-time."""

from typing import Any

from locust import LoadTestShape

LEAST_USERS = 1
DEFAULT_SECS = 120.0


class Shape(LoadTestShape):
    """Says by `share` how many of the users there are."""

    abstract = True
    use_common_options = True
    at_once = False
    """Whether users come and go all at once instead of at --spawn-rate."""

    def share(self, progress: float) -> float:
        """The share of the users, 0 to 1, after `progress`, 0 to 1, of the run."""
        raise NotImplementedError

    def tick(self) -> tuple[int, float] | None:
        """What Locust asks every second: how many users, and how many more or fewer per second; None ends the run."""
        options = self._options()
        run_secs = float(options.run_time or DEFAULT_SECS)
        progress = self.get_run_time() / run_secs
        if progress >= 1:
            return None
        most: int = options.num_users or LEAST_USERS
        users = round(most * self.share(progress))
        return users, float(most if self.at_once else options.spawn_rate or most)

    def _options(self) -> Any:  # noqa: ANN401 - argparse's
        if self.runner is None:
            raise RuntimeError("The shape is asked before the run.")
        return self.runner.environment.parsed_options
