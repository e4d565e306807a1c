"""Writes told to other workers, and heard from them and from the command line, as PostgreSQL notifications.

    "<worker> <tenant_id> <tag>", the worker a random word; what cannot be read drops everything

Works with and without Redis. While the listening connection is lost nothing is heard, hence all is dropped when it is
back; until then a kept answer is as old as its rule allows, at most.
"""

import asyncio
import secrets
from typing import Any, Final

from fleetwire.cache.responses import ResponseCache
from fleetwire.postgres.channels import CHANNEL, payload
from fleetwire.postgres.listener import Listener
from fleetwire.postgres.pool import acquire
from fleetwire.postgres.statements import load
from fleetwire.runtime import supervisor
from fleetwire.runtime.supervisor import SupervisedTask, supervise

MAX_PENDING: Final = 10_000

_EVERYTHING: Final = "*"
_SQL = load("cache/cache")


class InvalidationBus:
    """One worker's end."""

    def __init__(
        self,
        pool: Any,  # noqa: ANN401 - asyncpg ships no types
        listener: Listener,
        responses: ResponseCache,
    ) -> None:
        self._pool = pool
        self._responses = responses
        self._worker = secrets.token_hex(8)
        listener.on(CHANNEL, heard=self._hear, connected=responses.forget)
        self._pending: set[str] = set()
        self._arrived = asyncio.Event()
        self._telling: SupervisedTask | None = None

    def start(self) -> None:
        """Tells from now on."""
        self._responses.on_invalidated = self.publish
        self._telling = supervise(self._tell_next, name="cache-notices")

    async def stop(self) -> None:
        """Tells no more."""
        await supervisor.stop(self._telling)

    def publish(self, tenant_id: int, tag: str) -> None:
        """Tells the other workers a moment later; while the database is away, when it is back."""
        if len(self._pending) >= MAX_PENDING:
            self._pending = {_EVERYTHING}
        self._pending.add(payload(self._worker, tenant_id, tag))
        self._arrived.set()

    async def _tell_next(self) -> None:
        await self._arrived.wait()
        self._arrived.clear()
        told, self._pending = self._pending, set()
        try:
            async with acquire(self._pool) as connection:
                await connection.executemany(_SQL["notify_outdated"], [(CHANNEL, each) for each in told])
        except BaseException:
            self._pending |= told
            self._arrived.set()
            raise

    def _hear(self, text: str) -> None:
        worker, _, rest = text.partition(" ")
        if worker == self._worker:
            return
        tenant_id, _, tag = rest.partition(" ")
        if tenant_id.isdecimal() and tag:
            self._responses.hear(int(tenant_id), tag)
        else:
            self._responses.forget()
