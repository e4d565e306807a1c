"""Adds the users' options to Locust's command line; credentials may come from the environment."""

from typing import Any

import gevent
from locust import events

from bench import REPOSITORY


def register() -> None:
    """Registers the options with Locust."""
    events.init_command_line_parser.add_listener(_add)
    events.init.add_listener(_update_gevent_clock)


def _update_gevent_clock(**_: Any) -> None:  # noqa: ANN401 - Locust's own
    # gevent's timers count from the loop's last update of its clock, which was before the imports: --run-time would
    # end seconds too early.
    gevent.get_hub().loop.update_now()


def _add(parser: Any, **_: Any) -> None:  # noqa: ANN401 - Locust's own
    # Not in an argument group: only Locust's own parser has the options of the web page.
    secret = {"include_in_web_ui": False, "is_secret": True}
    parser.add_argument("--token", env_var="FLEETWIRE_TOKEN", default="", help="an ingest key, for drivers", **secret)
    parser.add_argument(
        "--watch-token", env_var="FLEETWIRE_WATCH_TOKEN", default="", help="a user's token, for dispatchers", **secret
    )
    parser.add_argument(
        "--traces", default="", help="recorded traces to follow, comma-separated (default: seeded routes)"
    )
    parser.add_argument("--trace-rows", type=int, default=200_000, help="largest number of rows to read")
    parser.add_argument("--fleet-seed", type=int, default=7, help="seed of the routes")
    parser.add_argument("--device-prefix", default="locust-", help="prefix of device names")
    parser.add_argument("--every-secs", type=float, default=1.0, help="interval between the batches of a driver")
    parser.add_argument("--batch-size", type=int, default=10, help="fixes per batch")
    results = str(REPOSITORY / "bench" / "results")  # text, because Locust sends the options to its other processes
    parser.add_argument("--save", default=results, help="folder of the result; empty: it is not saved")
