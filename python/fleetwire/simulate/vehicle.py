"""Drives a simulated vehicle through the town in time steps.

    route:         shortest path to a destination
    on an edge:    accelerate to the driver's cruising speed -> brake in time for the end of the edge
    at its end:    continue straight | slow down for the turn | wait at a red light | unload at the destination

Pure: no clock and no input except the steps. The same seed and the same steps give the same drive.
"""

import random
from math import sqrt

from fleetwire.simulate.street_graph import Edge, shortest_path
from fleetwire.simulate.streets import Streets

ACCELERATION_MPS2 = 1.6
BRAKING_MPS2 = 2.2
STEP_SECS = 0.5  # longer steps would overshoot the braking point by metres
STRAIGHT_DEG = 25.0
TURN_MPS = (
    (70.0, 7.5),
    (120.0, 5.0),
    (180.0, 2.5),
)  # (largest turning angle in degrees, fastest speed through the turn)
RED_SHARE = 0.4  # share of the arrivals at a signal
RED_SECS = (4.0, 40.0)
UNLOAD_SECS = (60.0, 240.0)
CRUISING_SHARE = (0.85, 1.08)  # of the speed limit, by driver
NEAREST_TRIP_METRES = 800.0


class Vehicle:
    """Moves one vehicle; `position` always lies on the straight line between two crossings."""

    def __init__(self, streets: Streets, *, seed: int) -> None:
        self._streets = streets
        self._rng = random.Random(seed)  # noqa: S311 - the same drive each time is the point
        self._cruising_share = self._rng.uniform(*CRUISING_SHARE)
        self._wait_secs = 0.0
        self._route: list[Edge] = []
        self.speed_mps = 0.0
        self.deliveries = 0
        self._plan(self._rng.choice(streets.nodes))
        # A random point of the first edge, or the whole fleet would start at crossings.
        self._along_metres = self._rng.uniform(0.0, self.edge.metres * 0.8)

    @property
    def edge(self) -> Edge:
        """Edge that the vehicle is on."""
        return self._route[self._leg]

    @property
    def position(self) -> tuple[float, float]:
        """Metres east and north of the centre."""
        start, end = self._streets.points[self.edge.start], self._streets.points[self.edge.end]
        share = self._along_metres / self.edge.metres
        return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share

    @property
    def heading_deg(self) -> float:
        """Degrees from north, clockwise, 0 to 360."""
        return self.edge.bearing_deg

    def step(self, secs: float) -> None:
        """Advances the vehicle by `secs` seconds."""
        while secs > 0:
            part_secs = min(secs, STEP_SECS)
            secs -= part_secs
            if self._wait_secs > 0:
                self._wait_secs -= part_secs
            else:
                self._drive(part_secs)

    def _drive(self, secs: float) -> None:
        left_metres = self.edge.metres - self._along_metres
        if left_metres <= 0:  # the wait at the end of the edge is over
            self._enter_next()
            left_metres = self.edge.metres
        can_stop_mps = sqrt(self._end_mps**2 + 2 * BRAKING_MPS2 * left_metres)
        allowed_mps = min(self.edge.limit_mps * self._cruising_share, can_stop_mps)
        self.speed_mps = min(allowed_mps, self.speed_mps + ACCELERATION_MPS2 * secs)
        self._along_metres += self.speed_mps * secs
        if self._along_metres < self.edge.metres:
            return
        if self._end_mps == 0:
            self._along_metres = self.edge.metres
            self.speed_mps = 0.0
            self._wait_secs = self._rng.uniform(*(UNLOAD_SECS if self._at_destination() else RED_SECS))
            return
        over_metres = self._along_metres - self.edge.metres
        self._enter_next()
        # A step is a few metres and the shortest edge over a hundred: one crossing per step at most.
        self._along_metres = over_metres

    def _at_destination(self) -> bool:
        return self._leg == len(self._route) - 1

    def _enter_next(self) -> None:
        if self._at_destination():
            self.deliveries += 1
            self._plan(self.edge.end)
        else:
            self._leg += 1
        self._along_metres = 0.0
        self._end_mps = self._decide_end_mps()

    def _plan(self, start: int) -> None:
        """Plans the path to the nearest of a few random destinations, so that most trips stay in one district."""
        x, y = self._streets.points[start]

        def metres(node: int) -> float:
            distance = abs(self._streets.points[node][0] - x) + abs(self._streets.points[node][1] - y)
            return distance if distance >= NEAREST_TRIP_METRES else float("inf")

        goals = [node for node in self._rng.sample(self._streets.nodes, 4) if node != start]
        self._route = shortest_path(self._streets.edges, self._streets.points, start=start, goal=min(goals, key=metres))
        self._leg = 0
        self._end_mps = self._decide_end_mps()

    def _decide_end_mps(self) -> float:
        """Returns the highest speed at the end of the current edge; 0 where the vehicle will stop."""
        red = self.edge.end in self._streets.signals and self._rng.random() < RED_SHARE
        if red or self._at_destination():
            return 0.0
        following = self._route[self._leg + 1]
        turn_deg = abs((following.bearing_deg - self.edge.bearing_deg + 180) % 360 - 180)
        if turn_deg <= STRAIGHT_DEG:
            return following.limit_mps * self._cruising_share
        return next(mps for up_to_deg, mps in TURN_MPS if turn_deg <= up_to_deg)
