"""A real PostgreSQL in a folder: no root, no container, nothing to install.

    <data_dir>/postgres        the data folder
    <data_dir>/postgres.lock   held by the process that starts and stops the server
    <data_dir>/postgres.users  held, shared, by short-lived processes that use it

The server is a direct child of its manager, in a session of its own: a Ctrl-C in the terminal does not reach it. It
outlives a manager that is killed, and the next one adopts it.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from time import sleep
from types import TracebackType
from typing import IO, Self

import structlog

from fleetwire.errors import ConfigError
from fleetwire.postgres.embedded import pgdata, postmaster, sysuser
from fleetwire.runtime.clock import monotonic_secs
from fleetwire.runtime.private_files import make_private_dir, open_private

START_LIMIT_SECS = 120.0
"""Recovery after a crash replays at most about `max_wal_size` of log, which a slow disk reads in this time."""
LOCK_LIMIT_SECS = 10.0
"""A command that borrows the server gives it back soon; a server that manages it does not."""
STOP_FAST_LIMIT_SECS = 30.0
STOP_IMMEDIATE_LIMIT_SECS = 10.0
_POLL_SECS = 0.03

_log = structlog.get_logger(__name__)


class EmbeddedPostgres:
    """The server of one data folder, managed by this process between `start` and `stop`."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir.expanduser().resolve()
        self._folder = self._data_dir / "postgres"
        self._lock: IO[str] | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._found: postmaster.Postmaster | None = None

    @property
    def dsn(self) -> str:
        """The owner's DSN of database `fleetwire`, over the Unix socket."""
        if self._found is None:
            raise RuntimeError("The embedded PostgreSQL has not been started.")
        return self._found.dsn

    @property
    def running(self) -> bool:
        """Whether the server's main process lives."""
        if self._child is not None:
            return self._child.poll() is None
        return self._found is not None and postmaster.serves(self._found.pid, self._folder)

    def start(self) -> None:
        """Starts the server, or adopts the running one; makes folder and database at the first time. Blocks.

        Raises:
            ConfigError: another process manages the folder, or the server does not start (with the end of its log).
        """
        give_up_at = monotonic_secs() + LOCK_LIMIT_SECS
        while not self.start_unless_managed():
            if monotonic_secs() >= give_up_at:
                holder = (self._data_dir / "postgres.lock").read_text().strip()
                raise ConfigError(f"Process {holder} manages the database in {self._data_dir} already.")
            sleep(_POLL_SECS)

    def start_unless_managed(self) -> bool:
        """As `start`, but returns False at once when another process manages the folder."""
        make_data_dir(self._data_dir)
        lock = open_private(self._data_dir / "postgres.lock", "a+", encoding="ascii")
        if not _try_lock(lock, fcntl.LOCK_EX):
            lock.close()
            return False
        self._lock = lock
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        try:
            self._serve()
        except BaseException:
            self.stop()
            raise
        return True

    def revive(self) -> None:
        """Starts a server that died; recovery brings back all that was committed. Blocks.

        Raises:
            ConfigError: it does not start.
        """
        self._child = self._found = None
        self._serve()

    def stop(self) -> None:
        """Stops the server, also an adopted one. Blocks; may be repeated.

        What is committed stays, what runs is cut off.
        """
        try:
            for request, limit_secs in (
                (signal.SIGINT, STOP_FAST_LIMIT_SECS),
                (signal.SIGQUIT, STOP_IMMEDIATE_LIMIT_SECS),
            ):
                if not self.running:
                    break
                self._request(request, limit_secs)
            else:
                if self.running:
                    _log.error("The embedded PostgreSQL does not stop.", folder=str(self._folder))
        finally:
            if self._found is not None:
                postmaster.remove_socket_dir(self._folder, self._found.socket_dir)
            self._child = self._found = None
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _serve(self) -> None:
        user = sysuser.choose(self._folder)
        user.open_tree(pgdata.programs().parent)
        user.open_way(self._folder)
        pgdata.initialise(self._folder, user)
        give_up_at = monotonic_secs() + START_LIMIT_SECS
        self._found = postmaster.find(self._folder)
        if self._found is not None:
            _log.info("The embedded PostgreSQL runs already and is adopted.", server_pid=self._found.pid)
        while not self._is_ready():
            if self._child is None and self._found is None:
                self._spawn(user)
            elif self._child is not None and self._child.poll() is not None:
                self._child = self._found = None
                # Orphans of a killed server leave within moments.
                if "shared memory block" not in (tail := postmaster.log_tail(self._folder)):
                    raise ConfigError(f"The embedded PostgreSQL did not start. It wrote:\n{tail}")
                sleep(0.3)
            if monotonic_secs() >= give_up_at:
                tail = postmaster.log_tail(self._folder)
                raise ConfigError(
                    f"The embedded PostgreSQL was not ready in {START_LIMIT_SECS:.0f} s. It wrote:\n{tail}"
                )
            sleep(_POLL_SECS)

    def _spawn(self, user: sysuser.SysUser) -> None:
        socket_dir = pgdata.socket_dir(self._folder, user)
        postmaster.forget_stale(self._folder, socket_dir)
        command = pgdata.command_line(self._folder, socket_dir)
        logs = self._folder / "log"
        if not logs.exists():
            logs.mkdir(mode=0o700)
            user.own(logs)
        postmaster.prune_logs(self._folder)
        # What is written before the server's own log begins.
        with (logs / "start.log").open("wb") as early_log:
            self._child = subprocess.Popen(  # noqa: S603 - the program is ours
                command,
                stdin=subprocess.DEVNULL,
                stdout=early_log,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=pgdata.environment(),
                start_new_session=True,
                umask=0o077,
                **user.popen_arguments(),
            )

    def _is_ready(self) -> bool:
        """Connects, and makes the database if it is missing."""
        found = postmaster.find(self._folder)
        if found is None or not found.ready:
            # An adopted server may be on its way down.
            self._found = found
            return False
        self._found = found
        exists = _psql(found, "SELECT count(*) FROM pg_database WHERE datname = :'database'")
        if exists is None:
            return False
        return exists == "1" or _psql(found, 'CREATE DATABASE :"database"') is not None

    def _request(self, request: signal.Signals, limit_secs: float) -> None:
        pid = self._child.pid if self._child is not None else self._found.pid if self._found is not None else None
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, request)
        give_up_at = monotonic_secs() + limit_secs
        while self.running and monotonic_secs() < give_up_at:
            sleep(_POLL_SECS)


