"""Makes the sample batch: 50 fixes as a phone sends them."""

import math
import random
from typing import Any

import msgspec

FIRST_MILLIS = 1_763_768_400_000
NOW_MILLIS = FIRST_MILLIS + 3_600_000
FIXES = 50


def batch(seed: int = 1) -> dict[str, Any]:
    """Returns a batch of a drive of 50 s through a town."""
    rng = random.Random(seed)
    lat_deg, lon_deg, heading_deg = 48.137154, 11.576124, 271.0
    fixes = []
    for second in range(FIXES):
        heading_deg = round((heading_deg + rng.uniform(-10, 10)) % 360, 1)
        speed_mps = round(rng.uniform(8, 15), 1)
        lat_deg += speed_mps * math.cos(math.radians(heading_deg)) / 111_320
        lon_deg += speed_mps * math.sin(math.radians(heading_deg)) / 74_300
        fixes.append(
            {
                "timestamp": FIRST_MILLIS + second * 1_000,
                "latitude": round(lat_deg, 7),
                "longitude": round(lon_deg, 7),
                "accuracy": round(rng.uniform(3, 9), 1),
                "altitude": round(rng.uniform(515, 520), 1),
                "heading": heading_deg,
                "speed": speed_mps,
            }
        )
    return {"device": "bench-00001", "fixes": fixes}


def as_json(made: dict[str, Any]) -> bytes:
    """Encodes a batch as JSON."""
    return msgspec.json.encode(made)


def as_msgpack(made: dict[str, Any]) -> bytes:
    """Encodes a batch as MessagePack."""
    return msgspec.msgpack.encode(made)
