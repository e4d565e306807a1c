"""Runs a replay from the files to the summary.

files -> readers -> (shuffle) -> batches -> (scheduler) -> (overlap) -> senders -> summary
         rows       --shuffle    per device  --speed        --overlap    HTTP
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import aclosing
from itertools import islice
from pathlib import Path

from fleetwire.client import BatchClient
from fleetwire.errors import FleetwireError
from fleetwire.replay.batches import Batcher, ReplayBatch
from fleetwire.replay.options import ReplayOptions
from fleetwire.replay.progress import ReplayProgress
from fleetwire.replay.readers import STDIN, read_files
from fleetwire.replay.rows import TraceRow, UnreadableRows
from fleetwire.replay.scheduler import BatchScheduler
from fleetwire.replay.sender import SenderPool
from fleetwire.replay.summary import OutcomeCount, ReplaySummary
from fleetwire.runtime.clock import monotonic_secs, now_millis

CHUNK_ROWS = 500  # rows per turn of the event loop: about a millisecond, so that receipts are not measured late


class ReplayStopped(FleetwireError):  # noqa: N818 - its name is shown to users
    """Ends a replay that cannot continue. Acknowledged fixes stay stored; repeating the replay is safe."""

    def __init__(self, reason: FleetwireError, summary: ReplaySummary) -> None:
        code, detail = getattr(reason, "code", None), getattr(reason, "detail", None)
        super().__init__(f"{detail} ({code})" if code else str(reason))
        self.reason = reason
        """A `Problem` of the server or the connection, or a `TraceError` of a file."""
        self.summary = summary
        """Outcome up to the failure."""


async def replay(options: ReplayOptions) -> ReplaySummary:
    """Sends recorded fixes to a server as driver apps do, and counts the outcomes.

    Cancelling stops at once: batches in flight may or may not be stored; repeating the replay stores them.

    Raises:
        ReplayStopped: a file cannot be read, the server refuses a batch or the token, or no receipt arrived in time.
        ConfigError: the address or the token is malformed.
    """
    outcomes, unreadable = OutcomeCount(), UnreadableRows()
    client = BatchClient(options.url, options.token, connections=options.senders)
    progress = ReplayProgress(
        outcomes,
        retries=lambda: client.retries,
        total_bytes=_total_bytes(options.files),
        enabled=options.show_progress,
    )
    started_secs = monotonic_secs()
    failure: FleetwireError | None = None
    try:
        with progress:
            async with client:
                await _send_all(options, client, outcomes, unreadable, progress)
    except FleetwireError as error:
        failure = error
    summary = outcomes.summarize(
        secs=monotonic_secs() - started_secs,
        retries=client.retries,
        rows_unreadable=unreadable.rows,
        first_unreadable=unreadable.first,
    )
    if failure is not None:
        raise ReplayStopped(failure, summary) from failure
    return summary


async def _send_all(
    options: ReplayOptions,
    client: BatchClient,
    outcomes: OutcomeCount,
    unreadable: UnreadableRows,
    progress: ReplayProgress,
) -> None:
    repeats = random.Random(options.shuffle_seed or 0)  # noqa: S311 - the choice of repeated batches is no secret
    async with SenderPool(
        client,
        outcomes,
        senders=options.senders,
        retry_timeout_secs=options.retry_timeout_secs,
        on_receipt=progress.show,
    ) as senders:
        # Closed explicitly, not by the garbage collector, because the generator owns open files.
        async with aclosing(_batches(options, outcomes, unreadable, progress)) as batches:
            async for batch in batches:
                await senders.put(batch)
                if repeats.random() < options.overlap:
                    await senders.put(batch)
        await senders.drain()


async def _batches(
    options: ReplayOptions, outcomes: OutcomeCount, unreadable: UnreadableRows, progress: ReplayProgress
) -> AsyncGenerator[ReplayBatch, None]:
    shift_millis = now_millis() - _newest_millis(options) if options.shift_to_now else 0
    max_span_millis = options.batch_secs * 1000 if options.speed is not None else float("inf")
    batcher = Batcher(
        batch_size=options.batch_size,
        max_span_millis=max_span_millis,
        device_prefix=options.device_prefix,
        shift_millis=shift_millis,
    )
    scheduler = None if options.speed is None else BatchScheduler(speed=options.speed, max_span_millis=max_span_millis)
    rows = iter(_rows(options, unreadable, progress))
    while chunk := list(islice(rows, CHUNK_ROWS)):
        outcomes.rows_read += len(chunk)
        closed = batcher.add(chunk)
        if scheduler is not None:
            scheduler.add(closed)
            closed = scheduler.ready(batcher.newest_millis)
        async for batch in _when_due(closed, scheduler):
            yield batch
        await asyncio.sleep(0)
        progress.show()
    closed = batcher.flush()
    if scheduler is not None:
        scheduler.add(closed)
        closed = scheduler.ready(float("inf"))
    async for batch in _when_due(closed, scheduler):
        yield batch


async def _when_due(batches: Iterable[ReplayBatch], scheduler: BatchScheduler | None) -> AsyncIterator[ReplayBatch]:
    for batch in batches:
        if scheduler is not None:
            await scheduler.wait_until_due(batch)
        else:
            await asyncio.sleep(0)
        yield batch


def _rows(options: ReplayOptions, unreadable: UnreadableRows, progress: ReplayProgress) -> Iterator[TraceRow]:
    rows = read_files(options.files, unreadable, merged=options.speed is not None, on_bytes=progress.on_bytes)
    rows = islice(rows, options.limit_rows)
    if options.shuffle_seed is None:
        return rows
    shuffled = list(rows)
    random.Random(options.shuffle_seed).shuffle(shuffled)  # noqa: S311 - the order must be reproducible
    return iter(shuffled)


def _newest_millis(options: ReplayOptions) -> int:
    rows = read_files(options.files, UnreadableRows(), merged=options.speed is not None, on_bytes=lambda _: None)
    return max((row[1] for row in islice(rows, options.limit_rows)), default=0)


def _total_bytes(files: Iterable[str]) -> int:
    """Returns the size of all files; 0 with standard input. A missing file is reported when it is opened."""
    if STDIN in files:
        return 0
    return sum(path.stat().st_size for path in map(Path, files) if path.is_file())
