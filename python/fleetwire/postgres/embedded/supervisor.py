"""Starts the embedded PostgreSQL again when it dies under a running server."""

import contextlib
import threading
from collections.abc import Callable, Iterator

import structlog

from fleetwire.postgres.embedded.server import EmbeddedPostgres
from fleetwire.runtime.retry import Backoff, RetryState

CHECK_SECS = 0.25  # senders hold out for `commit_give_up_secs`, and recovery needs most of that

_log = structlog.get_logger(__name__)


@contextlib.contextmanager
def kept_running(server: EmbeddedPostgres) -> Iterator[None]:
    """Restarts a server that is gone, for the time of the block; its DSN stays the same.

    A machine that is short of memory, processes or disk may refuse each of the steps: all are tried again.
    """
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(server, done.wait), name="postgres-keeper", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _watch(server: EmbeddedPostgres, wait_for_end: Callable[[float], bool]) -> None:
    state = RetryState("postgres-keeper", Backoff(first_secs=CHECK_SECS))
    pause_secs = CHECK_SECS
    while not wait_for_end(pause_secs):
        try:
            if not server.running:
                _log.error("The embedded PostgreSQL died and is started again.")
                server.revive()
        except Exception as error:  # noqa: BLE001 - that no error ends it is the point
            _log.error("The embedded PostgreSQL did not start; trying again.", error=str(error))
            pause_secs = state.record_failure(error)
        else:
            state.record_success()
            pause_secs = CHECK_SECS
