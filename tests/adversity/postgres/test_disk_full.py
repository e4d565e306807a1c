"""The disk of PostgreSQL runs full and is freed again: of its log, which ends the database, and of its tables.

A small file system in memory stands for the disk, a ballast file for whatever else fills it. Mounting it takes root.
"""

import asyncio
import os
import shutil
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg
import pytest

from fleetwire.postgres.embedded.server import EmbeddedPostgres, running_dsn
from fleetwire.postgres.migrate import migrate
from harness import database
from harness.client import Client
from harness.ledger import Ledger
from harness.process import serving, wait_until
from harness.senders import HEAL_SECS, sending
from harness.tenants import Tenant

DISK_MEBIBYTES = 128
PATIENCE = {"FLEETWIRE_COMMIT_GIVE_UP_SECS": "2", "FLEETWIRE_UPKEEP_SECS": "0"}
AWAY = {(503, "database_unavailable"), (503, "access_unavailable")}

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mount") is None, reason="*** NOT ROOT: A FULL DISK IS NOT TRIED ***"
)


class Disk:
    """A file system of a test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self):
        """Leaves nothing free."""
        with self._ballast.open("wb") as file:
            free = os.statvfs(self.folder)
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize)

    def free(self):
        """Takes the ballast away."""
        self._ballast.unlink()


@pytest.fixture
def disk(scratch_dir):
    folder = scratch_dir / "disk"
    folder.mkdir()
    size = f"size={DISK_MEBIBYTES}m"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"*** NOTHING CAN BE MOUNTED HERE: A FULL DISK IS NOT TRIED *** {mounted.stderr.decode()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def data_dir(scratch_dir):
    """A migrated data folder that nobody serves."""
    folder = scratch_dir / "data"
    with EmbeddedPostgres(folder) as server:
        database.run(migrate(server.dsn))
    return folder


def _give(folder, owner_of):
    owner = owner_of.stat()
    os.chown(folder, owner.st_uid, owner.st_gid)
    folder.chmod(0o700)


@contextmanager
def _log_on(disk, data_dir):
    """The write-ahead log lies on the small disk."""
    log = data_dir / "postgres" / "pg_wal"
    subprocess.run(["mv", log, disk.folder / "pg_wal"], check=True)
    log.symlink_to(disk.folder / "pg_wal")
    _give(disk.folder, data_dir / "postgres")
    yield


async def _use_up_the_log(dsn):
    """Begins a new file of the log until there is no room for one, which ends the database."""
    async with asyncio.timeout(HEAL_SECS):
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            while True:
                await database.execute(dsn, "SELECT pg_switch_wal()")
                await asyncio.sleep(0.05)


async def _full_disk(server, session, dsn, disk, *, meanwhile):
    company, ledger, client = await asyncio.to_thread(Tenant, dsn), Ledger(), Client(server.url, session)
    (worker,) = server.workers()
    async with sending([client], company.ingest, ledger) as senders:
        disk.fill()
        await meanwhile()
        await senders.refused()
        assert (await client.get("/livez")).status == 200
        await asyncio.sleep(3)
        disk.free()
        await senders.acknowledged(3)
        assert (await client.get("/readyz")).status == 200
    assert ledger.refusals.keys() <= AWAY
    assert ledger.lost == 0
    await ledger.verify(dsn, company.name, commits_went_unheard=True)
    assert server.workers() == [worker]
    assert server.stop() == 0


async def test_a_full_disk_of_the_log_ends_the_database_and_it_comes_back(disk, data_dir, session):
    with _log_on(disk, data_dir), serving("--data-dir", data_dir, settings=PATIENCE) as server:
        dsn = running_dsn(data_dir)

        async def meanwhile():
            await _use_up_the_log(dsn)
            await asyncio.to_thread(
                wait_until, lambda: running_dsn(data_dir) is None, limit_secs=HEAL_SECS, what="the database is gone"
            )

        await _full_disk(server, session, dsn, disk, meanwhile=meanwhile)
        # It could not even recover while the disk was full, and was tried again until it could.
        assert "The embedded PostgreSQL died and is started again." in server.log()
        assert "The embedded PostgreSQL did not start; trying again." in server.log()


async def test_a_full_disk_of_the_tables_is_told_and_survived(disk, data_dir, session):
    _give(disk.folder, data_dir / "postgres")
    with EmbeddedPostgres(data_dir) as postgres:
        other = postgres.dsn.replace("/fleetwire?", "/postgres?")
        database.run(database.execute(other, f"CREATE TABLESPACE small LOCATION '{disk.folder}'"))
        database.run(database.execute(other, "ALTER DATABASE fleetwire SET TABLESPACE small"))
    with serving("--data-dir", data_dir, settings=PATIENCE) as server:
        dsn = running_dsn(data_dir)

        async def meanwhile():
            await asyncio.sleep(0)

        await _full_disk(server, session, dsn, disk, meanwhile=meanwhile)
        assert "DiskFullError" in server.log()
        assert "The embedded PostgreSQL died" not in server.log()
