"""The server's main process, as its postmaster.pid and the system's list of processes tell of it."""

import contextlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from fleetwire.errors import ConfigError
from fleetwire.postgres.embedded import pgdata

DATABASE = "fleetwire"
LOG_FILES_KEPT = 10

# Larger than any process id, so that no process has it.
_NOBODYS_PID = 2**31 - 2


@dataclass(frozen=True, slots=True)
class Postmaster:
    """Who serves a data folder, read from its postmaster.pid."""

    pid: int
    socket_dir: str
    ready: bool

    @property
    def dsn(self) -> str:
        """The owner's, for psql and asyncpg. The port is named because PGPORT would otherwise change it."""
        return f"postgresql://{pgdata.OWNER}@/{DATABASE}?host={quote(self.socket_dir, safe='')}&port={pgdata.PORT}"


def find(folder: Path) -> Postmaster | None:
    """Who serves the folder; None when nobody does, whatever a stale postmaster.pid says.

    Raises:
        ConfigError: the folder belongs to another user.
    """
    try:
        lines = (folder / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return None
    except PermissionError:
        raise ConfigError(f"{folder} belongs to another user; run this command as that user.") from None
    # The lines after the first come bit by bit while the server starts: the fifth is the socket's folder.
    lines += [""] * (8 - len(lines))
    if not lines[0].lstrip("-").isdigit() or not serves(int(lines[0]), folder):
        return None
    return Postmaster(pid=int(lines[0]), socket_dir=lines[4].strip(), ready=lines[7].strip() == "ready")


def serves(pid: int, folder: Path) -> bool:
    """Whether the process is a living server of this folder: ids are given out again, above all after a restart."""
    process = Path(f"/proc/{pid}")
    if not process.parent.joinpath("self").exists():
        # Not Linux. A zombie is shown without its arguments.
        command = ["ps", "-o", "command=", "-p", str(pid)]
        outcome = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - a number is all it takes
        return os.fsencode(folder) in outcome.stdout
    try:
        arguments = process.joinpath("cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    # A zombie has no arguments, and the server's children have a title in place of theirs.
    if arguments == [b""] or arguments[0].startswith(b"postgres:"):
        return False
    if os.fsencode(folder) in arguments:
        return True
    with contextlib.suppress(OSError):
        # Started by hand, with the folder named in another way.
        return arguments[0].endswith(b"postgres") and process.joinpath("cwd").readlink() == folder
    return False


def forget_stale(folder: Path, socket_dir: Path) -> None:
    """Makes harmless what a killed server left behind; only when none serves the folder.

    Its process id may have been given to another process, or belong to a zombie that nobody buries; the server would
    take that for a living server and refuse to start. postmaster.pid is not removed: by its last lines the server finds
    out whether orphans of the killed one still use its shared memory.
    """
    (socket_dir / f".s.PGSQL.{pgdata.PORT}.lock").unlink(missing_ok=True)
    path = folder / "postmaster.pid"
    with contextlib.suppress(FileNotFoundError):
        lines = path.read_text().splitlines()
        path.write_text("\n".join([str(_NOBODYS_PID), *lines[1:], ""]))


def log_tail(folder: Path, limit_bytes: int = 2000) -> str:
    """The end of what the server wrote last, for a message."""
    texts = [path.read_bytes()[-limit_bytes:].decode(errors="replace") for path in _log_files(folder)[-2:]]
    return "\n".join(text.strip() for text in texts if text.strip())


def prune_logs(folder: Path) -> None:
    """Removes all but the newest log files."""
    for path in _log_files(folder)[:-LOG_FILES_KEPT]:
        path.unlink(missing_ok=True)


def _log_files(folder: Path) -> list[Path]:
    return sorted((folder / "log").glob("*.log"), key=lambda path: path.stat().st_mtime)


def remove_socket_dir(folder: Path, socket_dir: str) -> None:
    """Removes the private folder of the socket, if it has one."""
    if socket_dir and Path(socket_dir) != folder:
        with contextlib.suppress(OSError):
            Path(socket_dir).rmdir()
