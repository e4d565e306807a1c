"""A vehicle that drives through the town, step by step of time.

    route: the quickest ways to a destination
    on a way:  speed up to the driver's pace -> brake in time for the end of the way
    at its end:  go on straight | slow for the turn | wait at a red light | destination: unload, then a new one

Pure: no clock and no input but the steps. The same seed and the same steps give the same drive.
"""

import random
from math import sqrt

from fleetwire.simulate.streets import Streets
from fleetwire.simulate.ways import Way, quickest

ACCELERATION_MPS2 = 1.6
BRAKING_MPS2 = 2.2
STEP_SECS = 0.5  # longer steps would pass the point to brake at by metres
STRAIGHT_DEG = 25.0
TURN_MPS = ((70.0, 7.5), (120.0, 5.0), (180.0, 2.5))  # up to this angle in degrees: no faster than
RED_SHARE = 0.4  # of the arrivals at a signal
RED_SECS = (4.0, 40.0)
UNLOAD_SECS = (60.0, 240.0)
PACE = (0.85, 1.08)  # of the limit
NEAREST_TRIP_METRES = 800.0


class Vehicle:
    """One vehicle. It is always on a way: `position` lies on the straight line between two crossings."""

    def __init__(self, streets: Streets, *, seed: int) -> None:
        self._streets = streets
        self._rng = random.Random(seed)  # noqa: S311 - the same drive each time is the point
        self._pace = self._rng.uniform(*PACE)
        self._wait_secs = 0.0
        self._route: list[Way] = []
        self.speed_mps = 0.0
        self.deliveries = 0
        self._plan(self._rng.choice(streets.nodes))
        # Somewhere along the first way, or a fleet would start on the crossings only.
        self._along_metres = self._rng.uniform(0.0, self.way.metres * 0.8)

    @property
    def way(self) -> Way:
        """The way it is on."""
        return self._route[self._leg]

    @property
    def position(self) -> tuple[float, float]:
        """Metres east and north of the centre."""
        start, end = self._streets.points[self.way.start], self._streets.points[self.way.end]
        share = self._along_metres / self.way.metres
        return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share

    @property
    def heading_deg(self) -> float:
        """From north, clockwise, 0 to 360."""
        return self.way.bearing_deg

    def step(self, secs: float) -> None:
        """Drives for so long."""
        while secs > 0:
            part_secs = min(secs, STEP_SECS)
            secs -= part_secs
            if self._wait_secs > 0:
                self._wait_secs -= part_secs
            else:
                self._drive(part_secs)

    def _drive(self, secs: float) -> None:
        left_metres = self.way.metres - self._along_metres
        if left_metres <= 0:  # stood at the end of the way, and the wait is over
            self._enter_next()
            left_metres = self.way.metres
        can_stop_mps = sqrt(self._end_mps**2 + 2 * BRAKING_MPS2 * left_metres)
        allowed_mps = min(self.way.limit_mps * self._pace, can_stop_mps)
        self.speed_mps = min(allowed_mps, self.speed_mps + ACCELERATION_MPS2 * secs)
        self._along_metres += self.speed_mps * secs
        if self._along_metres < self.way.metres:
            return
        if self._end_mps == 0:
            self._along_metres = self.way.metres
            self.speed_mps = 0.0
            self._wait_secs = self._rng.uniform(*(UNLOAD_SECS if self._at_destination() else RED_SECS))
            return
        over_metres = self._along_metres - self.way.metres
        self._enter_next()
        # A step is a few metres and the shortest way is over a hundred: one crossing per step at most.
        self._along_metres = over_metres

    def _at_destination(self) -> bool:
        return self._leg == len(self._route) - 1

    def _enter_next(self) -> None:
        if self._at_destination():
            self.deliveries += 1
            self._plan(self.way.end)
        else:
            self._leg += 1
        self._along_metres = 0.0
        self._end_mps = self._decide_end_mps()

    def _plan(self, start: int) -> None:
        """Picks a destination: the nearest of a few, so that most trips stay in a part of the town."""
        x, y = self._streets.points[start]

        def metres(node: int) -> float:
            away = abs(self._streets.points[node][0] - x) + abs(self._streets.points[node][1] - y)
            return away if away >= NEAREST_TRIP_METRES else float("inf")

        goals = [node for node in self._rng.sample(self._streets.nodes, 4) if node != start]
        self._route = quickest(self._streets, start, min(goals, key=metres))
        self._leg = 0
        self._end_mps = self._decide_end_mps()

    def _decide_end_mps(self) -> float:
        """How fast the end of the present way may be passed; 0 where the vehicle will stop."""
        red = self.way.end in self._streets.signals and self._rng.random() < RED_SHARE
        if red or self._at_destination():
            return 0.0
        following = self._route[self._leg + 1]
        turn_deg = abs((following.bearing_deg - self.way.bearing_deg + 180) % 360 - 180)
        if turn_deg <= STRAIGHT_DEG:
            return following.limit_mps * self._pace
        return next(mps for up_to_deg, mps in TURN_MPS if turn_deg <= up_to_deg)
