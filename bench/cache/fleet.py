"""Stores a fleet through a server and reads answers of it, for the benchmark of cached reads."""

import http.client
from typing import Any

import msgspec

LIMITS = "api=off,api_tenant=off,anonymous=off,pages=off,health=off"
"""One client sends the requests of a thousand users; the limits are not measured."""
TRACK_DEVICE = "device-0000"
START_MILLIS = 1_763_768_400_000


def get(port: int, path: str, token: str) -> bytes:
    """Returns the body of one answer.

    Raises:
        RuntimeError: the answer is not 200.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"{path} answers {answer.status}: {body[:200]!r}")
        return body
    finally:
        connection.close()


def cache_stats(port: int, admin_token: str) -> dict[str, Any]:
    """Returns the server's own counters of its cache."""
    stats: dict[str, Any] = msgspec.json.decode(get(port, "/api/cache/stats", admin_token))
    return stats


def store_fleet(port: int, ingest_key: str, devices: int) -> None:
    """Stores fixes of that many devices, one of them with a long track.

    Raises:
        RuntimeError: a batch is refused.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Authorization": f"Bearer {ingest_key}", "Content-Type": "application/json"}
    for number in range(devices):
        device = f"device-{number:04}"
        batch = {"device": device, "fixes": _fixes(number, 5_000 if device == TRACK_DEVICE else 1)}
        connection.request("POST", "/api/driver/location", msgspec.json.encode(batch), headers)
        answer = connection.getresponse()
        if answer.read() and answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"a batch was answered {answer.status}")
    connection.close()


def _fixes(number: int, count: int) -> list[dict[str, float]]:
    """Makes a drive with occasional turns, whose text compresses as well as a real one's."""
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
