"""Shows the progress of a replay on standard error: a bar on a terminal, else a line every LINE_SECS."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from fleetwire.replay.summary import OutcomeCount
from fleetwire.runtime.clock import monotonic_secs

LINE_SECS = 5.0
BAR_SECS = 0.2  # redrawing the bar more often would lower the throughput


class ReplayProgress:
    """Shows the counters while the replay runs; a context manager. `show` may be called at any rate."""

    def __init__(
        self,
        outcomes: OutcomeCount,
        *,
        retries: Callable[[], int],
        total_bytes: int,
        enabled: bool,
        console: Console | None = None,
        clock: Callable[[], float] = monotonic_secs,
    ) -> None:
        self._outcomes = outcomes
        self._retries = retries
        self._console = console or Console(stderr=True)
        self._total_bytes = total_bytes
        self._enabled = enabled
        self._read_bytes = 0
        self._clock = clock
        self._started_secs = clock()
        self._next_secs = self._started_secs + (BAR_SECS if self._console.is_terminal else LINE_SECS)
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self._enabled and self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
            # Standard input has no size: the bar then shows activity only.
            self._task = self._bar.add_task("replay", total=self._total_bytes or None)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def on_bytes(self, count: int) -> None:
        """Adds bytes that were read from the files."""
        self._read_bytes += count

    def show(self) -> None:
        """Shows the counters if the last update is old enough."""
        now_secs = self._clock()
        if not self._enabled or now_secs < self._next_secs:
            return
        secs = now_secs - self._started_secs
        sent, stored = self._outcomes.sent, self._outcomes.stored
        text = f"{sent:,} fixes, {stored:,} stored, {sent / secs:,.0f} fixes/s, {self._retries():,} retries"
        if self._bar is not None and self._task is not None:
            self._next_secs = now_secs + BAR_SECS
            self._bar.update(self._task, completed=self._read_bytes, description=text)
            return
        self._next_secs = now_secs + LINE_SECS
        share = f"{100 * self._read_bytes / self._total_bytes:.0f} % read, " if self._total_bytes else ""
        self._console.print(f"replay: {share}{text}", highlight=False)
