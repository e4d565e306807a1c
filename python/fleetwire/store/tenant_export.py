"""Exports all data of a tenant as CSV, in short statements: a snapshot of hours would make every commit slower.

    for each partition, the oldest first: devices of the tenant with fixes in it -> some of them at a time -> fix.csv
    then every other table, in one statement each -> <table>.csv

The rows of a device in a partition are read in one statement, so that a merge meanwhile neither hides nor doubles a
fix. `progress.json` says after each statement what is written: the same command goes on from there.
"""

import asyncio
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec

from fleetwire.errors import FleetwireError
from fleetwire.postgres import statements
from fleetwire.runtime import clock
from fleetwire.store.partitions import span_of
from fleetwire.store.tenants import find_tenant, quoted

_SQL = statements.load("store/export")
_TENANT_SQL = statements.load("store/tenant")
_EXPIRY_SQL = statements.load("store/maintenance/expiry")

FIXES_AT_ONCE: Final = 250_000  # a second or two
PROGRESS: Final = "progress.json"
_COLUMNS = "device,ts_ms,lat,lon,alt_m,speed_mps,heading_deg,accuracy_m,battery,received_at"

# The first character of a formula, in its full-width form as well.
_FORMULA = r"^[-=+@\t\r\n\uff1d\uff0b\uff0d\uff20]"


@dataclass(slots=True)
class ExportProgress:
    """How far an export has come."""

    tenant: str
    tenant_id: int
    for_spreadsheet: bool
    next_span: str = ""
    """Start of the partition that is being read; those before it are done."""
    after_device_id: int = -1
    """In that partition, devices up to this one are done."""
    fixes: int = 0
    fix_bytes: int = 0
    """Length of `fix.csv`; what is beyond it was being written."""
    tables: dict[str, int] = field(default_factory=dict)


async def export(
    connection: asyncpg.Connection, name: str, folder: Path, *, for_spreadsheet: bool = False
) -> dict[str, int]:
    """Writes all data of a tenant as CSV into a folder: `fix.csv`, and a file for every other table.

    Every fix that was stored before the export began is in it once; of those that arrive meanwhile, some are. Each
    other table is of one moment, one after the other. Hashes of passwords and tokens are left out. `export.json` is
    written last: a folder without it is not complete, and the same call goes on where it stopped. Returns the rows by
    file. With `for_spreadsheet` texts that a spreadsheet would take for a formula have an apostrophe before them.

    Raises:
        Problem: `tenant_unknown`.
        FleetwireError: the folder exists already, and is not of such an export that was interrupted.
    """
    tenant_id = await find_tenant(connection, name)
    progress = await asyncio.to_thread(_open, folder, ExportProgress(name, tenant_id, for_spreadsheet))
    await connection.fetchval(_SQL["plan_each_time"])
    await _export_fixes(connection, folder, progress)
    tables = dict(await connection.fetch(_TENANT_SQL["tables"]))
    tables["tenant"] = ["tenant_id", "name", "status", "device_limit", "retention_days", "created_at"]
    for table, columns in tables.items():
        if table in progress.tables:
            continue
        chosen = ", ".join(map(without_formula if for_spreadsheet else quoted, columns))
        query = f"SELECT {chosen} FROM {quoted(table)} WHERE tenant_id = $1"  # noqa: S608 - names of the catalogue
        outcome = await connection.copy_from_query(
            query, tenant_id, output=os.fspath(folder / f"{table}.csv"), format="csv", header=True, timeout=None
        )
        progress.tables[table] = _count(outcome)
        await asyncio.to_thread(_save, folder, progress)
    rows = {"fix": progress.fixes, **progress.tables}
    exported_at = datetime.fromtimestamp(clock.now_millis() / 1000, UTC).isoformat()
    summary: dict[str, Any] = {"tenant": name, "exported_at": exported_at, "rows": rows}
    text = msgspec.json.format(msgspec.json.encode(summary))
    await asyncio.to_thread((folder / "export.json").write_bytes, text)
    await asyncio.to_thread((folder / PROGRESS).unlink)
    return rows


