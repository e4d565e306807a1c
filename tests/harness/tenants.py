"""Tenants with every kind of credential."""

import secrets
from dataclasses import dataclass, field
from functools import cached_property

import asyncpg

from fleetwire.access.accounts.owner_admin import create_user, issue_token, revoke_token

from .database import run

PASSWORD = "correct horse battery staple"
USER_ROLES = ("admin", "dispatcher", "viewer", "customer", "driver")


@dataclass
class Tenant:
    """A company of a test's own."""

    dsn: str = field(repr=False)
    name: str = field(default_factory=lambda: f"tenant-{secrets.token_hex(4)}")

    def __post_init__(self) -> None:
        self.ingest = self.issue("ingest")
        self.dispatcher = self.issue("user", "dora", "dispatcher")

    @cached_property
    def admin(self) -> str:
        """The token of one who may also operate the server."""
        return self.issue("user", "ada", "admin")

    def issue(
        self, kind: str, name: str | None = None, role: str | None = None, *, life_secs: int | None = None
    ) -> str:
        """A new token, as `fleetwire token` makes it."""
        return run(self.issue_async(kind, name, role, life_secs=life_secs))

    async def issue_async(
        self,
        kind: str,
        name: str | None = None,
        role: str | None = None,
        *,
        life_secs: int | None = None,
        scopes: list[str] | None = None,
    ) -> str:
        """The same within a loop."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return await issue_token(
                connection,
                self.name,
                kind,  # type: ignore[arg-type]
                name,
                role,
                life_secs=life_secs,
                scopes=scopes,
            )
        finally:
            await connection.close()

    async def revoke(self, token: str) -> None:
        """As `fleetwire token revoke` does it."""
        connection = await asyncpg.connect(self.dsn)
        try:
            await revoke_token(connection, token)
        finally:
            await connection.close()

    def user(self, name: str, role: str, *, device: str | None = None) -> None:
        """A user who can log in with `PASSWORD`."""

        async def create() -> None:
            connection = await asyncpg.connect(self.dsn)
            try:
                await create_user(connection, self.name, name, PASSWORD, role, device=device)
            finally:
                await connection.close()

        run(create())
