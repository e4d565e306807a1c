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
HTTP_SHARE: Final = 4
"""HTTP connections get a quarter of the rest: they are short, and drivers and watchers stay on their sockets."""

_log = structlog.get_logger(__name__)


def raise_descriptor_limit() -> None:
    """Raises the limit of open files to what the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # macOS names a hard limit that it does not grant
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def warn_of_few_descriptors(settings: Settings) -> None:
    """Logs when the limit of open files bounds connections below the setting."""
    bound = max_sockets(settings)
    if bound < settings.max_sockets:
        _log.warning(
            "The system's limit of open files bounds connections and sockets of a worker.",
            setting=variable("max_sockets"),
            value=settings.max_sockets,
            bound=bound,
        )


def max_http_connections(settings: Settings) -> int:
    """Returns how many HTTP connections a worker may hold: at most a quarter of the open files left for clients.

    A server without a free descriptor accepts nobody, and can open no connection to its database either.
    """
    free = _client_descriptors()
    return settings.max_sockets if free is None else max(1, min(settings.max_sockets, free // HTTP_SHARE))


def max_sockets(settings: Settings) -> int:
    """Returns how many WebSockets a worker may hold within its limit of open files: what HTTP does not take."""
    free = _client_descriptors()
    return settings.max_sockets if free is None else max(1, min(settings.max_sockets, free - free // HTTP_SHARE))


def _client_descriptors() -> int | None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft - min(RESERVED_DESCRIPTORS, soft // 2)


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
