"""The demo: a tenant with a login, a town, and a simulated fleet that talks to the server as driver apps do.

What it makes is kept in `<data_dir>/demo.json`, so that the second start has the same login and the same history.
"""

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import msgspec

from fleetwire.access.accounts.owner_admin import create_user, issue_token
from fleetwire.simulate.options import SimulateOptions
from fleetwire.simulate.streets import build_streets

TENANT = "demo"
USER = "dispatcher"
STOP_SECS = 5.0  # the fleet flushes what it holds within two


class Demo(msgspec.Struct, frozen=True):
    """What the demo made the first time."""

    password: str
    ingest_key: str


async def prepare(dsn: str, folder: Path) -> Demo:
    """Makes tenant, login and ingest key, or reads what an earlier start made."""
    path = folder / "demo.json"
    if path.is_file():
        return msgspec.json.decode(path.read_bytes(), type=Demo)
    connection = await asyncpg.connect(dsn)
    try:
        demo = Demo(
            # Made up, not fixed: a server must not come with a password that everybody knows.
            password=secrets.token_urlsafe(12),
            ingest_key=await issue_token(connection, TENANT, "ingest", "simulated fleet"),
        )
        await create_user(connection, TENANT, USER, demo.password, "dispatcher")
    finally:
        await connection.close()
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.encode(demo))
    return demo


def write_streets(folder: Path, *, seed: int) -> Path:
    """The simulated town as a map overlay."""
    town = SimulateOptions(url="", token="", seed=seed)
    streets = build_streets(seed=seed, centre_lat_deg=town.centre_lat_deg, centre_lon_deg=town.centre_lon_deg)
    path = folder / "demo-streets.geojson"
    path.write_bytes(msgspec.json.encode(streets.geojson()))
    return path


@contextlib.contextmanager
def fleet(*, url: str, ingest_key: str, vehicles: int, seed: int) -> Iterator[None]:
    """A simulated fleet in a process of its own, as far from the server as driver apps are."""
    command = [sys.executable, "-m", "fleetwire", "simulate", "--url", url, "--print-every-secs", "60"]
    command += ["--vehicles", str(vehicles), "--seed", str(seed)]
    # By environment: a command line can be read by every user of the machine.
    process = subprocess.Popen(command, env={**os.environ, "FLEETWIRE_TOKEN": ingest_key})  # noqa: S603 - our own command
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECS)
        except subprocess.TimeoutExpired:
            process.kill()


def welcome(url: str, demo: Demo) -> str:
    """What a newcomer reads."""
    now = '{"timestamp": \'$(date +%s)\'000, "latitude": 48.137154, "longitude": 11.576124, "speed": 13.4}'
    return f"""
  Fleetwire runs.  {url}

    tenant    {TENANT}
    user      {USER}
    password  {demo.password}

  Post a batch, and see `my-truck` appear in the middle of the town:

    curl {url}/api/driver/location \\
      -H 'Authorization: Bearer {demo.ingest_key}' \\
      -H 'Content-Type: application/json' \\
      -d '{{"device": "my-truck", "fixes": [{now}]}}'

  Ctrl-C stops everything; the data stays for the next start.
"""
