"""Faults of a database that a spool bridges, and what is in the spool, as its operator reads it."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from .client import Answer, Client
from .database import execute, rows, stored_times
from .process import run
from .tenants import Tenant

DRAIN_LIMIT_SECS = 30.0

# Raised in the middle of storing a device's fixes, by PostgreSQL itself.
_RAISING = """
CREATE TABLE fault (device text PRIMARY KEY, sqlstate text NOT NULL);
CREATE TABLE stored_in_order (
    place bigserial, tenant_id int, device_id bigint, first_at timestamptz, at timestamptz DEFAULT clock_timestamp()
);
CREATE FUNCTION raise_fault() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    found text := (
        SELECT f.sqlstate FROM fault AS f JOIN device AS d ON d.name = f.device WHERE d.device_id = NEW.device_id
    );
BEGIN
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'thrown by a test' USING ERRCODE = found;
    END IF;
    INSERT INTO stored_in_order (tenant_id, device_id, first_at) VALUES (NEW.tenant_id, NEW.device_id, NEW.first_at);
    RETURN NEW;
END
$$;
CREATE TRIGGER raise_fault BEFORE INSERT ON track_segment FOR EACH ROW EXECUTE FUNCTION raise_fault();
"""


async def make_faulty(dsn: str) -> None:
    """Prepares a database for `raising`."""
    await execute(dsn, _RAISING)


async def late_rows(tenant: Tenant) -> int:
    """How many rows of the tenant were stored after a later one of the same device."""
    statement = """
        SELECT count(*) FROM (
            SELECT first_at < lag(first_at) OVER (PARTITION BY device_id ORDER BY place) AS is_late
            FROM stored_in_order JOIN tenant USING (tenant_id) WHERE tenant.name = $1
        ) AS stored WHERE is_late
    """
    return int((await rows(tenant.dsn, statement, tenant.name))[0][0])


async def raising(dsn: str, device: str, sqlstate: str | None) -> None:
    """From now on storing fixes of a device raises that error; None: it does not any more."""
    await execute(writable(dsn), "DELETE FROM fault WHERE device = $1", device)
    if sqlstate is not None:
        await execute(writable(dsn), "INSERT INTO fault VALUES ($1, $2)", device, sqlstate)


@asynccontextmanager
async def read_only(dsn: str) -> AsyncIterator[None]:
    """A database that answers every question and stores nothing (25006)."""
    await _set_read_only(dsn, "on")
    try:
        yield
    finally:
        await _set_read_only(dsn, "off")


def writable(dsn: str) -> str:
    """The DSN of connections that write although the database is read-only for others."""
    return f"{dsn}{'&' if '?' in dsn else '?'}default_transaction_read_only=off"


async def _set_read_only(dsn: str, value: str) -> None:
    await execute(writable(dsn), f"ALTER SYSTEM SET default_transaction_read_only = {value}")
    await execute(writable(dsn), "SELECT pg_reload_conf()")
    async with asyncio.timeout(10):
        while (await rows(dsn, "SHOW default_transaction_read_only"))[0][0] != value:
            await asyncio.sleep(0.02)


async def send(client: Client, tenant: Tenant, device: str, fixes: Sequence[dict[str, Any]]) -> Answer:
    """Sends a batch with the tenant's ingest key."""
    return await client.send({"device": device, "fixes": list(fixes)}, token=tenant.ingest)


async def queue(client: Client, tenant: Tenant, device: str, fixes: Sequence[dict[str, Any]]) -> None:
    """Sends a batch that must go to the spool as a whole."""
    answer = await send(client, tenant, device, fixes)
    assert (answer.status, answer.json) == (202, {"queued": len(fixes), "rejected": []}), answer.body


async def until_stored(tenant: Tenant, device: str, fixes: Sequence[dict[str, Any]]) -> None:
    """Waits until the device has these fixes, each once, and no others."""
    times = sorted(fix["timestamp"] for fix in fixes)
    found: list[int] = []
    try:
        async with asyncio.timeout(DRAIN_LIMIT_SECS):
            while (found := await stored_times(tenant.dsn, tenant.name, device)) != times:
                assert len(found) <= len(times)
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"{device}: {len(found)} of {len(times)} fixes are stored") from None


def files(spool: Path, kind: str) -> list[Path]:
    """Files of the spool of all workers: `spool`, `refused` or `damaged`."""
    return sorted(spool.rglob(f"*.{kind}"))


async def until_drained(spool: Path) -> None:
    """Waits until no file waits to be stored."""
    async with asyncio.timeout(DRAIN_LIMIT_SECS):
        while files(spool, "spool"):
            await asyncio.sleep(0.1)


async def spool_command(spool: Path, *words: str) -> Any:
    """The JSON that a command of `fleetwire spool` prints."""
    done = await asyncio.to_thread(run, "spool", *words, "--spool", spool, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def health_warnings(client: Client) -> str:
    """The sentences of `/health`."""
    return " ".join((await client.get("/health")).json["warnings"])
