"""Refresh tokens: each is good for one refresh, and names the session whose next one it asks for.

    fwr_ base64url( tenant, session, family, proof )

`family` is the same in all refresh tokens of a session and `proof` in none other. So a token that was replaced is told
from one that was made up: the first ends its session, since somebody has a copy, the second ends nothing.
"""

import base64
import binascii
import hashlib
import secrets
import struct
import uuid
from dataclasses import dataclass, field
from typing import Final

PREFIX: Final = "fwr_"
SECRET_BYTES: Final = 16

_LAYOUT: Final = struct.Struct(">I16s16s16s")
_CHARS: Final = len(PREFIX) + 70  # 52 bytes as base64url without padding


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """What a refresh token says. Only its two hashes are ever stored."""

    tenant_id: int
    session_id: uuid.UUID
    family: bytes = field(repr=False)
    proof: bytes = field(repr=False)

    @property
    def family_hash(self) -> bytes:
        """By which all refresh tokens of the session are known."""
        return hashlib.sha256(self.family).digest()

    @property
    def hash(self) -> bytes:
        """By which this one is known."""
        return hashlib.sha256(self.family + self.proof).digest()

    def successor(self) -> "RefreshToken":
        """The next one of the same session."""
        return RefreshToken(self.tenant_id, self.session_id, self.family, secrets.token_bytes(SECRET_BYTES))

    def text(self) -> str:
        """As it is handed out, once."""
        packed = _LAYOUT.pack(self.tenant_id, self.session_id.bytes, self.family, self.proof)
        return PREFIX + base64.urlsafe_b64encode(packed).rstrip(b"=").decode("ascii")


def first(tenant_id: int, session_id: uuid.UUID) -> RefreshToken:
    """The first refresh token of a new session."""
    return RefreshToken(tenant_id, session_id, secrets.token_bytes(SECRET_BYTES), secrets.token_bytes(SECRET_BYTES))


def read(text: str) -> RefreshToken | None:
    """The parts of a presented token; None if it has not the shape of one."""
    if len(text) != _CHARS or not text.startswith(PREFIX) or not text.isascii():
        return None
    try:
        packed = base64.b64decode(text[len(PREFIX) :] + "==", altchars=b"-_", validate=True)
    except binascii.Error:
        return None
    tenant_id, session_id, family, proof = _LAYOUT.unpack(packed)
    if tenant_id >= 2**31:
        return None
    return RefreshToken(tenant_id, uuid.UUID(bytes=session_id), family, proof)
