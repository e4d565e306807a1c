"""Marks a browser in which a user has logged in, so that wrong logins from elsewhere do not use up that user's limit.

The cookie is no credential: it opens nothing, and a login with it needs the password as any other. It is signed, names
the user it is for, and is counted by itself. These are the device cookies that OWASP describes.
"""

import uuid
from typing import Any, Final, NamedTuple

import jwt
import msgspec

from fleetwire.access.accounts.signing_keys import SigningKeys
from fleetwire.postgres.transient_errors import TRANSIENT

DEVICE_COOKIE: Final = "fleetwire_device"
LIFE_SECS: Final = 180 * 86_400

_AUDIENCE: Final = "fleetwire-device"
_ALGORITHMS: Final = ["HS256"]


class KnownBrowser(NamedTuple):
    """A browser and the user who has logged in there."""

    tenant: str
    user: str
    browser_id: str


class DeviceCookies:
    """Signs and reads the cookies. After a rotation of the keys, browsers are unknown until their next login."""

    def __init__(self, keys: SigningKeys) -> None:
        self._keys = keys

    async def sign(self, tenant: str, user: str, *, now_secs: int) -> str:
        """A cookie for a browser in which this user has just logged in."""
        key = await self._keys.signing()
        claims: dict[str, Any] = {
            "aud": _AUDIENCE,
            "exp": now_secs + LIFE_SECS,
            "tenant": tenant,
            "user": user,
            "browser_id": uuid.uuid4().hex,
        }
        return jwt.encode(claims, key.secret, algorithm=_ALGORITHMS[0], headers={"kid": key.kid})

    async def read(self, cookie: str | None) -> KnownBrowser | None:
        """Returns what a cookie of ours says; None for any other, and for an unknown key while the database is away."""
        if cookie is None:
            return None
        try:
            kid = jwt.get_unverified_header(cookie).get("kid")
            key = await self._keys.find(kid) if isinstance(kid, str) else None
            if key is None:
                return None
            claims = jwt.decode(
                cookie, key.secret, algorithms=_ALGORITHMS, audience=_AUDIENCE, options={"require": ["exp", "aud"]}
            )
            return msgspec.convert([claims.get(name) for name in KnownBrowser._fields], KnownBrowser)
        except (jwt.PyJWTError, msgspec.ValidationError, ValueError, *TRANSIENT):
            return None
