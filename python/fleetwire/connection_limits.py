"""Limits that only the system can keep: open files of a worker, and data that a peer does not take."""

import contextlib
import os
import resource
import socket
from pathlib import Path
from typing import Final

import structlog

from fleetwire.settings import Settings, variable

RESERVED_DESCRIPTORS: Final = 512
"""Open files of a worker besides its clients' connections: database, Redis, logs, the console."""

_log = structlog.get_logger(__name__)


def raise_descriptor_limit() -> None:
    """Raises the limit of open files to what the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # macOS names a hard limit that it does not grant
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def warn_of_few_descriptors(settings: Settings) -> None:
    """Logs when the limit of open files bounds connections below the setting."""
    bound = max_connections(settings.max_sockets)
    if bound < settings.max_sockets:
        _log.warning(
            "The system's limit of open files bounds connections and sockets of a worker.",
            setting=variable("max_sockets"),
            value=settings.max_sockets,
            bound=bound,
        )


def max_connections(wanted: int) -> int:
    """How many of a kind, HTTP connections or sockets, a worker can hold within its limit of open files.

    A server without a free descriptor accepts nobody, and can open no connection to its database either.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, (soft - min(RESERVED_DESCRIPTORS, soft // 2)) // 2))


def limit_unsent_data(port: int, within_secs: float) -> bool:
    """Lets the system drop a connection whose peer takes nothing for so long; whether the server listens already.

    Only the listening socket is set: what it accepts inherits the option. What the application gives up is otherwise
    held by the system, and by the server, for as long as the peer likes.
    """
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is None:
        return True
    found = False
    for entry in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(entry.name))) as own:
            if own.family not in {socket.AF_INET, socket.AF_INET6} or own.type != socket.SOCK_STREAM:
                continue
            if own.getsockname()[1] == port and own.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                own.setsockopt(socket.IPPROTO_TCP, option, round(within_secs * 1000))
                found = True
    return found
