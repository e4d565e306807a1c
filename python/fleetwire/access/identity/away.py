"""The database is away: an answer of its own, which says nothing about whoever asked."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from fleetwire.errors import Overloaded
from fleetwire.postgres.transient_errors import TRANSIENT

_log = structlog.get_logger(__name__)


def unavailable() -> Overloaded:
    """The 503 for whoever asked meanwhile."""
    return Overloaded("access_unavailable", "Credentials cannot be checked at the moment.", retry_after_secs=1)


@contextmanager
def refusing_while_away() -> Iterator[None]:
    """Turns the database's absence into `unavailable()`.

    Raises:
        Overloaded: 503 `access_unavailable`.
    """
    try:
        yield
    except TRANSIENT as error:
        _log.warning("The database is away.", error=str(error))
        raise unavailable() from error
