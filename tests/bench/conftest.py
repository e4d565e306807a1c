"""Fixtures that run the benchmarks as commands. Tests check counts; the measured figures are meaningless here.

Locust replaces the sockets of the importing process, so no test imports it.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.fixtures import module_database, server, tenant
from harness.process import ROOT, environment

__all__ = ["bench", "loadgen", "module_database", "server", "tenant"]

TIMEOUT_SECS = 240


@pytest.fixture(scope="session")
def loadgen() -> Path:
    """Builds the load generator without optimisation, because nothing is timed."""
    command = ["cargo", "build", "--quiet", "--locked", "--package", "loadgen", "--target-dir", str(ROOT / "target")]
    subprocess.run(command, cwd=ROOT, check=True)
    return ROOT / "target" / "debug" / "loadgen"


@pytest.fixture(scope="session")
def bench():
    """Runs `python -m MODULE ...` from the top of the repository."""

    def run(module, *arguments, exit_code=0, **env):
        done = subprocess.run(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=ROOT,
            env={**environment(env), "PYTHONPATH": f"{ROOT}:{ROOT / 'python'}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECS,
        )
        assert done.returncode == exit_code, done.stderr[-4_000:]
        return done.stdout

    return run


@pytest.fixture
def result(tmp_path):
    """Reads the JSON file that a benchmark wrote to the test's folder."""

    def read():
        (path,) = tmp_path.glob("*.json")
        return json.loads(path.read_text())

    return read
