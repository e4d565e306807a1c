"""The audit log: who changed what, and whom, from where. Written in the transaction of the change, or not at all."""

from typing import Any, Final

import msgspec

from fleetwire.access.client_info import NOWHERE, ClientInfo
from fleetwire.postgres.pool import tenant_transaction
from fleetwire.postgres.statements import load
from fleetwire.runtime import clock, request_id

OPERATOR: Final = "operator"
"""The actor of a command: whoever has the database."""

MAX_PAGE: Final = 500

_sql = load("access/accounts/audit")


class AuditEntry(msgspec.Struct, frozen=True):
    """A change. `noted_at` in ms since 1970; `actor` is a user's name, or `operator` for a command."""

    audit_id: int
    noted_at: int
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]
    address: str | None
    request_id: str | None


async def note(
    connection: Any,  # noqa: ANN401 - asyncpg ships no types
    tenant_id: int,
    actor: str,
    action: str,
    subject: str,
    *,
    client_info: ClientInfo = NOWHERE,
    **detail: Any,  # noqa: ANN401 - whatever JSON can hold
) -> None:
    """Writes down a change on the connection whose transaction makes it."""
    text = msgspec.json.encode(detail).decode()
    await connection.execute(
        _sql["note"], tenant_id, actor, action, subject, text, client_info.address, request_id.current()
    )


async def page(pool: Any, tenant_id: int, *, before_id: int | None, most: int) -> list[AuditEntry]:  # noqa: ANN401
    """The newest entries, or those before `before_id`."""
    async with tenant_transaction(pool, tenant_id) as connection:
        rows = await connection.fetch(_sql["page"], tenant_id, before_id, most)
    return [
        AuditEntry(
            **{**row, "noted_at": clock.millis_of(row["noted_at"]), "detail": msgspec.json.decode(row["detail"])}
        )
        for row in rows
    ]
