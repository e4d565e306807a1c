"""Simulates the phone in a vehicle: one fix per sample, with the measurement errors of real phones.

Position: the error drifts by 3 to 8 m (correlated over half a minute), also while standing; its size differs between
phones. Heading: absent while standing, as in browsers. Speed: with noise, never below 0. Battery: drains, and is
charged in the vehicle when low. Dead zones are areas without a network. Pure: no clock.
"""

import random
from math import exp, hypot, sin, sqrt
from typing import Any

from fleetwire.simulate.streets import Streets
from fleetwire.simulate.vehicle import Vehicle

ERROR_METRES = (3.0, 8.0)  # mean distance from the truth
MEAN_PER_SIGMA = 1.2533  # mean distance of a two-dimensional normal error, in standard deviations of one axis
RADIUS_95_PER_SIGMA = 2.4477  # accuracy is the radius that holds 95 % of the fixes
ERROR_SECS = 30.0  # time constant: after it about a third of an error is left
MOVING_MPS = 0.5
SPEED_SIGMA_MPS = 0.15
DRAIN_PER_SEC = 0.08 / 3600
CHARGE_PER_SEC = 0.5 / 3600
CHARGE_BELOW, CHARGED = 0.15, 0.95
ALTITUDE_METRES, HILLS_METRES = 519.0, 12.0


class Phone:
    """Measures the position of one vehicle."""

    def __init__(self, streets: Streets, *, seed: int) -> None:
        self._streets = streets
        self._rng = random.Random(seed)  # noqa: S311 - the same errors each time are the point
        self._sigma_metres = self._rng.uniform(*ERROR_METRES) / MEAN_PER_SIGMA
        self._east_metres = self._rng.gauss(0.0, self._sigma_metres)
        self._north_metres = self._rng.gauss(0.0, self._sigma_metres)
        self._battery = self._rng.uniform(0.3, 1.0)
        self._charging = False

    def fix(self, vehicle: Vehicle, *, at_millis: int, since_secs: float) -> dict[str, Any]:
        """Returns a fix of the vehicle, with the members of the HTTP contract.

        Args:
            vehicle: the vehicle to measure.
            at_millis: the phone's clock, milliseconds since 1970.
            since_secs: seconds since the previous fix.
        """
        self._drift(since_secs)
        self._use_battery(since_secs)
        x, y = vehicle.position
        latitude, longitude = self._streets.degrees(x + self._east_metres, y + self._north_metres)
        fix: dict[str, Any] = {
            "timestamp": at_millis,
            "latitude": round(latitude, 7),
            "longitude": round(longitude, 7),
            "accuracy": round(self._sigma_metres * RADIUS_95_PER_SIGMA * self._rng.uniform(0.85, 1.15), 1),
            "altitude": round(ALTITUDE_METRES + HILLS_METRES * sin(x / 2100) * sin(y / 1700), 1),
            "battery": round(self._battery, 3),
        }
        if vehicle.speed_mps < MOVING_MPS:
            fix["speed"] = 0.0
            return fix
        fix["speed"] = round(max(0.0, vehicle.speed_mps + self._rng.gauss(0.0, SPEED_SIGMA_MPS)), 2)
        # Heading gets less certain at low speed.
        fix["heading"] = (
            round((vehicle.heading_deg + self._rng.gauss(0.0, 6.0 / (1.0 + vehicle.speed_mps))) % 360, 1) % 360
        )
        return fix

    def _drift(self, secs: float) -> None:
        """Advances the first-order autoregressive position error; its spread does not depend on the step."""
        remaining = exp(-secs / ERROR_SECS)
        new_metres = self._sigma_metres * sqrt(1 - remaining * remaining)
        self._east_metres = remaining * self._east_metres + self._rng.gauss(0.0, new_metres)
        self._north_metres = remaining * self._north_metres + self._rng.gauss(0.0, new_metres)

    def _use_battery(self, secs: float) -> None:
        self._battery += (CHARGE_PER_SEC if self._charging else -DRAIN_PER_SEC) * secs
        if self._battery >= CHARGED:
            self._charging = False
        elif self._battery <= CHARGE_BELOW:
            self._charging = True
        self._battery = min(1.0, max(0.0, self._battery))


class DeadZones:
    """Circular areas of the town without a network."""

    def __init__(self, streets: Streets, *, seed: int, count: int) -> None:
        rng = random.Random(seed)  # noqa: S311 - the same zones each time are the point
        self.circles = [(*streets.points[rng.choice(streets.nodes)], rng.uniform(250.0, 500.0)) for _ in range(count)]
        """(x, y, radius) in metres."""

    def contain(self, position: tuple[float, float]) -> bool:
        """Returns whether a position has no network."""
        return any(hypot(position[0] - x, position[1] - y) <= radius for x, y, radius in self.circles)