def make_data_dir(data_dir: Path) -> None:
    """Makes the folder, or closes it to other users; the user of the database server may pass through it."""
    make_private_dir(data_dir, group=sysuser.choose(data_dir / "postgres").group_to_pass)


def running_dsn(data_dir: Path) -> str | None:
    """The owner's DSN of the server that runs on `data_dir`, whoever started it; None if none does or it is not ready.

    Raises:
        ConfigError: the folder belongs to another user.
    """
    found = postmaster.find(data_dir.expanduser().resolve() / "postgres")
    return found.dsn if found is not None and found.ready else None


@contextlib.contextmanager
def borrow(data_dir: Path) -> Iterator[str]:
    """The owner's DSN, for the time of a command: of the running server, or of one started and stopped for it.

    Several borrowers share the server that the first of them started; it waits for the others before it stops it.

    Raises:
        ConfigError: the server does not start.
    """
    data_dir = data_dir.expanduser().resolve()
    make_data_dir(data_dir)
    server = EmbeddedPostgres(data_dir)
    give_up_at = monotonic_secs() + START_LIMIT_SECS
    with open_private(data_dir / "postgres.users", "a") as users:
        # Whoever stops the server of borrowers holds this alone.
        _lock_until(users, fcntl.LOCK_SH, give_up_at)
        while (dsn := server.dsn if server.start_unless_managed() else running_dsn(data_dir)) is None:
            if monotonic_secs() >= give_up_at:
                raise ConfigError(f"The database in {data_dir} is managed by a process that does not make it ready.")
            sleep(_POLL_SECS)
        try:
            yield dsn
        finally:
            fcntl.flock(users, fcntl.LOCK_UN)
            if server.running:
                _lock_until(users, fcntl.LOCK_EX, monotonic_secs() + START_LIMIT_SECS)
            server.stop()


def _lock_until(file: IO[str], mode: int, give_up_at: float) -> bool:
    while not (taken := _try_lock(file, mode)) and monotonic_secs() < give_up_at:
        sleep(_POLL_SECS)
    return taken


def _try_lock(file: IO[str], mode: int) -> bool:
    try:
        fcntl.flock(file, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _psql(found: postmaster.Postmaster, statement: str) -> str | None:
    """The statement's output; None if the server does not take connections yet."""
    command = [
        str(pgdata.programs() / "psql"), "--no-psqlrc", "--quiet", "--tuples-only", "--no-align",
        "--set", "ON_ERROR_STOP=1", "--set", f"database={postmaster.DATABASE}",
        "--host", found.socket_dir, "--port", str(pgdata.PORT), "--username", pgdata.OWNER, "--dbname", "postgres",
    ]  # fmt: skip
    try:
        outcome = subprocess.run(  # noqa: S603 - the program is ours
            command, input=statement, capture_output=True, text=True, check=False, env=pgdata.environment(), timeout=10
        )
    except subprocess.TimeoutExpired:
        return None
    return outcome.stdout.strip() if outcome.returncode == 0 else None
