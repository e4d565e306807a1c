"""The one Redis or Valkey that has what is only convenient to share: counted limits, kept answers.

    one server     that one
    Sentinels      the master that they name
    a Cluster      the primary of one slot: all names that are used have the same part in braces

Where there is a choice, the server is looked for at the first use, and again after a failure: it may be no master any
more, or the slot may have moved.
"""

import asyncio
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from fleetwire.redis import topology
from fleetwire.runtime.tasks import cancel, spawn
from fleetwire.settings import redis_url


class RedisClient:
    """Connections to it; a call fails soon rather than hold up whoever asks, and nothing is tried twice.

    A further call waits for one of the connections as long as for an answer.
    """

    def __init__(self, url: str, tag: str, *, connections: int, answer_secs: float) -> None:
        """`tag` is what stands in braces in every name that is used.

        Raises:
            ConfigError: the address is none.
        """
        self._address = redis_url.parse(url)
        self._tag = tag
        self._options: dict[str, Any] = {
            "max_connections": connections,
            "timeout": answer_secs,
            "socket_timeout": answer_secs,
            "socket_connect_timeout": answer_secs,
            "retry": Retry(NoBackoff(), 0),
        }
        self._answer_secs = answer_secs
        self._is_fixed = self._address.form == "single"
        self._client = (
            Redis.from_pool(BlockingConnectionPool.from_url(url, **self._options)) if self._is_fixed else None
        )
        self._looking: asyncio.Task[Redis | BaseException] | None = None

    async def client(self) -> Redis:
        """A client of the server as it is known.

        Raises:
            any of FAILURES: it cannot be found out.
        """
        if self._client is not None:
            return self._client
        if self._looking is None:
            # A task of its own: to look takes longer than a call may, and is not begun anew by each.
            self._looking = spawn(self._look(), name="redis-server")
        async with asyncio.timeout(self._answer_secs):
            found = await asyncio.shield(self._looking)
        if isinstance(found, BaseException):
            raise found
        return found

    async def failed(self, client: Redis | None) -> None:
        """After a failure of a call: nothing of that client is used again.

        What lies idle may be as broken, and would be found out one by one, each with a pause of its own.
        """
        if client is None:
            return
        if not self._is_fixed and self._client is client:
            self._client = None
        await client.connection_pool.disconnect(inuse_connections=not self._is_fixed)

    async def close(self) -> None:
        """Closes the connections."""
        await cancel(self._looking)
        if self._client is not None:
            await self._client.aclose()

    async def _look(self) -> Redis | BaseException:
        try:
            host, port = await topology.locate(self._address, self._tag)
        except topology.FAILURES as error:
            return error
        else:
            options = {**self._options, **self._address.options, "host": host, "port": port}
            if options.pop("ssl", False):
                options["connection_class"] = SSLConnection
            self._client = Redis.from_pool(BlockingConnectionPool(**options))
            return self._client
        finally:
            self._looking = None
