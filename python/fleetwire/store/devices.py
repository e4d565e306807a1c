"""Names of devices to their numbers, with a bounded memory and one query for all that ask at once."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable

import asyncpg
import structlog

from fleetwire.errors import DatabaseAway, Overloaded, Problem
from fleetwire.store import statements
from fleetwire.store.faults import PASSING
from fleetwire.store.pool import borrowed
from fleetwire.tasks import spawn

_log = structlog.get_logger(__name__)

_SQL = statements.load("device")
REMEMBERED_DEVICES = 200_000  # about 40 MB at most; a forgotten one costs a query


class Devices:
    """Finds devices by (tenant, name), creating what an ingest key names for the first time.

    `on_met` is told (tenant_id, device_id, name) of every device this worker meets for the first time.
    """

    def __init__(self, pool: asyncpg.Pool, *, on_met: Callable[[int, int, str], object]) -> None:
        self._pool = pool
        self._on_met = on_met
        self._known: OrderedDict[tuple[int, str], int] = OrderedDict()
        self._asked: dict[int, dict[str, asyncio.Future[int]]] = {}
        self._asking: dict[int, asyncio.Task[None]] = {}

    def meet(self, tenant_id: int, device_id: int, name: str) -> None:
        """Remembers a device whose number is known already, from a token or from the warm start."""
        if (tenant_id, name) in self._known:
            return
        self._known[tenant_id, name] = device_id
        if len(self._known) > REMEMBERED_DEVICES:
            self._known.popitem(last=False)
        self._on_met(tenant_id, device_id, name)

    async def resolve(self, tenant_id: int, name: str) -> int:
        """The number of a device, created if it is new.

        Raises:
            Problem: 403 `device_limit`, the tenant may not have another device.
            DatabaseAway: it is.
        """
        known = self._known.get((tenant_id, name))
        if known is not None:
            return known
        asked = self._asked.setdefault(tenant_id, {})
        if name not in asked:
            asked[name] = asyncio.get_running_loop().create_future()
        answer = asked[name]
        if tenant_id not in self._asking:
            # A task of its own: the sender that happens to be first may go away without taking the answer along.
            self._asking[tenant_id] = spawn(self._ask(tenant_id), name=f"devices-of-{tenant_id}")
        return await asyncio.shield(answer)

    async def _ask(self, tenant_id: int) -> None:
        """Asks for all waiting names of a tenant, in rounds, until none is left."""
        try:
            while asked := self._asked.pop(tenant_id, None):
                await self._ask_once(tenant_id, asked)
        finally:
            del self._asking[tenant_id]

    async def _ask_once(self, tenant_id: int, asked: dict[str, asyncio.Future[int]]) -> None:
        refusal: Problem = DatabaseAway()
        try:
            rows = await self._find_or_create(tenant_id, list(asked))
        except PASSING as error:
            _log.warning("Devices could not be looked up.", error=repr(error), devices=len(asked))
        except Exception:  # noqa: BLE001 - whatever it is, it must not leave the senders waiting
            _log.exception("Looking up devices failed.", devices=len(asked))
            refusal = Overloaded("store_failed", "The batch is not acknowledged; send it again.", retry_after_secs=5)
        else:
            for row in rows:
                self.meet(tenant_id, row["device_id"], row["name"])
                asked.pop(row["name"]).set_result(row["device_id"])
            refusal = Problem("device_limit", "The tenant's device limit leaves no room for this device.", status=403)
        for answer in asked.values():
            answer.set_exception(refusal)
            answer.exception()  # Seen: the sender that asked may be gone.

    async def _find_or_create(self, tenant_id: int, names: list[str]) -> list[asyncpg.Record]:
        async with borrowed(self._pool) as connection:
            rows: list[asyncpg.Record] = await connection.fetch(_SQL["find_devices"], tenant_id, names)
            if len(rows) == len(names):
                return rows
            # Only now: creating locks the tenant's row, for its limit.
            return list(await connection.fetch(_SQL["create_devices"], tenant_id, names))
