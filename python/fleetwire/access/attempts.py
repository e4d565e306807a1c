"""How often a login may be tried.

Guessing one user's password is slowed by the pair of address and user, trying one password on many users by the
address. A window slides: no minute, wherever it starts, holds more than the limit.
"""

import ipaddress
from collections import OrderedDict, deque
from typing import Final

from fleetwire import metrics
from fleetwire.errors import Problem

WINDOW_SECS: Final = 60.0
PER_USER: Final = 10  # per window, address and user
PER_ADDRESS: Final = 30  # per window and address

# Both tables together stay under about 20 MB, each entry holding at most `PER_ADDRESS` times.
MAX_KEYS: Final = 20_000


class _Window:
    """Times of the last attempts by key; the key used longest ago makes room when the table is full."""

    def __init__(self, *, limit: int, max_keys: int) -> None:
        self._limit = limit
        self._max_keys = max_keys
        self._times: OrderedDict[tuple[str, ...], deque[float]] = OrderedDict()

    def wait_secs(self, key: tuple[str, ...], now_secs: float) -> float:
        """How long until one more attempt is allowed; 0 when it is."""
        times = self._times.get(key)
        if times is None:
            return 0.0
        while times and times[0] <= now_secs - WINDOW_SECS:
            times.popleft()
        return times[0] + WINDOW_SECS - now_secs if len(times) >= self._limit else 0.0

    def note(self, key: tuple[str, ...], now_secs: float) -> None:
        self._times.setdefault(key, deque(maxlen=self._limit)).append(now_secs)
        self._times.move_to_end(key)
        if len(self._times) > self._max_keys:
            self._times.popitem(last=False)

    def __len__(self) -> int:
        return len(self._times)


class LoginAttempts:
    """Counts attempts, right and wrong ones alike; what is refused here does not count again."""

    def __init__(self, *, per_user: int = PER_USER, per_address: int = PER_ADDRESS, max_keys: int = MAX_KEYS) -> None:
        self._users = _Window(limit=per_user, max_keys=max_keys)
        self._addresses = _Window(limit=per_address, max_keys=max_keys)

    def take(self, address: str | None, tenant: str, user: str, *, now_secs: float) -> None:
        """Counts one attempt at the monotonic time `now_secs`.

        Raises:
            Problem: 429 `login_rate` with the seconds to wait.
        """
        network = network_of(address)
        by_address, by_user = (network,), (network, tenant, user)
        wait = max(self._addresses.wait_secs(by_address, now_secs), self._users.wait_secs(by_user, now_secs))
        if wait > 0:
            metrics.LOGINS_REFUSED.inc()
            raise Problem(
                "login_rate",
                "Too many logins were tried; wait before the next.",
                status=429,
                retry_after_secs=int(wait) + 1,
            )
        self._addresses.note(by_address, now_secs)
        self._users.note(by_user, now_secs)

    def __len__(self) -> int:
        return len(self._addresses) + len(self._users)


def network_of(address: str | None) -> str:
    """What counts as one client: an IPv4 address, or the /64 of an IPv6 address, since a home is given a whole one."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), 64), strict=False))
