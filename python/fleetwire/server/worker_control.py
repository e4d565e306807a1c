"""How a worker is asked in person: workers share one TCP port, and a request there reaches any of them.

Each worker has a Unix socket `worker-PID.sock` in the runtime folder. A question is one line, the answer is everything
until the end:

    state    starting, ready, draining or drained
    metrics  this worker's metrics, as `metrics.pack` has them
"""

import asyncio
import contextlib
import os
import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Final

import structlog

ANSWER_SECS: Final = 2.0
_NAME: Final = re.compile(r"worker-(\d+)\.sock")

_log = structlog.get_logger(__name__)

Answers = Mapping[bytes, Callable[[], bytes]]


def path_of(folder: Path, pid: int) -> Path:
    """Where a worker listens."""
    return folder / f"worker-{pid}.sock"


@contextlib.asynccontextmanager
async def listening(folder: Path | None, answers: Answers) -> AsyncIterator[None]:
    """Lets this worker be asked for the time of a block, if there is a runtime folder."""
    if folder is None:
        yield
        return

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECS):
                question = (await reader.readline()).strip()
                if question in answers:
                    writer.write(answers[question]())
                    await writer.drain()
        except (OSError, TimeoutError, ValueError) as error:
            _log.warning("A question to this worker was not answered.", error=repr(error))
        finally:
            writer.close()

    path = path_of(folder, os.getpid())
    # A worker with the same number may have died here.
    path.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(answer, path)
    try:
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)


def ask(folder: Path, pid: int, question: bytes) -> bytes:
    """A worker's answer, from another process; empty if it gives none."""
    answer = bytearray()
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(ANSWER_SECS)
        asking.connect(os.fspath(path_of(folder, pid)))
        asking.sendall(question + b"\n")
        while part := asking.recv(1 << 16):
            answer += part
    return bytes(answer)


async def ask_all(folder: Path, question: bytes) -> dict[int, bytes]:
    """The answers of all workers of this node by process number; without those that give none."""
    pids = [int(found[1]) for name in os.listdir(folder) if (found := _NAME.fullmatch(name))]  # noqa: PTH208
    answers = await asyncio.gather(*(_ask(folder, pid, question) for pid in pids))
    return {pid: answer for pid, answer in zip(pids, answers, strict=True) if answer}


async def _ask(folder: Path, pid: int, question: bytes) -> bytes:
    try:
        async with asyncio.timeout(ANSWER_SECS):
            reader, writer = await asyncio.open_unix_connection(path_of(folder, pid))
            try:
                writer.write(question + b"\n")
                return await reader.read(-1)
            finally:
                writer.close()
    except ConnectionRefusedError:
        # It was killed.
        path_of(folder, pid).unlink(missing_ok=True)
        return b""
    except (OSError, TimeoutError):
        return b""
