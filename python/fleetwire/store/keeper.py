"""Starts the embedded PostgreSQL again when it dies under a running server."""

import contextlib
import threading
from collections.abc import Iterator

import structlog

from fleetwire.errors import ConfigError
from fleetwire.store.embedded import EmbeddedPostgres

CHECK_SECS = 0.25  # senders hold out for `commit_give_up_secs`, and recovery needs most of that

_log = structlog.get_logger(__name__)


@contextlib.contextmanager
def kept_running(server: EmbeddedPostgres) -> Iterator[None]:
    """For as long, a started server that is gone is started again; its DSN stays the same."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(CHECK_SECS):
            if server.running:
                continue
            _log.error("The embedded PostgreSQL died and is started again.")
            try:
                server.revive()
            except ConfigError as error:
                _log.error("The embedded PostgreSQL did not start; trying again.", error=str(error))

    watcher = threading.Thread(target=watch, name="postgres-keeper", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
