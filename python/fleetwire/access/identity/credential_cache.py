"""What a worker remembers of credentials: whom they belong to, which are refused, which were revoked.

Everything here is bounded and may be forgotten at any time; forgetting costs a query, never a wrong answer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from fleetwire.access.identity import access_jwt
from fleetwire.errors import Problem

# A revocation that is never heard (the connection was down and came back unseen) holds after this at the latest.
LIFE_MILLIS: Final = 60_000
# Long enough that a device with a wrong token asks the database once a second, short enough that a credential made a
# moment ago works.
REFUSED_LIFE_MILLIS: Final = 1_000

# While the database is away nobody can revoke anything in it, so what was right when it went stays right until it is
# back: then everything is forgotten.
AWAY_LIFE_MILLIS: Final = 24 * 3600 * 1000
# And it is not asked again for so long: each question takes seconds to fail.
AWAY_PAUSE_SECS: Final = 2.0

# A revocation needs to be remembered for as long as any token that was remembered before it, and as a login's token
# lives: a session's tokens are not found by its id, so that they stay beside the revocation.
REVOKED_LIFE_MILLIS: Final = max(AWAY_LIFE_MILLIS, 1000 * access_jwt.LIFE_SECS)

# How many of each. The least recently used principal and refusal make room; see `tokens.py` for revocations.
MAX_PRINCIPALS: Final = 100_000
MAX_REFUSED: Final = 10_000
MAX_REVOKED: Final = 10_000


class CredentialCache(Protocol):
    """A bounded map with a life per entry: the core's `Lru`, or a small class in a test."""

    def get(self, key: bytes, *, now_millis: int) -> object | None:
        """The value, or None when it is not there or too old."""

    def put(self, key: bytes, value: object, *, now_millis: int) -> None:
        """Replaces the value and begins its life."""

    def remove(self, key: bytes) -> bool:
        """Whether there was one."""

    def clear(self) -> None:
        """Forgets everything."""

    def __len__(self) -> int: ...


MakeCache = Callable[[int, int], CredentialCache]
"""From a capacity and a life in milliseconds to a map."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a token is not accepted, in a form to keep: an exception that is raised twice grows its traceback."""

    code: str
    detail: str

    def problem(self) -> Problem:
        """The 401 to raise."""
        return Problem(self.code, self.detail, status=401)


INVALID: Final = Refusal("token_invalid", "The token is not known here.")
EXPIRED: Final = Refusal("token_expired", "The token has expired.")
REVOKED_TOKEN: Final = Refusal("token_revoked", "The token was revoked.")
SUSPENDED: Final = Refusal("token_revoked", "The user or the tenant behind the token is suspended.")
