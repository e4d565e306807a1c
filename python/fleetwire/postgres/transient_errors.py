"""Failures of the database as a whole, as opposed to those of one statement: what failed may be tried again.

They decide what a request answers (503, and the sender comes back) and whether a group is tried again as it is. They do
not decide whether a background task lives: see `runtime/supervisor.py`.
"""

import asyncpg

from fleetwire.errors import ConfigError

# Deadlock, serialization, connection gone or refused, server starting, stopping, frozen, out of slots
# or out of disk; its name, a role or a password changed for a moment; a standby, or read-only; its files unreadable.
TRANSIENT = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what a connection says that broke in the middle of an answer
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.PostgresSystemError,
    ConfigError,  # a new connection found settings under which the database would lose what it acknowledges
    OSError,
    TimeoutError,
)
