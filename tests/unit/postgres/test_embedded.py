"""The embedded server: whoever dies, and wherever the folder lies, it starts again with the data there."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fleetwire.errors import ConfigError
from fleetwire.postgres.embedded import pgdata, postmaster, server, sysuser
from fleetwire.postgres.embedded.server import EmbeddedPostgres, borrow, running_dsn

MANAGER = """
import sys, time
from pathlib import Path
from fleetwire.postgres.embedded.server import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
server.start()
print("ready", flush=True)
time.sleep(600)
"""


def psql(dsn, statement):
    outcome = subprocess.run(
        [pgdata.programs() / "psql", "-X", "-At", dsn, "-c", statement], capture_output=True, text=True, check=True
    )
    return outcome.stdout.strip()


def server_pid(data_dir):
    return postmaster.find(data_dir.resolve() / "postgres").pid


def wait_until(condition, limit_secs=20):
    give_up_at = time.monotonic() + limit_secs
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


@pytest.fixture(scope="module")
def made_folder(session_dir):
    """A data folder that initdb has made, to be copied: making one takes seconds."""
    data_dir = session_dir / "made"
    with EmbeddedPostgres(data_dir) as server:
        psql(server.dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
    return data_dir / "postgres"


def copy_to(data_dir, made_folder):
    """Copies the made folder with its owner, who is not us when we are root."""
    data_dir.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", made_folder, data_dir / "postgres"], check=True)
    return data_dir


@pytest.fixture
def data_dir(scratch_dir, made_folder):
    return copy_to(scratch_dir / "data", made_folder)


def test_a_first_start_makes_everything_and_a_second_finds_it(scratch_dir):
    data_dir = scratch_dir / "data"
    with EmbeddedPostgres(data_dir) as server:
        assert server.running
        assert running_dsn(data_dir) == server.dsn
        psql(server.dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
    assert not server.running
    assert running_dsn(data_dir) is None
    with EmbeddedPostgres(data_dir) as server:
        assert psql(server.dsn, "SELECT current_database(), answer FROM kept") == "fleetwire|42"


def test_receipts_can_rest_on_the_settings(data_dir):
    with EmbeddedPostgres(data_dir) as server:
        settings = ["fsync", "full_page_writes", "synchronous_commit", "data_checksums", "listen_addresses", "TimeZone"]
        shown = psql(server.dsn, "SELECT " + ", ".join(f"current_setting('{name}')" for name in settings))
        assert shown == "on|on|on|on||UTC"
        assert psql(server.dsn, "SELECT current_setting('jit'), pg_encoding_to_char(encoding) FROM pg_database "
                    "WHERE datname = 'fleetwire'") == "off|UTF8"  # fmt: skip


def test_only_its_user_reaches_the_socket(data_dir):
    with EmbeddedPostgres(data_dir):
        folder = data_dir / "postgres"
        assert folder.stat().st_mode & 0o077 == 0
        assert (folder / ".s.PGSQL.5432").stat().st_mode & 0o077 == 0


def test_what_an_operator_set_wins_over_our_tuning(data_dir):
    with EmbeddedPostgres(data_dir) as server:
        psql(server.dsn, "ALTER SYSTEM SET work_mem = '7MB'")
        psql(server.dsn, "ALTER SYSTEM SET max_wal_size = '3GB'")
        psql(server.dsn, "ALTER SYSTEM SET fsync = off")
    with EmbeddedPostgres(data_dir) as server:
        assert psql(server.dsn, "SHOW work_mem") == "7MB"
        assert psql(server.dsn, "SHOW max_wal_size") == "3GB"
        assert psql(server.dsn, "SHOW fsync") == "on"


@pytest.mark.parametrize("name", ["with spaces", "with,comma", "ü ' \" %41", "l" * 150])
def test_any_path_will_do(scratch_dir, made_folder, name):
    data_dir = copy_to(scratch_dir / name, made_folder)
    with EmbeddedPostgres(data_dir) as server:
        assert psql(server.dsn, "SELECT answer FROM kept") == "42"
        assert running_dsn(data_dir) == server.dsn
        socket_dir = postmaster.find(data_dir.resolve() / "postgres").socket_dir
        assert Path(socket_dir).stat().st_mode & 0o077 == 0
    assert (socket_dir == str(data_dir / "postgres")) == Path(socket_dir).exists()


async def test_asyncpg_takes_the_dsn(data_dir):
    import asyncpg

    with EmbeddedPostgres(data_dir) as server:
        connection = await asyncpg.connect(server.dsn)
        assert await connection.fetchval("SELECT answer FROM kept") == 42
        await connection.close()


def test_the_callers_environment_leads_nowhere_else(data_dir, monkeypatch):
    for name, value in {"PGPORT": "1", "PGHOST": "nowhere", "PGDATA": "/nonexistent", "PGUSER": "nobody"}.items():
        monkeypatch.setenv(name, value)
    with EmbeddedPostgres(data_dir) as server:
        assert psql(server.dsn, "SELECT answer FROM kept") == "42"


@pytest.fixture
def manager(data_dir):
    """Another process that manages the folder."""
    child = subprocess.Popen([sys.executable, "-c", MANAGER, data_dir], stdout=subprocess.PIPE, text=True)
    assert any("ready" in line for line in iter(child.stdout.readline, ""))
    yield child
    child.kill()
    child.wait()
    child.stdout.close()
    if running_dsn(data_dir) is not None:
        with EmbeddedPostgres(data_dir):
            pass


def test_the_server_of_a_killed_manager_is_adopted_and_can_be_stopped(data_dir, manager):
    pid = server_pid(data_dir)
    manager.kill()
    manager.wait()
    with EmbeddedPostgres(data_dir) as server:
        assert server_pid(data_dir) == pid
        assert server.running
        assert psql(server.dsn, "SELECT answer FROM kept") == "42"
    assert not postmaster.serves(pid, data_dir.resolve() / "postgres")


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(data_dir, manager):
    pid = server_pid(data_dir)
    assert os.getsid(pid) != os.getsid(manager.pid)
    assert os.getpgid(pid) == pid


def test_a_second_manager_is_refused_and_a_borrower_is_not(data_dir, manager, monkeypatch):
    monkeypatch.setattr(server, "LOCK_LIMIT_SECS", 0.1)
    with pytest.raises(ConfigError, match=f"Process {manager.pid} manages"):
        EmbeddedPostgres(data_dir).start()
    with borrow(data_dir) as dsn:
        assert psql(dsn, "SELECT answer FROM kept") == "42"
    assert running_dsn(data_dir) == dsn


def test_a_borrower_starts_and_stops_what_nobody_runs(data_dir):
    with borrow(data_dir) as dsn:
        assert psql(dsn, "SELECT answer FROM kept") == "42"
    assert running_dsn(data_dir) is None


def test_the_first_borrower_waits_for_the_others(data_dir):
    with borrow(data_dir) as dsn:
        code = (
            "import sys, time; from pathlib import Path; from fleetwire.postgres.embedded.server import borrow\n"
            "with borrow(Path(sys.argv[1])) as dsn:\n"
            "    print('borrowed', flush=True); time.sleep(1); print(dsn, flush=True)"
        )
        other = subprocess.Popen([sys.executable, "-c", code, data_dir], stdout=subprocess.PIPE, text=True)
        while "borrowed" not in other.stdout.readline():
            pass
        left_at = time.monotonic()
    assert time.monotonic() - left_at > 0.8
    assert other.communicate(timeout=20)[0].strip() == dsn
    assert other.returncode == 0


def test_a_killed_server_recovers(data_dir):
    server = EmbeddedPostgres(data_dir)
    server.start()
    psql(server.dsn, "CREATE TABLE committed AS SELECT 7 AS answer")
    os.kill(server_pid(data_dir), signal.SIGKILL)
    wait_until(lambda: not server.running)
    assert running_dsn(data_dir) is None
    server.stop()
    server.start()
    try:
        assert psql(server.dsn, "SELECT answer FROM committed") == "7"
    finally:
        server.stop()


def test_a_killed_manager_and_a_killed_server_are_no_obstacle(data_dir, manager):
    psql(running_dsn(data_dir), "CREATE TABLE committed AS SELECT 7 AS answer")
    pid = server_pid(data_dir)
    manager.kill()
    os.kill(pid, signal.SIGKILL)
    with EmbeddedPostgres(data_dir) as server:
        assert psql(server.dsn, "SELECT answer FROM committed") == "7"


def test_a_stale_process_id_that_another_process_has_now_is_no_obstacle(data_dir):
    server = EmbeddedPostgres(data_dir)
    server.start()
    pid_file = data_dir / "postgres" / "postmaster.pid"
    content, owner = pid_file.read_text(), pid_file.stat()
    os.kill(server_pid(data_dir), signal.SIGKILL)
    wait_until(lambda: not server.running)
    server.stop()
    user = sysuser.choose(data_dir / "postgres")
    stranger = subprocess.Popen(["sleep", "600"], cwd="/", **user.popen_arguments())
    try:
        pid_file.write_text(content.replace(content.split("\n")[0], str(stranger.pid), 1))
        os.chown(pid_file, owner.st_uid, owner.st_gid)
        assert running_dsn(data_dir) is None
        with EmbeddedPostgres(data_dir) as server:
            assert psql(server.dsn, "SELECT answer FROM kept") == "42"
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_an_interrupted_initdb_starts_over(scratch_dir):
    data_dir = scratch_dir / "data"
    half_made = data_dir / "postgres.new"
    half_made.mkdir(parents=True)
    (half_made / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(data_dir) as server:
        assert psql(server.dsn, "SELECT 1") == "1"
    assert not half_made.exists()


def test_a_folder_with_something_else_in_it_is_left_alone(scratch_dir):
    (scratch_dir / "postgres").mkdir()
    (scratch_dir / "postgres" / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match="is not a PostgreSQL data folder"):
        EmbeddedPostgres(scratch_dir).start()
    assert (scratch_dir / "postgres" / "letter.txt").read_text() == "dear"


def test_a_folder_of_another_major_version_is_refused(data_dir):
    (data_dir / "postgres" / "PG_VERSION").write_text("16\n")
    with pytest.raises(ConfigError, match="was made by PostgreSQL 16"):
        EmbeddedPostgres(data_dir).start()


def test_a_server_that_cannot_start_tells_why(data_dir):
    with (data_dir / "postgres" / "postgresql.conf").open("a") as conf:
        conf.write("\nno_such_setting = 1\n")
    with pytest.raises(ConfigError, match="no_such_setting"):
        EmbeddedPostgres(data_dir).start()
    shutil.rmtree(data_dir)


def test_old_log_files_are_removed(data_dir):
    logs = data_dir / "postgres" / "log"
    for number in range(30):
        (logs / f"postgresql-2020{number:04}.log").write_text("old")
    with EmbeddedPostgres(data_dir):
        assert len(list(logs.glob("postgresql-*.log"))) <= postmaster.LOG_FILES_KEPT + 1
