"""Runs `fleetwire serve` with another application: `python -m bench.server.serve --data-dir D --port 8000`."""

import argparse
from pathlib import Path
from typing import Any

from fleetwire.server import serve
from fleetwire.server.workers import Workers
from fleetwire.settings import Settings


def main() -> None:
    """Serves until SIGTERM; prints `ready http://...` when it is ready."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--app", default="bench.server.empty_app:create_app", help="module:factory of the application")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()

    class _WithOtherApp(Workers):  # the product's server with another application
        def __init__(self, _product: str, **options: Any) -> None:  # noqa: ANN401 - Granian's own
            super().__init__(given.app, **options)

    serve.Workers = _WithOtherApp  # type: ignore[misc]
    settings = Settings.from_env(data_dir=given.data_dir, port=given.port, log_level="warning")
    serve.serve(settings, on_ready=lambda address, _: print(f"ready {address}", flush=True))


if __name__ == "__main__":
    main()
