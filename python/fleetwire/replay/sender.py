"""Posts batches over N connections from one bounded queue until each batch has a receipt.

The first batch that is refused, or whose retries time out, stops all senders. The bound of the queue (two batches per
sender) makes the reader wait for the server.
"""

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

from fleetwire.client import BatchClient
from fleetwire.errors import Problem
from fleetwire.replay.batches import ReplayBatch
from fleetwire.replay.summary import OutcomeCount
from fleetwire.runtime.tasks import cancel, spawn


class SenderPool:
    """Runs the sender tasks; an async context manager. Leaving it discards queued batches, so call `drain` first."""

    def __init__(
        self,
        client: BatchClient,
        outcomes: OutcomeCount,
        *,
        senders: int,
        retry_timeout_secs: float,
        on_receipt: Callable[[], None],
    ) -> None:
        self._client = client
        self._outcomes = outcomes
        self._count = senders
        self._retry_timeout_secs = retry_timeout_secs
        self._on_receipt = on_receipt
        self._queue: asyncio.Queue[ReplayBatch] = asyncio.Queue(maxsize=2 * senders)
        self._tasks: list[asyncio.Task[None]] = []
        self._failed: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        self._failed = asyncio.get_running_loop().create_future()
        self._tasks = [spawn(self._send(), name=f"replay-sender-{number}") for number in range(self._count)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            await cancel(task)
        if self._failed is not None and not self._failed.cancel():
            self._failed.exception()  # Retrieved, so that asyncio does not log an unretrieved exception.

    async def put(self, batch: ReplayBatch) -> None:
        """Queues a batch, waiting while the queue is full.

        Raises:
            Problem: a batch was refused or had no answer in time.
        """
        if self._queue.full():
            await self._unless_failed(self._queue.put(batch))
        else:
            self._raise_failure()
            self._queue.put_nowait(batch)

    async def drain(self) -> None:
        """Waits until every queued batch has its receipt.

        Raises:
            Problem: a batch was refused or had no answer in time.
        """
        await self._unless_failed(self._queue.join())

    def _raise_failure(self) -> None:
        if self._failed is not None and self._failed.done():
            self._failed.result()

    async def _unless_failed(self, waiting: Coroutine[Any, Any, None]) -> None:
        if self._failed is None:
            raise RuntimeError("The senders are used outside of their context.")
        task = spawn(waiting, name="replay-wait")
        try:
            await asyncio.wait([task, self._failed], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel(task)
        self._raise_failure()

    async def _send(self) -> None:
        while True:
            batch = await self._queue.get()
            try:
                result = await self._client.post(batch.body, retry_timeout_secs=self._retry_timeout_secs)
            except Problem as problem:
                self._fail(problem)
                return
            if result.receipt.fixes != batch.fixes:
                detail = f"{batch.fixes} fixes were sent, the receipt counts {result.receipt.fixes}."
                self._fail(Problem("receipt_mismatch", detail, status=502))
                return
            self._outcomes.add(result)
            self._on_receipt()
            self._queue.task_done()

    def _fail(self, problem: Problem) -> None:
        if self._failed is not None and not self._failed.done():
            self._failed.set_exception(problem)
