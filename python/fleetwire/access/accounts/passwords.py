"""Passwords: argon2id, in threads, a few at once.

A hash takes 64 MiB and some tens of milliseconds by intent. So the number at once is small and the number of those who
wait is bounded: a flood of logins costs the flood, not the fleet.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from fleetwire.errors import Overloaded, Problem
from fleetwire.runtime import tasks
from fleetwire.telemetry import metrics

MIN_PASSWORD_CHARS: Final = 12
MAX_PASSWORD_CHARS: Final = 256
MIN_GUESSES: Final = 1_000_000  # the limits of logins allow some 100,000 a week from one network
MAX_ESTIMATED_CHARS: Final = 72
HASHES_AT_ONCE: Final = 2  # 128 MiB
HASHES_WAITING: Final = 32  # about a second of waiting on two cores

Done = TypeVar("Done")


def check_password(password: str, names: Sequence[str] = ()) -> None:
    """The rule for a new password: its length, and that it is not among the first that somebody would try.

    No kind of character is asked for. Lists of common passwords, words, names, keyboards' rows, dates and sequences are
    those of the library zxcvbn, with their usual variations.

    Args:
        password: the new one.
        names: of the user and the tenant; a password that is made of them is a common one.

    Raises:
        Problem: 400 `password_short`, `password_long`, `password_unreadable` or `password_common`.
    """
    if len(password) < MIN_PASSWORD_CHARS:
        raise Problem("password_short", f"A password has at least {MIN_PASSWORD_CHARS} characters.", status=400)
    if len(password) > MAX_PASSWORD_CHARS:
        raise Problem("password_long", f"A password has at most {MAX_PASSWORD_CHARS} characters.", status=400)
    if any("\ud800" <= char <= "\udfff" for char in password):
        raise Problem("password_unreadable", "The password holds half of a character.", status=400)
    if _guesses(password, names) < MIN_GUESSES:
        detail = "The password is too easy to guess: it is a common one, a sequence, or made of the user's names."
        raise Problem("password_common", detail, status=400)


def _guesses(password: str, names: Sequence[str]) -> float:
    # Only where it is needed: its word lists take time and memory.
    from zxcvbn import zxcvbn

    # The time of an estimate grows faster than the length: further characters only add to it.
    looked_at = password[:MAX_ESTIMATED_CHARS]
    return float(
        zxcvbn(looked_at, user_inputs=[name[:MAX_ESTIMATED_CHARS] for name in (*names, "fleetwire")])["guesses"]
    )


class Passwords:
    """Hashes and verifies; a third caller waits, the one after the last waiting is refused."""

    def __init__(
        self,
        *,
        at_once: int = HASHES_AT_ONCE,
        waiting: int = HASHES_WAITING,
        hasher: PasswordHasher | None = None,
    ) -> None:
        self._hasher = hasher or PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
        self._turn = asyncio.Semaphore(at_once)
        self._places = at_once + waiting
        self._taken = 0
        self._nobody: str | None = None

    async def hash(self, password: str) -> str:
        """The encoded argon2id hash of a password that `check_password` let pass.

        Raises:
            Overloaded: 503 `login_busy`.
        """
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether the password is right. None stands for a user who does not exist or has no password.

        For None a hash that nobody has is verified, so that the answer takes as long as for a wrong password.

        Raises:
            Overloaded: 503 `login_busy`.
        """
        return await self._run(lambda: self._matches(password_hash, password))

    def _matches(self, password_hash: str | None, password: str) -> bool:
        if self._nobody is None:
            self._nobody = self._hasher.hash("nobody has this password")
        try:
            # Every path makes exactly one verification; a password beyond the rule's length cannot be right.
            checkable = password if len(password) <= MAX_PASSWORD_CHARS else ""
            self._hasher.verify(password_hash or self._nobody, checkable)
        except (VerificationError, InvalidHashError, UnicodeEncodeError):
            return False
        return password_hash is not None

    async def _run(self, work: Callable[[], Done]) -> Done:
        if self._taken >= self._places:
            metrics.PASSWORDS_REFUSED.inc()
            raise Overloaded("login_busy", "Too many logins at once; try again.", retry_after_secs=2)
        self._taken += 1
        # A task of its own: a caller who goes away must not give back the place while its thread is still at work.
        return await asyncio.shield(tasks.spawn(self._in_turn(work), name="password-hash"))

    async def _in_turn(self, work: Callable[[], Done]) -> Done:
        try:
            async with self._turn:
                return await asyncio.to_thread(work)
        finally:
            self._taken -= 1
