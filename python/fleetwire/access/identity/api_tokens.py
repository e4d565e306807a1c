"""Opaque tokens: a prefix that says the kind, and 32 random bytes. Only their sha256 is ever stored.

    fwi_...  ingest key, a whole tenant     fwd_...  device token     fwu_...  a user, for programs

The prefix lets a reader of a leaked log tell what leaked, and secret scanners find it. The random part needs no slow
hash: there is nothing to guess.
"""

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping
from typing import Final

from fleetwire.access.identity.principal import CredentialKind

SECRET_BYTES: Final = 32

PREFIXES: Final[Mapping[CredentialKind, str]] = {"ingest": "fwi_", "device": "fwd_", "user": "fwu_"}

# 32 bytes are 43 characters of base64url without padding.
_OPAQUE: Final = re.compile(r"fw[idu]_[A-Za-z0-9_-]{43}")


def generate_token(kind: CredentialKind) -> str:
    """A new token; the caller stores its `hash_token` and shows the token once."""
    secret = base64.urlsafe_b64encode(secrets.token_bytes(SECRET_BYTES)).rstrip(b"=")
    return PREFIXES[kind] + secret.decode("ascii")


def hash_token(token: str) -> bytes:
    """The 32 bytes by which a token is known here; also for tokens that are not well formed."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def is_opaque(token: str) -> bool:
    """Whether the token has the shape that `generate_token` gives; anything else cannot be in the database."""
    return _OPAQUE.fullmatch(token) is not None
