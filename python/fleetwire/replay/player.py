"""The replay itself.

files -> readers -> (shuffle) -> batches -> (pace) -> (overlap) -> senders -> summary
         rows       --shuffle    per device  --speed   --overlap    HTTP
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import aclosing
from itertools import islice
from pathlib import Path

from fleetwire.client import BatchClient
from fleetwire.clock import monotonic_secs, now_millis
from fleetwire.errors import FleetwireError
from fleetwire.replay.batches import Batch, Batcher
from fleetwire.replay.options import ReplayOptions
from fleetwire.replay.pace import Pace
from fleetwire.replay.progress import ReplayProgress
from fleetwire.replay.readers import STDIN, read_files
from fleetwire.replay.rows import Row, Unreadable
from fleetwire.replay.sender import Senders
from fleetwire.replay.summary import Summary, Tally

CHUNK_ROWS = 500  # read between two turns of the event loop: about a millisecond, so receipts are not measured late


class ReplayStopped(FleetwireError):  # noqa: N818 - what happened, told to a person
    """The replay could not go on. What was acknowledged until then stays stored; repeating the replay is safe."""

    def __init__(self, reason: FleetwireError, summary: Summary) -> None:
        code, detail = getattr(reason, "code", None), getattr(reason, "detail", None)
        super().__init__(f"{detail} ({code})" if code else str(reason))
        self.reason = reason
        """A `Problem` of the server or the way to it, or a `TraceError` of a file."""
        self.summary = summary
        """What was done until then."""


async def replay(options: ReplayOptions) -> Summary:
    """Sends recorded fixes to a server as its drivers' apps would, and counts what came back.

    Cancelling stops at once: batches in flight may or may not be stored, which a second replay settles.

    Raises:
        ReplayStopped: a file cannot be read, the server refuses a batch or the token, or no receipt came in time.
        ConfigError: the address or the token is malformed.
    """
    tally, unreadable = Tally(), Unreadable()
    client = BatchClient(options.url, options.token, connections=options.senders)
    progress = ReplayProgress(
        tally,
        retries=lambda: client.retries,
        total_bytes=_total_bytes(options.files),
        enabled=options.show_progress,
    )
    began_secs = monotonic_secs()
    failure: FleetwireError | None = None
    try:
        with progress:
            async with client:
                await _send_all(options, client, tally, unreadable, progress)
    except FleetwireError as error:
        failure = error
    summary = tally.close(
        secs=monotonic_secs() - began_secs,
        retries=client.retries,
        rows_unreadable=unreadable.rows,
        first_unreadable=unreadable.first,
    )
    if failure is not None:
        raise ReplayStopped(failure, summary) from failure
    return summary


async def _send_all(
    options: ReplayOptions, client: BatchClient, tally: Tally, unreadable: Unreadable, progress: ReplayProgress
) -> None:
    repeats = random.Random(options.shuffle_seed or 0)  # noqa: S311 - which batches are repeated is no secret
    async with Senders(
        client,
        tally,
        senders=options.senders,
        retry_timeout_secs=options.retry_timeout_secs,
        on_receipt=progress.show,
    ) as senders:
        # Closed here and not by the collector: it holds the files open.
        async with aclosing(_batches(options, tally, unreadable, progress)) as batches:
            async for batch in batches:
                await senders.put(batch)
                if repeats.random() < options.overlap:
                    await senders.put(batch)
        await senders.drain()


async def _batches(
    options: ReplayOptions, tally: Tally, unreadable: Unreadable, progress: ReplayProgress
) -> AsyncGenerator[Batch, None]:
    shift_millis = now_millis() - _newest_millis(options) if options.shift_to_now else 0
    span_millis = options.batch_secs * 1000 if options.speed is not None else float("inf")
    batcher = Batcher(
        batch_size=options.batch_size,
        span_millis=span_millis,
        device_prefix=options.device_prefix,
        shift_millis=shift_millis,
    )
    pace = None if options.speed is None else Pace(speed=options.speed, span_millis=span_millis)
    rows = iter(_rows(options, unreadable, progress))
    while chunk := list(islice(rows, CHUNK_ROWS)):
        tally.rows_read += len(chunk)
        closed = batcher.add(chunk)
        if pace is not None:
            pace.push(closed)
            closed = pace.settled(batcher.newest_millis)
        async for batch in _in_time(closed, pace):
            yield batch
        await asyncio.sleep(0)
        progress.show()
    closed = batcher.flush()
    if pace is not None:
        pace.push(closed)
        closed = pace.settled(float("inf"))
    async for batch in _in_time(closed, pace):
        yield batch


async def _in_time(batches: Iterable[Batch], pace: Pace | None) -> AsyncIterator[Batch]:
    for batch in batches:
        if pace is not None:
            await pace.until_due(batch)
        else:
            await asyncio.sleep(0)
        yield batch


def _rows(options: ReplayOptions, unreadable: Unreadable, progress: ReplayProgress) -> Iterator[Row]:
    rows = read_files(options.files, unreadable, merged=options.speed is not None, on_bytes=progress.on_bytes)
    rows = islice(rows, options.limit_rows)
    if options.shuffle_seed is None:
        return rows
    shuffled = list(rows)
    random.Random(options.shuffle_seed).shuffle(shuffled)  # noqa: S311 - a reproducible order is the point
    return iter(shuffled)


def _newest_millis(options: ReplayOptions) -> int:
    rows = read_files(options.files, Unreadable(), merged=options.speed is not None, on_bytes=lambda _: None)
    return max((row[1] for row in islice(rows, options.limit_rows)), default=0)


def _total_bytes(files: Iterable[str]) -> int:
    """0 if a file has no size; a missing one is reported when its turn comes."""
    if STDIN in files:
        return 0
    return sum(path.stat().st_size for path in map(Path, files) if path.is_file())
