"""What the users need to know, as options of Locust's command line; credentials also come from the environment."""

from typing import Any

import gevent
from locust import events

from bench.ingest.options import REPOSITORY


def register() -> None:
    """Adds the options."""
    events.init_command_line_parser.add_listener(_add)
    events.init.add_listener(_wake_up)


def _wake_up(**_: Any) -> None:  # noqa: ANN401 - Locust's own
    # gevent's timers count from when its loop last looked at the clock, which was before the imports: --run-time
    # would end seconds too early.
    gevent.get_hub().loop.update_now()


def _add(parser: Any, **_: Any) -> None:  # noqa: ANN401 - Locust's own
    # Not in a group: only Locust's parser itself knows what the web page may show.
    secret = {"include_in_web_ui": False, "is_secret": True}
    parser.add_argument("--token", env_var="FLEETWIRE_TOKEN", default="", help="an ingest key, for drivers", **secret)
    parser.add_argument(
        "--watch-token", env_var="FLEETWIRE_WATCH_TOKEN", default="", help="a user's token, for dispatchers", **secret
    )
    parser.add_argument("--traces", default="", help="recorded traces to drive by, comma-separated (seeded routes)")
    parser.add_argument("--trace-rows", type=int, default=200_000, help="rows that are read of them at most")
    parser.add_argument("--fleet-seed", type=int, default=7, help="the same seed makes the same routes")
    parser.add_argument("--device-prefix", default="locust-", help="names of devices go on with a number")
    parser.add_argument("--every-secs", type=float, default=1.0, help="from one batch of a driver to the next")
    parser.add_argument("--batch-size", type=int, default=10, help="fixes of a batch")
    results = str(REPOSITORY / "bench" / "results")  # text, because Locust sends the options to its other processes
    parser.add_argument("--save", default=results, help="folder for the result; empty: it is not kept")
