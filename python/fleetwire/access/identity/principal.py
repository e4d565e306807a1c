"""Who is asking, and what that kind of asker may do.

Roles are data: a table from role to permissions. A permission names an act, a route asks for a permission and never
for a role, so a new role is a line here and no change anywhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from fleetwire.errors import Problem

CredentialKind: TypeAlias = Literal["ingest", "device", "user"]
UserRole: TypeAlias = Literal["admin", "dispatcher", "driver", "customer", "viewer"]
Role: TypeAlias = Literal["ingest", "device", "admin", "dispatcher", "driver", "customer", "viewer"]
Permission: TypeAlias = Literal[
    "ingest", "watch", "watch_own", "report", "dispatch", "events", "operate", "account", "administer"
]

USER_ROLES: Final[frozenset[str]] = frozenset(get_args(UserRole))
SCOPES: Final[frozenset[str]] = frozenset(get_args(Permission))
_OF_ONE_DEVICE: Final = frozenset({"ingest", "watch_own"})

PERMISSIONS: Final[Mapping[str, frozenset[Permission]]] = {
    # A credential that sits in a vehicle or in a script may be lost: it can add fixes, and reads no position back.
    "ingest": frozenset({"ingest"}),
    "device": frozenset({"ingest", "report", "events"}),
    # Of the device that the driver has, and of no other.
    "driver": frozenset({"ingest", "watch_own", "report", "events", "account"}),
    # Operating is seeing the whole server's totals, which are not one tenant's business.
    "admin": frozenset({"watch", "dispatch", "events", "operate", "account", "administer"}),
    "dispatcher": frozenset({"watch", "dispatch", "events", "account"}),
    "viewer": frozenset({"watch", "account"}),
    "customer": frozenset({"account"}),
}


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified asker. Nothing outside this package makes one.

    `credential_hash` is the sha256 of the token as presented; `session_id` is set for a login, whose token is a
    short-lived proof of a session row.
    """

    tenant_id: int
    tenant: str
    kind: CredentialKind
    role: Role
    device_id: int | None
    device: str | None
    user_id: int | None
    user: str | None
    expires_at_millis: int | None
    credential_hash: bytes
    session_id: bytes | None = None
    credential_id: int | None = None
    scopes: frozenset[str] | None = None
    """What the credential keeps of its role's permissions; None: all."""
    is_named_like_a_device: bool = False
    """A driver without a device, whose name a device of the tenant has."""

    @property
    def revocation_key(self) -> bytes:
        """What a revocation names: the session of a login (16 bytes), otherwise the credential's hash (32 bytes)."""
        return self.credential_hash if self.session_id is None else self.session_id

    @property
    def rights(self) -> tuple[object, ...]:
        """Everything that permissions follow from, for comparing an open socket with its row."""
        return (self.tenant_id, self.role, self.device_id, self.user_id, self.scopes, self.is_named_like_a_device)

    @property
    def actor(self) -> str:
        """Who the audit log says it was."""
        return self.user or f"{self.kind} token {self.credential_id}"

    def may(self, permission: Permission) -> bool:
        """Whether role and scopes carry `permission`. A driver without a device has nothing to report for."""
        if permission in _OF_ONE_DEVICE and self.kind == "user" and self.device_id is None:
            return False
        if self.scopes is not None and permission not in self.scopes:
            return False
        return permission in PERMISSIONS[self.role]

    def may_ingest(self) -> bool:
        """May send fixes: for any device of the tenant with an ingest key, otherwise for `device_id` alone."""
        return self.may("ingest")

    def may_watch(self) -> bool:
        """May see the tenant's live positions and tracks."""
        return self.may("watch")

    def sees_device(self, device_id: int) -> bool:
        """Whether positions of this device may be shown: all of the tenant's, or a driver's own alone."""
        return self.may("watch") or (self.may("watch_own") and device_id == self.device_id)

    def require(self, *permissions: Permission) -> None:
        """Lets the asker pass who has one of the permissions, or not.

        Raises:
            Problem: 403 `forbidden`.
        """
        if not any(map(self.may, permissions)):
            asked = " or ".join(permissions)
            raise Problem("forbidden", f"The role {self.role} may not {asked} with this credential.", status=403)
