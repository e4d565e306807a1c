"""Benchmarks of Fleetwire; README.md says how to run and read them."""

from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[1]
