"""A later release is installed under a running server, and SIGHUP brings it into the workers, whole."""

import asyncio
import os
import shutil
import signal
from pathlib import Path

import pytest

import fleetwire
from harness.client import Client
from harness.database import rows
from harness.fixes import fix
from harness.process import serving, wait_until

LIMIT_SECS = 60
MIGRATION = "migrations/9999_later.sql"
LOADED_AT_THE_START, LOADED_BY_WORKERS = "runtime/clock.py", "web/ops.py"


@pytest.fixture
def installed(scratch_dir):
    """The package as it is installed, to be replaced."""
    package = Path(fleetwire.__file__).parent
    return Path(shutil.copytree(package, scratch_dir / "fleetwire", ignore=shutil.ignore_patterns("__pycache__")))


def install_later_release(installed):
    (installed / "postgres" / MIGRATION).write_text("CREATE TABLE later_release (number int);")
    for name in (LOADED_AT_THE_START, LOADED_BY_WORKERS):
        path = installed / name
        # Replaced as pip does it, and not written to: a process may be reading it.
        text = path.read_text() + f"\nimport sys\n\nprint('later {name}', file=sys.stderr)\n"
        path.unlink()
        path.write_text(text)


def times_loaded(server):
    return [server.log().count(f"later {name}") for name in (LOADED_AT_THE_START, LOADED_BY_WORKERS)]


async def test_workers_are_of_the_release_that_is_installed_when_they_are_renewed(
    module_database, session, tenant, installed
):
    with serving("--database-url", module_database, settings={"PYTHONPATH": str(installed.parent)}) as server:
        client = Client(server.url, session)

        async def replaced(old):
            await asyncio.to_thread(
                wait_until,
                lambda: len(server.workers()) == 1 and server.workers() != old,
                limit_secs=LIMIT_SECS,
                what="the worker is another one",
            )
            await client.until("/readyz", 200, within_secs=LIMIT_SECS)
            assert (await client.send({"device": "van", "fixes": [fix()]}, token=tenant.ingest)).status == 200

        old = server.workers()
        install_later_release(installed)
        assert times_loaded(server) == [0, 0]
        server.send(signal.SIGHUP)
        await replaced(old)
        assert times_loaded(server) == [1, 1]
        assert (await rows(module_database, "SELECT to_regclass('later_release') IS NOT NULL"))[0][0]
        # Back again: its worker finds a database that is of a later release, as on a node that is renewed last.
        (installed / "postgres" / MIGRATION).unlink()
        old = server.workers()
        os.kill(old[0], signal.SIGKILL)
        await replaced(old)
        assert times_loaded(server) == [2, 2]
        assert server.stop() == 0
