"""Failures of the database that pass by themselves."""

import asyncpg

from fleetwire.errors import ConfigError

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
    ConfigError,  # a new connection found settings under which the database would lose what it acknowledges
    OSError,
    TimeoutError,
)
