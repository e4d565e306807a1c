"""Nothing that the server writes can be opened by another user of the machine, whatever the umask was."""

import os
import signal
import stat
import subprocess

import pytest

from fleetwire.errors import ConfigError
from fleetwire.runtime.private_files import make_private_dir, open_private
from harness.process import Server, run

LOOK = 'for name; do test -r "$name" && echo "$name"; done; echo looked'


@pytest.fixture
def open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder):
    """The rights of others by path, of a folder and what is in it; not of what only the database server makes."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        if "postgres" not in path.relative_to(folder).parts[:-1]:
            found[path.name] = stat.S_IMODE(path.stat().st_mode)
    return found


@pytest.mark.usefixtures("open_umask")
def test_data_and_spool_folders_are_closed_to_others_also_one_that_was_open(scratch_dir):
    scratch_dir.chmod(0o755)
    data_dir, spool = scratch_dir / "data", scratch_dir / "spool"
    data_dir.mkdir()
    data_dir.chmod(0o755)
    (data_dir / "postgres.lock").touch(mode=0o644)
    running = Server("--data-dir", data_dir, "--spool", spool).start()
    try:
        assert run("token", "ingest", "--tenant", "acme", "--data-dir", data_dir).returncode == 0
        found = modes(data_dir)
        # Started as root, the server is another user, whose group may pass through and not list.
        assert found.pop("data") == (0o710 if os.geteuid() == 0 else 0o700)
        assert {name: mode for name, mode in found.items() if mode & 0o077} == {}
        assert {"postgres.lock", "postgres.users", "postgres"} <= found.keys()
        assert {name: mode for name, mode in modes(spool).items() if mode & 0o077} == {}
        assert "spool.lock" in modes(spool)
        if os.geteuid() == 0:
            names = [str(path) for folder in (data_dir, spool) for path in [folder, *folder.rglob("*")]]
            looked = subprocess.run(
                ["/bin/sh", "-c", LOOK, "sh", *names[:2000]],
                user=65534, group=65534, extra_groups=[], cwd="/", capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert looked.stdout == "looked\n"
        running.send(signal.SIGINT)
        assert running.wait() == 0
    finally:
        running.close()


@pytest.mark.usefixtures("open_umask")
def test_a_file_is_private_from_its_first_moment_and_an_open_one_is_closed(scratch_dir):
    with open_private(scratch_dir / "new", "wb") as file:
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600
    old = scratch_dir / "old"
    old.touch()
    old.chmod(0o666)
    with open_private(old, "a") as file:
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600


def test_a_folder_that_everybody_shares_is_refused_and_stays_as_it_is(scratch_dir):
    shared = scratch_dir / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    with pytest.raises(ConfigError, match="shared by all users"):
        make_private_dir(shared)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o1777
