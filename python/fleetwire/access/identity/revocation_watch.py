"""Sockets outlive the moment they were let in: each is told, once, when its permission ends."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from fleetwire.access.identity.credential_cache import EXPIRED, Refusal
from fleetwire.access.identity.principal import Principal
from fleetwire.errors import Problem

Ended = Callable[[Problem], None]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _WatchedSocket:
    principal: Principal
    ended: Ended
    timer: asyncio.TimerHandle | None


class RevocationWatch:
    """Who follows which credential or session. As many as there are open sockets; no task for any of them."""

    def __init__(self, now_millis: Callable[[], int]) -> None:
        self._now_millis = now_millis
        self._by_key: dict[bytes, dict[int, _WatchedSocket]] = {}
        self._next = 0

    def add(self, principal: Principal, ended: Ended) -> Callable[[], None]:
        """Calls `ended` at the expiry or the revocation, whichever is first; the returned function stops that."""
        key, number = principal.revocation_key, self._next
        self._next += 1
        timer = None
        if principal.expires_at_millis is not None:
            left_secs = max(0, principal.expires_at_millis - self._now_millis()) / 1000
            timer = asyncio.get_running_loop().call_later(left_secs, self._end, key, number, EXPIRED)
        self._by_key.setdefault(key, {})[number] = _WatchedSocket(principal, ended, timer)

        def leave() -> None:
            self._take(key, number)

        return leave

    def end_all(self, key: bytes, refusal: Refusal) -> None:
        """Ends every follower of a credential or a session."""
        for number in list(self._by_key.get(key, ())):
            self._end(key, number, refusal)

    def principals(self) -> list[Principal]:
        """One principal of each key that is followed."""
        return [next(iter(of_key.values())).principal for of_key in self._by_key.values()]

    def __len__(self) -> int:
        return sum(map(len, self._by_key.values()))

    def _take(self, key: bytes, number: int) -> _WatchedSocket | None:
        of_key = self._by_key.get(key, {})
        follower = of_key.pop(number, None)
        if not of_key:
            self._by_key.pop(key, None)
        if follower is not None and follower.timer is not None:
            follower.timer.cancel()
        return follower

    def _end(self, key: bytes, number: int, refusal: Refusal) -> None:
        if (follower := self._take(key, number)) is None:
            return
        try:
            follower.ended(refusal.problem())
        except Exception:  # noqa: BLE001 - one socket's mistake must not leave the others open
            _log.exception("A follower of a credential failed.")
