"""The server under test with a fleet in it, and the credentials to read it."""

import asyncio
import http.client
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bench.ingest import children
from bench.ingest.options import REPOSITORY

TENANT = "bench"
TRACK_DEVICE = "device-0000"
LIMITS = "api=off,api_tenant=off,anonymous=off,pages=off,health=off"
START_MILLIS = 1_763_768_400_000


@dataclass(frozen=True, slots=True)
class Stage:
    """A running server."""

    port: int
    ingest: str
    """An ingest key."""
    reader: str
    """A dispatcher's token."""
    operator: str
    """An admin's token."""

    def get(self, path: str, token: str) -> tuple[dict[str, str], bytes]:
        """Headers and body of one answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != http.HTTPStatus.OK:
                raise RuntimeError(f"{path} answers {answer.status}: {body[:200]!r}")
            return {name.lower(): value for name, value in answer.getheaders()}, body
        finally:
            connection.close()

    def figures(self) -> dict[str, Any]:
        """What the cache says of itself."""
        found: dict[str, Any] = msgspec.json.decode(self.get("/api/cache/stats", self.operator)[1])
        return found


@asynccontextmanager
async def raise_stage(folder: Path, *, devices: int) -> AsyncIterator[Stage]:
    """Starts a server in `folder` with a fleet of that many devices, one of them with a long track."""
    port = children.free_port()
    data_dir = folder / "data"
    app = "bench.cache.product:create_app"
    command = ["-m", "bench.serve", "--app", app, "--data-dir", str(data_dir), "--port", str(port)]

    async def is_ready() -> bool:
        return await asyncio.to_thread(_is_ready, port)

    # One user asks for a thousand, and its limits are not what is measured.
    async with children.running(command, is_ready=is_ready, FLEETWIRE_LIMITS=LIMITS):
        ingest, reader, operator = await asyncio.to_thread(_issue_tokens, data_dir)
        await asyncio.to_thread(_fill, port, ingest, devices)
        yield Stage(port, ingest, reader, operator)


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _issue_tokens(data_dir: Path) -> list[str]:
    kinds = [["ingest"], ["user", "dora", "--role", "dispatcher"], ["user", "ada", "--role", "admin"]]
    return [_command("token", *kind, "--tenant", TENANT, "--data-dir", str(data_dir)) for kind in kinds]


def _command(*words: str) -> str:
    command = [sys.executable, "-m", "fleetwire", *words]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=children.environment(), capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _fill(port: int, token: str, devices: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    for number in range(devices):
        device = f"device-{number:04}"
        batch = {"device": device, "fixes": _fixes(number, 5_000 if device == TRACK_DEVICE else 1)}
        connection.request("POST", "/api/driver/location", msgspec.json.encode(batch), headers)
        answer = connection.getresponse()
        if answer.read() and answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"a batch was answered {answer.status}")
    connection.close()


def _fixes(number: int, count: int) -> list[dict[str, float]]:
    """A drive with a turn now and then: text that compresses neither better nor worse than a real one's."""
    latitude, longitude = 48.0 + number % 40 * 0.0123, 11.0 + number // 40 * 0.0171
    fixes = []
    for step in range(count):
        turn = (step * 7919 + number * 104_729) % 360
        latitude += (turn % 19 - 9) * 1.37e-5
        longitude += (turn % 23 - 11) * 1.71e-5
        fixes.append(
            {
                "timestamp": START_MILLIS + step * 1000 + number,
                "latitude": round(latitude, 7),
                "longitude": round(longitude, 7),
                "speed": turn % 29 + turn % 10 / 10,
                "heading": float(turn),
                "accuracy": 3.0 + turn % 7,
            }
        )
    return fixes
