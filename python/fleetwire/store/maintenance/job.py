"""Runs jobs of upkeep in turn, each for a bounded time, and stores where each goes on.

    round -> job due? -> run(place, pace) for at most its slice -> place stored in `upkeep_job`
                                                                   unfinished: goes on in the next round

A pass of a job goes over everything once. What is left of a pass when the slice is over is done in later rounds, by
whichever process does them, so no job keeps another one waiting and no tenant, partition or device is always last.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import msgspec

from fleetwire.postgres import statements
from fleetwire.runtime import clock

_SQL = statements.load("store/maintenance/upkeep")

LATE_SECS: Final = 3600.0
"""How far behind its interval a job may be before `/health` says so."""
HURRY_SECS: Final = 300.0
"""A pass that takes longer than this rests less."""
REST: Final = 1.0
HURRIED_REST: Final = 0.1

Pace = Callable[[float], Awaitable[bool]]
"""Called after each transaction with the seconds it took; may sleep. False ends the slice."""
Place = dict[str, Any]
"""Where a job goes on, as JSON; the job changes it as it goes."""


@dataclass(frozen=True, slots=True)
class Job:
    """One kind of work.

    `run` gets the place and the pace, and returns whether its pass is complete. `late` is the sentence that says in
    `/health` what a backlog means.
    """

    name: str
    run: Callable[[Place, Pace], Awaitable[bool]]
    every_secs: float
    slice_secs: float
    late: str


@dataclass(frozen=True, slots=True)
class JobState:
    """What the database knows of a job, at the time of reading."""

    name: str
    place: Place
    under_way_secs: float | None
    """Since the pass that is not complete began; None between two passes."""
    finished_secs: float | None
    """Since the last pass was complete; None before the first."""

    def is_due(self, every_secs: float) -> bool:
        """Whether the job has something to go on with, or its interval is over."""
        return self.under_way_secs is not None or self.finished_secs is None or self.finished_secs >= every_secs

    def lag_secs(self, every_secs: float) -> float:
        """How long the job's pass has been due or under way; 0 between two passes."""
        if self.under_way_secs is not None:
            return self.under_way_secs
        return 0.0 if self.finished_secs is None else max(0.0, self.finished_secs - every_secs)


async def load_states(connection: asyncpg.Connection) -> dict[str, JobState]:
    """Reads the state of every job that has run."""
    return {
        row["name"]: JobState(
            row["name"], msgspec.json.decode(row["place"]), row["under_way_secs"], row["finished_secs"]
        )
        for row in await connection.fetch(_SQL["load_jobs"])
    }


async def run_jobs(
    connection: asyncpg.Connection, jobs: Iterable[Job], *, pace: Pace | None = None
) -> list[tuple[str, Exception]]:
    """Runs every job that is due for its slice; returns the names of those that failed, with their errors.

    With a `pace`, every job is run from the beginning of its pass and by that pace. A job that fails does not keep the
    others from running, unless the connection is gone.
    """
    failed: list[tuple[str, Exception]] = []
    states = await load_states(connection)
    for job in jobs:
        state = states.get(job.name, JobState(job.name, {}, None, None))
        if pace is None and not state.is_due(job.every_secs):
            continue
        place = state.place if pace is None else {}
        hurried = state.lag_secs(job.every_secs) > HURRY_SECS
        is_complete = False
        try:
            is_complete = await job.run(place, pace or _slice(job.slice_secs, rest=HURRIED_REST if hurried else REST))
        except Exception as error:
            if connection.is_closed():
                raise
            failed.append((job.name, error))
        await connection.execute(_SQL["save_job"], job.name, msgspec.json.encode(place).decode(), is_complete)
    return failed


def _slice(limit_secs: float, *, rest: float) -> Pace:
    """Returns a pace that rests after each transaction, in proportion to its time, and ends after `limit_secs`."""
    stop_at_secs = clock.monotonic_secs() + limit_secs

    async def pace(spent_secs: float) -> bool:
        await asyncio.sleep(spent_secs * rest)
        return clock.monotonic_secs() < stop_at_secs

    return pace


async def at_once(_: float) -> bool:
    """The pace of a command: no rest, no end."""
    return True
