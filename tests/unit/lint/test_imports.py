"""The contracts of imports in pyproject.toml hold for the package, and find a planted violation."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def package(tmp_path):
    """A copy of the package's modules that a test may spoil."""
    source = REPOSITORY / "python/fleetwire"
    return Path(
        shutil.copytree(source, tmp_path / "fleetwire", ignore=shutil.ignore_patterns("__pycache__", "console_dist"))
    )


def lint_imports(package):
    command = [Path(sys.executable).with_name("lint-imports"), "--config", REPOSITORY / "pyproject.toml", "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(package.parent)}
    return subprocess.run(command, cwd=package.parent, env=environment, capture_output=True, text=True, check=False)


def test_the_package_holds_them(package):
    found = lint_imports(package)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(
    ("path", "line", "broken"),
    [
        ("store/writer.py", "from fleetwire.live import state", "fleetwire.store.writer -> fleetwire.live.state"),
        ("runtime/clock.py", "from fleetwire.store import tracks", "fleetwire.runtime.clock -> fleetwire.store.tracks"),
        ("cli/keys.py", "from fleetwire import engine", "fleetwire.cli.keys -> fleetwire.engine"),
    ],
)
def test_an_import_upwards_is_found(package, path, line, broken):
    module = package / path
    module.write_text(f"{module.read_text()}\n{line}\n")
    found = lint_imports(package)
    assert found.returncode == 1
    assert broken in found.stdout
