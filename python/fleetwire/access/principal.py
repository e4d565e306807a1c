"""Who is asking, and what that kind of asker may do.

Roles are data: a table from role to permissions. A permission names an act, a route asks for a permission and never
for a role, so a new role is a line here and no change anywhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from fleetwire.errors import Problem

Kind: TypeAlias = Literal["ingest", "device", "user"]
UserRole: TypeAlias = Literal["admin", "dispatcher", "driver", "customer", "viewer"]
Role: TypeAlias = Literal["ingest", "device", "admin", "dispatcher", "driver", "customer", "viewer"]
Permission: TypeAlias = Literal["ingest", "watch", "report", "dispatch", "events", "operate"]

USER_ROLES: Final[frozenset[str]] = frozenset(get_args(UserRole))

PERMISSIONS: Final[Mapping[str, frozenset[Permission]]] = {
    # A credential that sits in a vehicle or in a script may be lost: it can add fixes, and reads no position back.
    "ingest": frozenset({"ingest"}),
    "device": frozenset({"ingest", "report", "events"}),
    "driver": frozenset({"ingest", "report", "events"}),
    # Operating is seeing the whole server's totals, which are not one tenant's business.
    "admin": frozenset({"watch", "dispatch", "events", "operate"}),
    "dispatcher": frozenset({"watch", "dispatch", "events"}),
    "viewer": frozenset({"watch"}),
    "customer": frozenset(),
}


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified asker. Nothing outside this package makes one.

    `credential_hash` is the sha256 of the token as presented; `session_id` is set for a login, whose token is a
    short-lived proof of a session row.
    """

    tenant_id: int
    tenant: str
    kind: Kind
    role: Role
    device_id: int | None
    device: str | None
    user_id: int | None
    user: str | None
    expires_at_millis: int | None
    credential_hash: bytes
    session_id: bytes | None = None
    credential_id: int | None = None

    @property
    def revocation_key(self) -> bytes:
        """What a revocation names: the session of a login (16 bytes), otherwise the credential's hash (32 bytes)."""
        return self.credential_hash if self.session_id is None else self.session_id

    def may(self, permission: Permission) -> bool:
        """Whether the role carries `permission`. A driver without a device has nothing to report for."""
        if permission == "ingest" and self.kind == "user" and self.device_id is None:
            return False
        return permission in PERMISSIONS[self.role]

    def may_ingest(self) -> bool:
        """May send fixes: for any device of the tenant with an ingest key, otherwise for `device_id` alone."""
        return self.may("ingest")

    def may_watch(self) -> bool:
        """May see the tenant's live positions and tracks."""
        return self.may("watch")

    def require(self, permission: Permission) -> None:
        """Lets the asker pass, or not.

        Raises:
            Problem: 403 `forbidden`.
        """
        if not self.may(permission):
            raise Problem("forbidden", f"The role {self.role} may not {permission} with this credential.", status=403)
