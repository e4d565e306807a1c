"""`fleetwire` as a child process, as an operator runs it: started by its command line, known by its output and exit."""

import json
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fleetwire

START_LIMIT_SECS = 60.0
STOP_LIMIT_SECS = 30.0
# The event loop's debug mode says on stderr what took long; there, only what the command itself says is looked at.
_NO_DEBUG = {"PYTHONASYNCIODEBUG": ""}
# All tests come from one address. tests/integration/access/test_rate_limiter.py keeps the usual ones.
ROOMY_LIMITS = (
    "anonymous=100000/60, pages=100000/60, health=100000/60, credential=100000/60, login_address=100000/60, "
    "metrics=100000/60"
)
ROOT = Path(__file__).parents[2]


def environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child: no settings of the caller's own, and the package that is tested."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FLEETWIRE_")}
    package = str(Path(fleetwire.__file__).parents[1])
    # A coloured or wrapped help text would differ from terminal to terminal.
    return {**inherited, "PYTHONPATH": package, "COLUMNS": "200", "NO_COLOR": "1", **(settings or {})}


def command(*arguments: str | Path) -> list[str]:
    """The command line of `fleetwire`."""
    return [sys.executable, "-m", "fleetwire", *map(str, arguments)]


def run(
    *arguments: str | Path, settings: Mapping[str, str] | None = None, typed: str = "", limit_secs: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Runs one command to its end."""
    return subprocess.run(
        command(*arguments),
        env=environment({**_NO_DEBUG, **(settings or {})}),
        input=typed,
        capture_output=True,
        text=True,
        check=False,
        timeout=limit_secs,
        cwd="/",
    )


_DRIVER = """
import json, os, sys, tempfile
from fleetwire.cli.main import main

done = []
for arguments, settings in json.load(sys.stdin):
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        pid = os.fork()
        if pid == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            os.environ.update(settings)
            main(arguments)
            sys.exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        out.seek(0)
        err.seek(0)
        done.append((code, out.read(), err.read()))
print(json.dumps(done))
"""


def run_all(
    *commands: Sequence[str], settings: Sequence[Mapping[str, str]] | None = None
) -> list[subprocess.CompletedProcess[str]]:
    """Runs many commands one after the other, each in a process of its own that finds the package imported already."""
    each_settings = settings or [{}] * len(commands)
    driver = subprocess.run(
        [sys.executable, "-c", _DRIVER],
        env=environment(_NO_DEBUG),
        input=json.dumps(list(zip(commands, each_settings, strict=True))),
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    return [
        subprocess.CompletedProcess(arguments, code, out, err)
        for arguments, (code, out, err) in zip(commands, json.loads(driver.stdout), strict=True)
    ]


def free_port() -> int:
    """A port nobody listens on, outside the range from which outgoing connections get theirs."""
    for _ in range(100):
        port = random.randint(20_000, 31_999)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")


def wait_until(holds: Any, *, limit_secs: float, what: str) -> None:
    """Polls until `holds()` is true."""
    deadline = time.monotonic() + limit_secs
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {limit_secs} s"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> list[int]:
    """The living children of a process."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = entry.joinpath("stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def _listens(pid: int, port: int) -> bool:
    """Whether a process holds a listening TCP socket on the port."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {fields[9] for fields in lines if fields[1].endswith(f":{port:04X}") and fields[3] == "0A"}
    try:
        return any(str(each.readlink()) in {f"socket:[{inode}]" for inode in inodes} for each in _descriptors(pid))
    except FileNotFoundError:
        return False


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _descriptors(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/fd").iterdir())


class Server:
    """One run of `fleetwire serve`."""

    def __init__(self, *arguments: str | Path, settings: Mapping[str, str] | None = None, port: int | None = None):
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._arguments = (*arguments, "--port", str(self.port))
        self._settings = {"FLEETWIRE_LOG_FORMAT": "json", "FLEETWIRE_LIMITS": ROOMY_LIMITS, **(settings or {})}
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by close()
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader: threading.Thread | None = None

    def start(self) -> "Server":
        """Starts it and waits for its line `ready http://...`."""
        self._process = subprocess.Popen(
            command("serve", *self._arguments),
            env=environment(self._settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd="/",
        )
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()
        try:
            line = self._lines.get(timeout=START_LIMIT_SECS)
        except queue.Empty:
            self.kill()
            raise AssertionError(f"not ready in {START_LIMIT_SECS} s:\n{self.log()}") from None
        assert line == f"ready {self.url}", f"{line!r}\n{self.log()}"
        return self

    def successor(self) -> "Server":
        """Another run with the same command line on the same port, not started yet."""
        return Server(*self._arguments[:-2], settings=self._settings, port=self.port)

    def _read(self, stdout: IO[str]) -> None:
        with stdout:
            for line in stdout:
                self._lines.put(line.rstrip("\n"))
        self._lines.put("")

    @property
    def pid(self) -> int:
        """The main process."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the main process lives."""
        return self._process is not None and self._process.poll() is None

    def workers(self) -> list[int]:
        """The worker processes: children of the main process that listen on its port."""
        return [pid for pid in children(self.pid) if _listens(pid, self.port)]

    def database(self) -> int:
        """The main process of the embedded database, which must be a child of the main process."""
        (pid,) = [each for each in children(self.pid) if _program(each).endswith("/postgres")]
        return pid

    def send(self, request: signal.Signals) -> None:
        """Sends a signal to the main process."""
        os.kill(self.pid, request)

    def wait(self, *, limit_secs: float = STOP_LIMIT_SECS) -> int:
        """The exit code."""
        assert self._process is not None
        code = self._process.wait(limit_secs)
        if self._reader is not None:
            self._reader.join(5)
        return code

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        if self.running:
            self.send(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """SIGKILL to the main process; returns when it and its workers are gone."""
        if not self.running:
            return
        workers = self.workers()
        self.send(signal.SIGKILL)
        self.wait()
        wait_until(lambda: not any(map(alive, workers)), limit_secs=5, what="workers die with their main process")

    def close(self) -> None:
        """Ends it one way or the other."""
        try:
            if self.running:
                self.stop()
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        finally:
            self._log.close()

    def log(self) -> str:
        """Everything it wrote to stderr."""
        self._log.flush()
        self._log.seek(0)
        return self._log.read()

    def faults(self) -> list[str]:
        """Lines of the log that no client's behaviour may cause: errors, tracebacks, panics."""
        found = []
        for line in self.log().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                entry = None
            if isinstance(entry, dict):
                if entry.get("level") in {"error", "critical"}:
                    found.append(line)
            elif line.strip():
                found.append(line)
        return found


@contextmanager
def serving(*arguments: str | Path, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server for the time of a block."""
    server = Server(*arguments, settings=settings)
    try:
        yield server.start()
    finally:
        server.close()
