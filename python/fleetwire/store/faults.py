"""Failures of the database that pass by themselves, and what a sender is told meanwhile."""

import asyncpg

from fleetwire.errors import Overloaded

# Deadlock, serialization, connection gone or refused, server starting, stopping, frozen or out of slots.
PASSING = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what a connection says that broke in the middle of an answer
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    OSError,
    TimeoutError,
)


def unavailable() -> Overloaded:
    """The database did not answer in time; the sender keeps its batch."""
    return Overloaded("database_unavailable", "The database is away; send it again.", retry_after_secs=5)
