"""A wall clock of a server's own that jumps while it runs. The database keeps the right time, and so does the test."""

from collections.abc import Mapping
from pathlib import Path

from .fixes import now_millis
from .process import environment

HOUR_MILLIS = 3_600_000


class ShiftedClock:
    """What a server that is started with `settings` takes for the time."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self._offset_millis = 0
        self.jump_to(hours=0)

    @property
    def settings(self) -> Mapping[str, str]:
        """The child's environment."""
        path = f"{Path(__file__).with_name('shifted_clock')}:{environment()['PYTHONPATH']}"
        return {"PYTHONPATH": path, "TEST_CLOCK_FILE": str(self._file)}

    def jump_to(self, *, hours: float) -> None:
        """From now on, the server is so many hours ahead of the right time."""
        self._offset_millis = round(hours * HOUR_MILLIS)
        # Replaced, not rewritten: the server may be reading it.
        fresh = self._file.with_suffix(".new")
        fresh.write_text(str(self._offset_millis))
        fresh.replace(self._file)

    def now_millis(self) -> int:
        """The time as the server has it."""
        return now_millis() + self._offset_millis
