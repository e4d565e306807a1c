"""Tenants as the operator sees them: what there is, how long they keep fixes, and all their data at once."""

import asyncio
import contextlib
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from fleetwire import clock
from fleetwire.errors import FleetwireError, Problem
from fleetwire.store import statements

_SQL = statements.load("tenant")

# In the form that `fleetwire replay` reads.
_FIXES = """
SELECT device, (extract(epoch FROM fixed_at) * 1000)::bigint AS ts_ms, latitude AS lat, longitude AS lon,
    altitude AS alt_m, speed AS speed_mps, heading AS heading_deg, accuracy AS accuracy_m, battery, received_at
FROM fix WHERE tenant_id = $1
"""

# The first character of a formula, in its full-width form as well.
_FORMULA = r"^[-=+@\t\r\n\uff1d\uff0b\uff0d\uff20]"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant as it is listed."""

    tenant_id: int
    name: str
    status: str
    devices: int
    device_limit: int
    retention_days: int | None
    """None: as the server's setting says; 0: for ever."""
    created_at: str


async def list_tenants(connection: asyncpg.Connection) -> list[Tenant]:
    """All tenants by name."""
    rows = [dict(row) for row in await connection.fetch(_SQL["list_tenants"])]
    return [Tenant(**(row | {"created_at": row["created_at"].isoformat()})) for row in rows]


async def find_tenant(connection: asyncpg.Connection, name: str) -> int:
    """The number of a tenant.

    Raises:
        Problem: 404 `tenant_unknown`.
    """
    row = await connection.fetchrow(_SQL["find_tenant"], name)
    if row is None:
        raise Problem("tenant_unknown", f"There is no tenant {name}.", status=404)
    tenant_id: int = row["tenant_id"]
    return tenant_id


async def set_retention(connection: asyncpg.Connection, name: str, days: int | None) -> None:
    """Says how many days a tenant keeps its fixes; None as the server's setting says, 0 for ever.

    Servers refuse and hide what has expired within a minute, and delete it as docs/tuning.md says.

    Raises:
        Problem: `tenant_unknown`, or `retention_invalid` for less than 0 or more than 36,500 days.
    """
    try:
        tenant_id = await connection.fetchval(_SQL["set_retention"], name, days)
    except (asyncpg.CheckViolationError, asyncpg.DataError) as error:
        raise Problem("retention_invalid", "Fixes are kept for 1 to 36500 days, or 0: for ever.", status=400) from error
    if tenant_id is None:
        await find_tenant(connection, name)


async def export(
    connection: asyncpg.Connection, name: str, folder: Path, *, for_spreadsheet: bool = False
) -> dict[str, int]:
    """Writes all data of a tenant as CSV into a new folder: `fix.csv`, and a file for every other table.

    Everything is of one moment. Hashes of passwords and tokens stay here. `export.json` is written last: a folder
    without it is not complete. Returns the rows by file. With `for_spreadsheet` texts that a spreadsheet would take
    for a formula have an apostrophe before them.

    Raises:
        Problem: `tenant_unknown`.
        FleetwireError: the folder exists already.
    """
    tenant_id = await find_tenant(connection, name)
    try:
        await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True)
    except FileExistsError:
        raise FleetwireError(f"{folder} exists already; an export makes a new folder.") from None
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            fixes = (
                _FIXES.replace("SELECT device,", f"SELECT {_without_formula('device')},") if for_spreadsheet else _FIXES
            )
            rows = {"fix": await _copy(connection, fixes, tenant_id, folder / "fix.csv")}
            tables = dict(await connection.fetch(_SQL["tables"]))
            tables["tenant"] = ["tenant_id", "name", "status", "device_limit", "retention_days", "created_at"]
            for table, columns in tables.items():
                chosen = ", ".join(map(_without_formula if for_spreadsheet else quoted, columns))
                query = f"SELECT {chosen} FROM {quoted(table)} WHERE tenant_id = $1"  # noqa: S608 - names of the catalogue
                rows[table] = await _copy(connection, query, tenant_id, folder / f"{table}.csv")
        exported_at = datetime.fromtimestamp(clock.now_millis() / 1000, UTC).isoformat()
        summary: dict[str, Any] = {"tenant": name, "exported_at": exported_at, "rows": rows}
        text = msgspec.json.format(msgspec.json.encode(summary))
        await asyncio.to_thread((folder / "export.json").write_bytes, text)
    except BaseException:
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)
        raise
    return rows


async def _copy(connection: asyncpg.Connection, query: str, tenant_id: int, path: Path) -> int:
    outcome = await connection.copy_from_query(
        query, tenant_id, output=os.fspath(path), format="csv", header=True, timeout=None
    )
    return int(outcome.removeprefix("COPY "))


def _without_formula(name: str) -> str:
    """A column whose texts are none that a spreadsheet would take for a formula (OWASP, CSV injection)."""
    column = quoted(name)
    is_text = f"pg_typeof({column}) IN ('text'::regtype, 'jsonb'::regtype)"
    is_formula = f"{column}::text ~ '{_FORMULA}'"
    return f"CASE WHEN {is_text} AND {is_formula} THEN '''' || {column}::text ELSE {column}::text END AS {column}"


def quoted(name: str) -> str:
    """A name as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'
