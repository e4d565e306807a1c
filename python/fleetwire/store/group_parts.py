"""Parts of a group that are committed apart from each other, and the devices whose batches are from the start."""

from collections.abc import Callable, Sequence
from math import ceil
from typing import Final, NamedTuple

from fleetwire.runtime import clock
from fleetwire.store.commit_queue import WaitingBatch

SLOW_DEVICE_SECS: Final = 60.0  # a batch that took too long comes again, and shall not hold up a group each time
MAX_SLOW_DEVICES: Final = 1_000


class Part(NamedTuple):
    """Batches of a group that are committed together."""

    waiting: Sequence[WaitingBatch]
    waits_for_locks: bool = False
    """Whether what is locked by others was told apart already."""
    is_locked: bool = False
    """Whether others have its devices locked: it waits for them until the group is given up."""

    def cut(self, parts: int) -> list["Part"]:
        """Returns as many parts of about the same size, or one for each batch."""
        size = ceil(len(self.waiting) / parts)
        starts = range(0, len(self.waiting), size)
        return [self._replace(waiting=self.waiting[start : start + size]) for start in starts]


def told_apart(
    waiting: Sequence[WaitingBatch], is_apart: Callable[[WaitingBatch], bool]
) -> tuple[list[WaitingBatch], list[WaitingBatch]]:
    """Those for which it is true, and the others."""
    parts: tuple[list[WaitingBatch], list[WaitingBatch]] = ([], [])
    for each in waiting:
        parts[not is_apart(each)].append(each)
    return parts


class SlowDevices:
    """Devices of which a batch took too long a moment ago: bounded, and nearly always empty."""

    def __init__(self) -> None:
        self._until_secs: dict[tuple[int, int], float] = {}

    def __bool__(self) -> bool:
        return bool(self._until_secs)

    def note(self, waiting: WaitingBatch) -> None:
        """Remembers the batch's device for a minute; where there is no room, its next batch is tried in its group."""
        now_secs = clock.monotonic_secs()
        self._until_secs = {device: until for device, until in self._until_secs.items() if until > now_secs}
        if len(self._until_secs) < MAX_SLOW_DEVICES:
            self._until_secs[waiting.device] = now_secs + SLOW_DEVICE_SECS

    def includes(self, waiting: WaitingBatch) -> bool:
        """Whether the batch's device is one of them."""
        if self._until_secs.get(waiting.device, 0.0) > clock.monotonic_secs():
            return True
        self._until_secs.pop(waiting.device, None)
        return False
