"""Makes folders and files that other users of the machine cannot open: 0700 and 0600, whatever the umask.

What an earlier release or an administrator left too open is closed as well. A lock file counts: who may open it may
hold its lock, and the server would wait for somebody else's process.
"""

import os
import stat
from pathlib import Path
from typing import IO, Any, Final

import structlog

from fleetwire.errors import ConfigError

DIR_MODE: Final = 0o700
FILE_MODE: Final = 0o600
OTHERS: Final = 0o077  # every right of the group and of all others

_log = structlog.get_logger(__name__)


def make_private_dir(folder: Path, *, group: int | None = None) -> None:
    """Makes a folder, or closes an existing one to other users.

    Args:
        folder: parents that are missing are made, too.
        group: may pass through the folder, and not list it.

    Raises:
        ConfigError: everybody may make files in the folder, as in /tmp: it is not ours to close.
    """
    folder.mkdir(mode=DIR_MODE, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_mode & stat.S_ISVTX:
        raise ConfigError(f"{folder} is shared by all users of the machine; choose a folder of its own.")
    mode = DIR_MODE
    if group is not None:
        mode |= stat.S_IXGRP
        if found.st_gid != group:
            os.chown(folder, -1, group)
    _set_mode(folder, found, mode)


def open_private(path: Path, mode: str, *, encoding: str | None = None) -> IO[Any]:
    """Opens a file for writing or appending, and closes it to other users."""
    file = open(path, mode, encoding=encoding, opener=_opener)  # noqa: SIM115 - the caller closes it
    _set_mode(path, os.fstat(file.fileno()), FILE_MODE)
    return file


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags, FILE_MODE)


def _set_mode(path: Path, found: os.stat_result, mode: int) -> None:
    is_set = stat.S_IMODE(found.st_mode)
    if is_set & 0o777 == mode:
        return
    try:
        path.chmod(mode)
    except PermissionError:
        if is_set & OTHERS & ~mode:
            _log.warning("Other users may open this, and it is not ours to close.", path=str(path), mode=oct(is_set))
        return
    if is_set & OTHERS & ~mode:
        _log.info("Closed to other users of the machine.", path=str(path), mode=oct(mode), mode_before=oct(is_set))
