"""Names of devices to their numbers, with a bounded memory and one query for all that ask at once.

    resolve() -> known? --no--> names waiting (bounded) -> one round at a time per tenant -> the answer

A round that fails for a passing reason puts its names back, for as long as their senders are to wait: a connection that
is cut costs a moment, and a database that stays away costs every sender the same patience as a commit does.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import asyncpg
import structlog

from fleetwire.errors import DatabaseAway, Overloaded, Problem
from fleetwire.postgres import statements
from fleetwire.postgres.pool import ANSWER_SECS, acquire
from fleetwire.postgres.transient_errors import TRANSIENT
from fleetwire.runtime import clock
from fleetwire.runtime.tasks import spawn
from fleetwire.telemetry import metrics

_log = structlog.get_logger(__name__)

_SQL = statements.load("store/device")
DEVICES_TAG = "devices"  # of kept answers that list a tenant's devices
REMEMBERED_DEVICES = 200_000  # about 40 MB at most; a forgotten one costs a query
ASKED_DEVICES = 20_000  # about 20 MB at most; the senders beyond are told to come back
ASKED_OF_A_TENANT = 10_000  # one fleet that comes back as a whole leaves room for the others
RETRY_PAUSE_SECS = 0.5


class _Asked(NamedTuple):
    """A name that is being asked for."""

    answer: asyncio.Future[int]
    give_up_at_secs: float


class Devices:
    """Finds devices by (tenant, name), creating what an ingest key names for the first time.

    `on_met` is told (tenant_id, device_id, name) of every device this worker meets for the first time, `on_created` of
    every tenant that may have new ones, once they are committed. Nobody waits longer than `patience_secs`.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        patience_secs: float,
        on_met: Callable[[int, int, str], object],
        on_created: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._pool = pool
        self._patience_secs = patience_secs
        self._on_met = on_met
        self._on_created = on_created
        self._known: OrderedDict[tuple[int, str], int] = OrderedDict()
        self._asked: dict[int, dict[str, _Asked]] = {}  # of the tenants for which a task asks
        self._asked_count = 0
        self._asking: dict[int, asyncio.Task[None]] = {}

    def meet(self, tenant_id: int, device_id: int, name: str) -> None:
        """Remembers a device whose number is known already, from a token or from the warm start."""
        if (tenant_id, name) in self._known:
            return
        self._known[tenant_id, name] = device_id
        if len(self._known) > REMEMBERED_DEVICES:
            self._known.popitem(last=False)
        self._on_met(tenant_id, device_id, name)

    def known(self, tenant_id: int, name: str) -> int | None:
        """The number of a device, if it is remembered here."""
        return self._known.get((tenant_id, name))

    def forget(self, tenant_id: int) -> None:
        """Forgets the names of a tenant that is no more."""
        for known in [known for known in self._known if known[0] == tenant_id]:
            del self._known[known]

    def clear(self) -> None:
        """Clears the cache: in another database the numbers may be other devices'."""
        self._known.clear()

    async def resolve(self, tenant_id: int, name: str) -> int:
        """The number of a device, created if it is new.

        Raises:
            Problem: 403 `device_limit`, the tenant may not have another device.
            Overloaded: 503 `intake_full`, too many names are being asked for.
            DatabaseAway: it did not answer in time.
        """
        known = self.known(tenant_id, name)
        if known is not None:
            return known
        answer = self._ask(tenant_id, name)
        # Not wait_for: it would cancel the answer, which other senders may be waiting for.
        done, _ = await asyncio.wait([answer], timeout=self._patience_secs)
        if not done:
            raise DatabaseAway
        return answer.result()

    def _ask(self, tenant_id: int, name: str) -> asyncio.Future[int]:
        asked = self._asked.get(tenant_id, {})
        if name in asked:
            return asked[name].answer
        if self._asked_count >= ASKED_DEVICES or len(asked) >= ASKED_OF_A_TENANT:
            metrics.DEVICE_LOOKUPS_REFUSED.inc()
            raise Overloaded("intake_full", "Too many unknown devices at once; send it again.", retry_after_secs=1)
        give_up_at_secs = clock.monotonic_secs() + self._patience_secs
        asked[name] = _Asked(asyncio.get_running_loop().create_future(), give_up_at_secs)
        self._asked_count += 1
        if tenant_id not in self._asked:
            self._asked[tenant_id] = asked
            # A task of its own: the sender that happens to be first may go away without taking the answer along.
            asking = self._ask_until_answered(tenant_id, asked)
            self._asking[tenant_id] = spawn(asking, name=f"devices-of-{tenant_id}")
        return asked[name].answer

    async def _ask_until_answered(self, tenant_id: int, asked: dict[str, _Asked]) -> None:
        """Asks for all names of a tenant, in rounds, until each has its answer; new ones join the next round."""
        try:
            while asked:
                await self._ask_once(tenant_id, asked, list(asked))
        finally:
            self._refuse(asked, list(asked), DatabaseAway())  # If the task ends early, nobody waits or counts for it.
            del self._asked[tenant_id], self._asking[tenant_id]

    async def _ask_once(self, tenant_id: int, asked: dict[str, _Asked], names: list[str]) -> None:
        try:
            rows = await self._find_or_create(tenant_id, names)
        except TRANSIENT as error:
            _log.warning("Devices could not be looked up.", error=repr(error), devices=len(names))
            await asyncio.sleep(RETRY_PAUSE_SECS)
            now_secs = clock.monotonic_secs()
            late = [name for name in names if asked[name].give_up_at_secs <= now_secs]
            self._refuse(asked, late, DatabaseAway())
        except Exception:  # noqa: BLE001 - whatever it is, it must not leave the senders waiting
            _log.exception("Looking up devices failed.", devices=len(names))
            failed = Overloaded("store_failed", "The batch is not acknowledged; send it again.", retry_after_secs=5)
            self._refuse(asked, names, failed)
        else:
            for row in rows:
                self.meet(tenant_id, row["device_id"], row["name"])
                self._take(asked, row["name"]).set_result(row["device_id"])
            beyond = Problem("device_limit", "The tenant's device limit leaves no room for this device.", status=403)
            self._refuse(asked, [name for name in names if name in asked], beyond)

    def _take(self, asked: dict[str, _Asked], name: str) -> asyncio.Future[int]:
        self._asked_count -= 1
        return asked.pop(name).answer

    def _refuse(self, asked: dict[str, _Asked], names: list[str], refusal: Problem) -> None:
        for name in names:
            answer = self._take(asked, name)
            answer.set_exception(refusal)
            answer.exception()  # Seen: the sender that asked may be gone.

    async def _find_or_create(self, tenant_id: int, names: list[str]) -> list[asyncpg.Record]:
        async with acquire(self._pool, limit_secs=min(ANSWER_SECS, self._patience_secs)) as connection:
            rows: list[asyncpg.Record] = await connection.fetch(_SQL["find_devices"], tenant_id, names)
            if len(rows) == len(names):
                return rows
            # Only now: creating locks the tenant's row, for its limit.
            rows = list(await connection.fetch(_SQL["create_devices"], tenant_id, names))
        self._on_created(tenant_id)
        return rows
