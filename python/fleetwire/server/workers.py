"""The worker processes of a node: all ready, replaced one after the other, drained before they are stopped.

Granian cuts sockets at SIGTERM without a close frame. So a worker is told by SIGUSR1 first, and asked over its own
socket until it holds nothing any more; requests to the shared port would reach any worker.
"""

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import structlog
from granian.server.mp import MPServer, WorkerProcess

from fleetwire.runtime import clock
from fleetwire.runtime.retry import RetryState
from fleetwire.server import worker_control

POLL_SECS = 0.05
RESPAWN_PAUSE_SECS = 0.2  # a worker that dies again and again shall not take a processor
READY_SECS = 60.0  # a new worker that needs longer does not take over
_log = structlog.get_logger(__name__)


class Workers(MPServer):
    """Granian with workers that are asked and drained one by one.

    Set before `serve`: `folder` of the workers' sockets, `drain_secs` that a worker has to finish what it holds, and
    `on_stopping`, which is called before the workers are told to stop.
    """

    folder: Path
    drain_secs: float
    on_stopping: Callable[[], None]
    _was_ready = False

    def all_ready(self) -> bool:
        """Whether every worker takes requests."""
        pids = _living(self.wrks)
        ready = len(pids) == self.workers and all(self._state(pid) == b"ready" for pid in pids)
        self._was_ready = self._was_ready or ready
        return ready

    def shutdown(self, exit_code: int = 0) -> None:
        """Tells workers to finish what they hold, then stops them."""
        self.on_stopping()
        self._drain(_living(self.wrks))
        super().shutdown(exit_code)  # type: ignore[no-untyped-call]

    def _respawn_workers(
        self,
        workers: Sequence[int],
        spawn_target: Any,  # noqa: ANN401 - Granian's own
        target_loader: Any,  # noqa: ANN401
        delay: float = 0.0,  # noqa: ARG002
    ) -> None:
        """Replaces workers one after the other: dead ones, or on SIGHUP all, each when its successor is ready.

        Granian's own way waits a fixed time for the successor, and cuts the sockets of the old one.

        A successor is not forked: it would have the modules that this process loaded at its start, and all others as
        they are installed by now, which may be those of a later release. A new interpreter has one release, whole.
        """
        multiprocessing.set_start_method("spawn", force=True)
        for index in workers:
            old = self.wrks[index]
            if self._was_ready:
                # Whatever kills workers now may pass. Granian ends the whole server when one dies young.
                time.sleep(RESPAWN_PAUSE_SECS)
            else:
                self.respawned_wrks[index] = time.monotonic()
            new = self._start_worker(index, spawn_target, target_loader, needs_it=not old.inner.is_alive())
            if new is None:
                continue
            self.wrks[index] = new
            if not old.inner.is_alive():
                _log.warning("A worker died and is started again.", worker=index + 1, exit_code=old.inner.exitcode)
                continue
            if not self._is_ready_in_time(new):
                _log.error("A new worker does not become ready; the old ones stay.", worker=index + 1)
                self.wrks[index] = old
                _end(new, 0)
                return
            self._drain([old.inner.pid])
            _end(old, self.workers_kill_timeout)
            _log.info("A worker was replaced.", worker=index + 1)

    def _start_worker(
        self,
        index: int,
        spawn_target: Any,  # noqa: ANN401 - Granian's own
        target_loader: Any,  # noqa: ANN401
        *,
        needs_it: bool,
    ) -> WorkerProcess | None:
        """Starts a process, again and again while the machine refuses one (no memory, no process numbers left).

        An exception here would end the main process, and all its workers. `needs_it`: there is no old one that serves
        on; otherwise one try is enough. Returns None if there is no new one.
        """
        state = RetryState("worker-start")
        while not self.interrupt_signal:
            new = self._spawn_worker(idx=index, target=spawn_target, callback_loader=target_loader)
            try:
                new.start()  # type: ignore[no-untyped-call]
            except (OSError, RuntimeError) as error:  # RuntimeError: there was no thread to watch over it
                if new.inner.pid is not None:
                    new.kill()  # type: ignore[no-untyped-call]
                pause_secs = state.record_failure(error)
                if not needs_it:
                    _log.error("A new worker cannot be started; the old one stays.", worker=index + 1)
                    return None
                time.sleep(pause_secs)
            else:
                return new
        return None

    def _is_ready_in_time(self, worker: WorkerProcess) -> bool:
        deadline = clock.monotonic_secs() + READY_SECS
        while worker.inner.is_alive() and not self.interrupt_signal and clock.monotonic_secs() < deadline:
            if self._state(worker.inner.pid) == b"ready":
                return True
            time.sleep(POLL_SECS)
        return False

    def _drain(self, pids: list[int]) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR1)
        deadline = clock.monotonic_secs() + self.drain_secs + 1
        while pids and clock.monotonic_secs() < deadline:
            # A worker that does not answer is gone, or beyond help.
            pids = [pid for pid in pids if self._state(pid) in {b"ready", b"draining"}]
            time.sleep(POLL_SECS)

    def _state(self, pid: int) -> bytes:
        return worker_control.ask(self.folder, pid, b"state")


def _living(workers: Sequence[WorkerProcess]) -> list[int]:
    return [worker.inner.pid for worker in workers if worker.inner.is_alive()]


def _end(worker: WorkerProcess, within_secs: float | None) -> None:
    worker.terminate()  # type: ignore[no-untyped-call]
    worker.join(within_secs)  # type: ignore[no-untyped-call]
    if worker.inner.is_alive():
        worker.kill()  # type: ignore[no-untyped-call]
        worker.join()  # type: ignore[no-untyped-call]
