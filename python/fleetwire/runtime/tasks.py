"""Background tasks that cannot fail unseen."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

T = TypeVar("T")

_log = structlog.get_logger(__name__)

# The event loop keeps only weak references to tasks; without this set a running task could be collected.
_running: set[asyncio.Task[Any]] = set()


def spawn(work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
    """Starts `work` as a named task; an exception it ends with is logged as an error."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    _running.add(task)
    task.add_done_callback(_ended)
    return task


def _ended(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("A background task failed.", task=task.get_name(), exc_info=error)


async def cancel(task: asyncio.Task[Any] | None) -> None:
    """Cancels a task and waits until it is gone; its own failure has been logged by then."""
    if task is None:
        return
    task.cancel()
    await asyncio.wait([task])


async def finish(task: asyncio.Task[None] | None, *, within_secs: float) -> None:
    """Waits for a task that ends by itself, and cancels it only when it takes longer.

    For work in a transaction: one that is cancelled while it begins or ends leaves a connection that must be reset.
    """
    if task is not None:
        await asyncio.wait([task], timeout=within_secs)
        await cancel(task)
