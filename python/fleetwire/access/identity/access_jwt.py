"""The token of a login: a JWT, HS256 and nothing else, good for a quarter of an hour.

It proves that a session row existed when it was made. What the row says since is asked in `tokens.py`.
"""

import uuid
from dataclasses import dataclass
from typing import Any, Final

import jwt
import msgspec

from fleetwire.access.accounts.signing_keys import SigningKey, SigningKeys
from fleetwire.errors import Problem

ISSUER: Final = "fleetwire"
AUDIENCE: Final = "fleetwire"
LIFE_SECS: Final = 15 * 60
# Nodes' clocks differ: a token from a node that is ahead must not look as if it came from the future. Never for `exp`.
SKEW_SECS: Final = 5

# Given to the verifier as the whole of what it may accept; the token's own `alg` chooses nothing.
_ALGORITHMS: Final = ["HS256"]
_REQUIRED: Final = ["iss", "aud", "exp", "iat", "sub", "tenant", "role", "sid"]


class _Claims(msgspec.Struct):
    sub: str
    tenant: int
    role: str
    sid: uuid.UUID
    iat: int
    exp: int
    nbf: int = 0


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What a token with a good signature says."""

    tenant_id: int
    user_id: int
    session_id: uuid.UUID
    expires_at_millis: int


def sign(
    key: SigningKey,
    *,
    tenant_id: int,
    user_id: int,
    role: str,
    session_id: uuid.UUID,
    now_millis: int,
    life_secs: int = LIFE_SECS,
) -> str:
    """The token of a session, good for `life_secs` from `now_millis`."""
    now_secs = now_millis // 1000
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": now_secs,
        "exp": now_secs + life_secs,
        "sub": str(user_id),
        "tenant": tenant_id,
        "role": role,
        "sid": str(session_id),
    }
    return jwt.encode(claims, key.secret, algorithm=_ALGORITHMS[0], headers={"kid": key.kid})


async def read(token: str, keys: SigningKeys, *, now_millis: int, expired_is_fine: bool = False) -> AccessClaims:
    """Checks signature, algorithm, issuer, audience and times.

    Args:
        token: as presented.
        keys: where its key is looked up by `kid`.
        now_millis: against which the times are held, `exp` to the millisecond.
        expired_is_fine: for logging out, which ends a session at any age of its token.

    Raises:
        Problem: 401 `token_expired` or `token_invalid`; the sentence does not say what was wrong with it.
    """
    try:
        kid = jwt.get_unverified_header(token).get("kid")
        key = await keys.find(kid) if isinstance(kid, str) else None
        if key is None:
            raise _invalid()
        claims = msgspec.convert(
            jwt.decode(
                token,
                key.secret,
                algorithms=_ALGORITHMS,
                audience=AUDIENCE,
                issuer=ISSUER,
                # Times are held against `now_millis` below.
                options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
            ),
            _Claims,
        )
        if max(claims.iat, claims.nbf) > now_millis // 1000 + SKEW_SECS:
            raise _invalid()
        signed = AccessClaims(claims.tenant, int(claims.sub), claims.sid, claims.exp * 1000)
    except (jwt.PyJWTError, msgspec.ValidationError, ValueError) as error:
        raise _invalid() from error
    if signed.expires_at_millis <= now_millis and not expired_is_fine:
        raise Problem("token_expired", "The login has expired; renew it or log in again.", status=401)
    return signed


def _invalid() -> Problem:
    return Problem("token_invalid", "The token is not valid here.", status=401)
