"""Runs a server: database, migrations, workers, and a stop that loses nothing and tells everyone.

main process                                worker (Granian)
start PostgreSQL, migrate
spawn workers                       ----->  build the app, warm the live table
ask each until all are ready                serve
print `ready http://...`
SIGHUP: one after the other         ----->  a new one of the installed release; when it is ready, the old one as below
SIGINT, SIGTERM: SIGUSR1            ----->  refuse new batches with 503, answer the held ones, close sockets 1012
ask each until nothing is held
SIGTERM                             ----->  lifespan shutdown
stop PostgreSQL
"""

import asyncio
import contextlib
import ctypes
import http.client
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import structlog
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels

from fleetwire.errors import ConfigError
from fleetwire.ingest import spool_folder
from fleetwire.postgres.embedded.server import EmbeddedPostgres
from fleetwire.postgres.embedded.supervisor import kept_running
from fleetwire.postgres.migrate import migrate
from fleetwire.postgres.pool import check_roles
from fleetwire.runtime import logs
from fleetwire.runtime.connection_limits import max_http_connections, raise_descriptor_limit, warn_of_few_descriptors
from fleetwire.runtime.private_files import OTHERS, make_private_dir
from fleetwire.server.workers import Workers
from fleetwire.settings import Settings

_log = structlog.get_logger(__name__)

READY_POLL_SECS = 0.05
CONNECTION_BUFFER_BYTES = 128 * 1024  # a head that is not whole yet may take so much; 32 KiB of headers are let in
KILL_SECS = 3  # after the drain, for a worker that a trickling client holds up; nothing acknowledged is lost
PR_SET_PDEATHSIG = 1  # prctl(2)


def serve(
    settings: Settings, *, on_ready: Callable[[str, str], None], on_stopping: Callable[[], None] = lambda: None
) -> None:
    """Serves until SIGINT or SIGTERM.

    `on_ready` is called with the address and the owner's DSN once requests are answered, `on_stopping` before the
    workers are told to stop.

    Raises:
        ConfigError: the address is taken, or the database cannot be used.
        FleetwireError: the database does not answer in time.
        OSError: it cannot be reached.
    """
    logs.configure(level=settings.log_level, form=settings.log_format)
    raise_descriptor_limit()
    os.umask(OTHERS)  # what this process and its workers make is nobody else's to read
    _check_address(settings)
    if settings.spool is not None:
        spool_folder.check_root(settings.spool)
    with database(settings) as dsn:
        ran = asyncio.run(migrate(dsn, connect_timeout_secs=settings.connect_timeout_secs))
        asyncio.run(check_roles(dsn))
        _log.info("The schema is up to date.", migrations_run=ran)
        warn_of_few_descriptors(settings)
        os.environ.update(settings.to_env())
        os.environ["FLEETWIRE_DATABASE_URL"] = dsn
        _serve_workers(settings, lambda: on_ready(address(settings), dsn), on_stopping)


def _check_address(settings: Settings) -> None:
    """Workers share the port by SO_REUSEPORT, and would share it with another server as well."""
    family, kind, protocol, _, target = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        # A port whose connections of a moment ago linger is free all the same.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(target)
        except OSError as error:
            raise ConfigError(f"{settings.host}:{settings.port} cannot be listened on: {error.strerror}.") from error


@contextlib.contextmanager
def database(settings: Settings) -> Iterator[str]:
    """The owner's DSN: of the configured database, or of the embedded one, which runs for as long."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    with EmbeddedPostgres(settings.data_dir) as embedded, kept_running(embedded):
        yield embedded.dsn


@contextlib.contextmanager
def _runtime_dir(settings: Settings) -> Iterator[Path]:
    """A folder that only this server's processes use; its path is short, because that of a socket may not be long."""
    if settings.runtime_dir is None:
        with tempfile.TemporaryDirectory(prefix="fleetwire-") as temporary:
            yield Path(temporary)
        return
    make_private_dir(settings.runtime_dir)
    yield settings.runtime_dir


def _serve_workers(settings: Settings, on_ready: Callable[[], None], on_stopping: Callable[[], None]) -> None:
    server = Workers(
        "fleetwire.app:create_app",
        factory=True,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        # Where HTTP/2 is looked for, the limit of the head begins after the bytes that tell one from the other.
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=round(settings.head_timeout_secs * 1000), max_buffer_size=CONNECTION_BUFFER_BYTES
        ),
        workers=settings.workers,
        loop=Loops.uvloop,
        backlog=4096,
        backpressure=max_http_connections(settings),
        respawn_failed_workers=settings.respawn,
        workers_kill_timeout=KILL_SECS,
        log_level=LogLevels.warning,
    )
    with _runtime_dir(settings) as folder:
        os.environ["FLEETWIRE_RUNTIME_DIR"] = str(folder)
        server.folder, server.drain_secs, server.on_stopping = folder, settings.drain_secs, on_stopping
        threading.Thread(target=_announce, args=(settings, server, on_ready), daemon=True).start()
        server.serve()


def _announce(settings: Settings, server: Workers, on_ready: Callable[[], None]) -> None:
    while not server.interrupt_signal:
        # The second, because a worker listens a moment after it is ready.
        if server.all_ready() and _readiness(settings).get("status") == "ready":
            on_ready()
            return
        time.sleep(READY_POLL_SECS)


def _readiness(settings: Settings) -> dict[str, object]:
    """What /readyz says; empty if nobody answers."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared, not bound
    connection = http.client.HTTPConnection(host, settings.port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        answer: dict[str, object] = msgspec.json.decode(connection.getresponse().read())
    except (OSError, http.client.HTTPException, msgspec.DecodeError):
        return {}
    finally:
        connection.close()
    return answer


def address(settings: Settings) -> str:
    """Where a browser on this machine finds the server."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}"


def adopt_worker_signals(on_drain: Callable[[], None]) -> None:
    """Called in a worker as it starts: drains on SIGUSR1, leaves Ctrl-C to the main process, dies with it."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, on_drain)
    # Ctrl-C reaches the whole process group; the main process decides when a worker stops.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    if sys.platform == "linux":
        # An orphan would keep the port. Killing is safe: nothing is acknowledged before its commit.
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
