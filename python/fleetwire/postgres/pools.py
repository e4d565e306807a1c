"""The pools of a worker by name: opened alike, watched for slow statements, and counted."""

import contextlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import asyncpg

from fleetwire.postgres.incarnation import Incarnation
from fleetwire.postgres.pool import DatabaseRole, open_pool
from fleetwire.postgres.slow_queries import SlowQueries
from fleetwire.settings import Settings
from fleetwire.telemetry import metrics

LOCK_SECS = 1.0  # longest wait for a row: merging and other workers keep one for milliseconds
AT_START: Final = MappingProxyType({"app": 2, "writer": 2})
"""Connections that a pool opens at once, if not one; the others when they are needed, which takes some milliseconds."""


class Pools:
    """Opens pools and closes them with `exits`."""

    def __init__(
        self,
        settings: Settings,
        exits: contextlib.AsyncExitStack,
        *,
        incarnation: Incarnation,
        on_query: Callable[[Any], None] | None = None,
    ) -> None:
        """`on_query` is told of every finished statement of every pool (asyncpg's LoggedQuery).

        `incarnation` notes the fingerprint of every new connection.
        """
        self._incarnation = incarnation
        self._settings = settings
        self._exits = exits
        self._on_query = [] if on_query is None else [on_query]
        self._pools: dict[str, tuple[asyncpg.Pool, SlowQueries]] = {}

    async def open(
        self,
        name: str,
        dsn: str,
        role: DatabaseRole,
        most: int,
        more_settings: Mapping[str, str] = MappingProxyType({}),
    ) -> asyncpg.Pool:
        """A pool of up to `most` connections.

        Raises:
            ConfigError: as `open_pool`.
        """
        settings = self._settings
        slow = SlowQueries(name, over_secs=settings.slow_query_secs)
        pool = await open_pool(
            dsn,
            role,
            min_size=min(AT_START.get(name, 1), most),
            max_size=most,
            connect_timeout_secs=settings.connect_timeout_secs,
            statement_timeout_millis=round(settings.statement_timeout_secs * 1000),
            # At least two tries within patience, so that the server ends the wait itself: the session of a connection
            # that is cut goes on waiting, and under a lock held for long each try would leave one behind.
            lock_timeout_millis=round(min(LOCK_SECS, settings.patience_secs / 2) * 1000),
            more_settings=more_settings,
            idle_secs=settings.idle_connection_secs,
            on_connected=self._incarnation.note,
            on_query=[*self._on_query, *([slow.look] if settings.slow_query_secs > 0 else [])],
        )
        slow.pool = pool
        # Terminated, not closed: close waits for connections that a frozen database never gives back.
        self._exits.callback(pool.terminate)
        self._exits.push_async_callback(slow.stop)
        self._pools[name] = pool, slow
        return pool

    async def replace_connections(self) -> None:
        """Closes every connection at its next return: in another database its statements and types mean nothing."""
        for pool, _ in self._pools.values():
            await pool.expire_connections()

    def stats(self) -> list[dict[str, Any]]:
        """What each pool has and does."""
        return [
            {
                "pool": name,
                "active": pool.get_size() - pool.get_idle_size(),
                "idle": pool.get_idle_size(),
                "open": pool.get_size(),
                "min": pool.get_min_size(),
                "max": pool.get_max_size(),
                "slow_queries": slow.slow,
            }
            for name, (pool, slow) in self._pools.items()
        ]

    def publish(self) -> None:
        """Sets the gauges, for who is about to read them."""
        for row in self.stats():
            metrics.CONNECTIONS_ACTIVE.labels(row["pool"]).set(row["active"])
            metrics.CONNECTIONS_OPEN.labels(row["pool"]).set(row["open"])
            metrics.CONNECTIONS_MAX.labels(row["pool"]).set(row["max"])
