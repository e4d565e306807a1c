"""The main process goes on when the machine refuses it a new worker: no process numbers, no memory, no threads."""

import errno
import subprocess
import sys
from types import SimpleNamespace

import pytest

from fleetwire.server.workers import Workers


class Refused:
    """A process that cannot be started, or whose watching thread cannot."""

    def __init__(self, error, *, runs=False):
        self._error = error
        self.inner = SimpleNamespace(pid=None)
        self._process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) if runs else None

    def start(self):
        if self._process is not None:
            self.inner.pid = self._process.pid
        raise self._error

    def kill(self):
        self._process.kill()
        self._process.communicate()


class Started:
    def start(self):
        pass


@pytest.fixture
def server():
    made = Workers.__new__(Workers)
    made.interrupt_signal = False
    return made


def test_a_refused_worker_is_started_when_it_can_be(server):
    processes = [
        Refused(BlockingIOError(errno.EAGAIN, "fork failed")),
        Refused(OSError(errno.ENOMEM, "no memory")),
        half := Refused(RuntimeError("can't start new thread"), runs=True),
        started := Started(),
    ]
    server._spawn_worker = lambda **_: processes.pop(0)
    assert server._start_worker(0, None, None, needs_it=True) is started
    assert half._process.poll() is not None, "a process that nobody watches over is not left running"


def test_a_worker_that_serves_stays_where_its_successor_cannot_be_started(server):
    server._spawn_worker = lambda **_: Refused(BlockingIOError(errno.EAGAIN, "fork failed"))
    assert server._start_worker(0, None, None, needs_it=False) is None


def test_a_server_that_stops_does_not_try_again(server):
    server._spawn_worker = lambda **_: Refused(OSError(errno.ENOMEM, "no memory"))
    server.interrupt_signal = True
    assert server._start_worker(0, None, None, needs_it=True) is None