async def _export_fixes(connection: asyncpg.Connection, folder: Path, progress: ExportProgress) -> None:
    attached = [row["name"] for row in await connection.fetch(_EXPIRY_SQL["partitions"]) if row["is_attached"]]
    columns = _COLUMNS.replace("device", without_formula("device"), 1) if progress.for_spreadsheet else _COLUMNS
    query = f"SELECT {columns} FROM ({_SQL['fixes']}) AS f"  # noqa: S608 - both are fixed texts
    with (folder / "fix.csv").open("ab") as file:
        for start, end in sorted({span_of(name) for name in attached}):
            if start.isoformat() < progress.next_span:
                continue
            if start.isoformat() > progress.next_span:
                progress.next_span, progress.after_device_id = start.isoformat(), -1
            span = (progress.tenant_id, start, end)
            listed = await connection.fetch(_SQL["devices_of_span"], *span, progress.after_device_id)
            for last_device_id in _pages([tuple(row) for row in listed]):
                outcome = await connection.copy_from_query(
                    query, *span, progress.after_device_id, last_device_id, output=file, format="csv", timeout=None
                )
                progress.fixes += _count(outcome)
                progress.after_device_id = last_device_id
                await asyncio.to_thread(_sync, file)
                progress.fix_bytes = file.tell()
                await asyncio.to_thread(_save, folder, progress)


def _pages(devices: list[tuple[int, int]]) -> list[int]:
    """Cuts (device, its fixes) into pages of about `FIXES_AT_ONCE`; returns the last device of each."""
    pages: list[int] = []
    fixes = 0
    for device_id, device_fixes in devices:
        if not pages or fixes + device_fixes > FIXES_AT_ONCE:
            pages.append(device_id)
            fixes = 0
        pages[-1] = device_id
        fixes += device_fixes
    return pages


def _open(folder: Path, begun: ExportProgress) -> ExportProgress:
    """Makes the folder, or reads how far an export of the same has come and cuts off what is half written."""
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        try:
            found = msgspec.json.decode((folder / PROGRESS).read_bytes(), type=ExportProgress)
        except (FileNotFoundError, NotADirectoryError):
            raise FleetwireError(f"{folder} exists already; an export makes a new folder.") from None
        wanted = (begun.tenant, begun.tenant_id, begun.for_spreadsheet)
        if (found.tenant, found.tenant_id, found.for_spreadsheet) != wanted:
            raise FleetwireError(f"{folder} has an interrupted export of something else.") from None
        with (folder / "fix.csv").open("r+b") as file:
            file.truncate(found.fix_bytes)
        return found
    header = f"{_COLUMNS}\n".encode()
    (folder / "fix.csv").write_bytes(header)
    begun.fix_bytes = len(header)
    _save(folder, begun)
    return begun


def _save(folder: Path, progress: ExportProgress) -> None:
    """Replaces the file as a whole, so that an interruption leaves the one before."""
    new = folder / f"{PROGRESS}.new"
    with new.open("wb") as file:
        file.write(msgspec.json.encode(progress))
        _sync(file)
    new.replace(folder / PROGRESS)


def _sync(file: Any) -> None:  # noqa: ANN401 - a file in binary mode
    file.flush()
    os.fsync(file.fileno())


def _count(outcome: str) -> int:
    return int(outcome.removeprefix("COPY "))


def without_formula(name: str) -> str:
    """A column whose texts are none that a spreadsheet would take for a formula (OWASP, CSV injection)."""
    column = quoted(name)
    is_text = f"pg_typeof({column}) IN ('text'::regtype, 'jsonb'::regtype)"
    is_formula = f"{column}::text ~ '{_FORMULA}'"
    return f"CASE WHEN {is_text} AND {is_formula} THEN '''' || {column}::text ELSE {column}::text END AS {column}"
