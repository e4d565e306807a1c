"""What a group may do under the locks of its devices, and what it is when it would do more.

Every batch of a group waits for all of them: so a statement has little time, and looks up little history. A group out
of these bounds is `Divisible`: nothing of it was stored, and its parts can be committed apart (`writer.py`).
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from fleetwire.postgres.pools import LOCK_SECS
from fleetwire.settings import Settings

TIMEOUTS_PER_GROUP: Final = 8
"""How often a group may be stopped by the server before its senders get 503: enough to find the batch at fault."""
MIN_TIMEOUT_SECS: Final = 0.5  # several times what the largest group takes
MAX_DEVICE_DAYS: Final = 8  # of history looked up for one device of a group: a phone that was away for a week
MAX_GROUP_DAYS: Final = 512  # of all its devices: 40 ms for a day with merged rows each
_DAY_MILLIS = 86_400_000

Span = tuple[int, int, int, int]
"""(tenant_id, device_id, from_millis, to_millis) of `Group.late_spans`."""


class Divisible(Exception):  # noqa: N818 - no error: nothing was stored, and the parts of the group can be committed
    """A group is not committed as it is."""


class TooSlow(Divisible):
    """The server stopped a statement of the group, or would have to look up too many days for it."""


class WithoutPartition(Divisible):
    """Some days of the group's fixes, counted from 1970, have no partition yet."""

    def __init__(self, days: Iterable[int]) -> None:
        super().__init__(days)
        self.days = frozenset(days)


class FarBack(Divisible):
    """Fixes of these (tenant, device) reach back to more days of history than a group may look up."""

    def __init__(self, devices: Iterable[tuple[int, int]]) -> None:
        super().__init__(devices)
        self.devices = frozenset(devices)


def statement_limits(settings: Settings) -> dict[str, str]:
    """PostgreSQL's settings that bound a statement of a group, short enough to find the batch at fault in time.

    A wait for a lock ends before the statement does, so that the two can be told from each other.
    """
    timeout_secs = group_timeout_secs(settings)
    lock_secs = min(LOCK_SECS, 0.8 * timeout_secs)
    return {"statement_timeout": str(round(timeout_secs * 1000)), "lock_timeout": str(round(lock_secs * 1000))}


def group_timeout_secs(settings: Settings) -> float:
    """How long a statement of a group may run."""
    of_group_secs = max(MIN_TIMEOUT_SECS, settings.patience_secs / TIMEOUTS_PER_GROUP)
    return min(settings.statement_timeout_secs, of_group_secs)


def out_of_bounds(spans: list[Span]) -> Divisible | None:
    """Returns what a group is that would look up so much history; None if it may."""
    if len(spans) <= MAX_DEVICE_DAYS:
        return None
    days = {(tenant_id, device_id, from_millis // _DAY_MILLIS) for tenant_id, device_id, from_millis, _ in spans}
    of_device = Counter((tenant_id, device_id) for tenant_id, device_id, _ in days)
    if far := [device for device, count in of_device.items() if count > MAX_DEVICE_DAYS]:
        return FarBack(far)
    return TooSlow() if len(days) > MAX_GROUP_DAYS else None
