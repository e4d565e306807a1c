"""The street network as a graph: ways between crossings, what hangs together, and the quickest route."""

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from itertools import pairwise
from math import atan2, degrees, hypot
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from fleetwire.simulate.streets import Streets

Node: TypeAlias = int
"""A crossing, as an index."""
Point: TypeAlias = tuple[float, float]
"""Metres east and north of the town's centre."""

METRES_PER_DEGREE = 111_195.0  # of latitude, on a sphere of 6,371 km
FASTEST_MPS = 60 / 3.6  # no way is faster; keeps the search's estimate from exceeding the truth


class Way(NamedTuple):
    """A straight stretch from one crossing to the next, in one direction."""

    start: Node
    end: Node
    metres: float
    limit_mps: float
    bearing_deg: float
    """From north, clockwise, 0 to 360."""
    name: str

    @property
    def secs(self) -> float:
        """How long it takes at the limit."""
        return self.metres / self.limit_mps


def ways_between(nodes: Sequence[Node], points: Sequence[Point], *, name: str, limit_mps: float) -> Iterator[Way]:
    """The ways along a run of crossings, both directions."""
    for start, end in pairwise(nodes):
        east, north = points[end][0] - points[start][0], points[end][1] - points[start][1]
        metres, bearing_deg = hypot(east, north), degrees(atan2(east, north)) % 360
        yield Way(start, end, metres, limit_mps, bearing_deg, name)
        yield Way(end, start, metres, limit_mps, (bearing_deg + 180) % 360, name)


def largest_part(edges: Sequence[tuple[Node, Node]]) -> set[Node]:
    """The nodes of the largest part in which all can reach each other."""
    neighbours: dict[Node, list[Node]] = {}
    for a, b in edges:
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    largest: set[Node] = set()
    seen: set[Node] = set()
    for first in neighbours:
        if first in seen:
            continue
        part, waiting = {first}, [first]
        while waiting:
            for near in neighbours[waiting.pop()]:
                if near not in part:
                    part.add(near)
                    waiting.append(near)
        seen |= part
        largest = max(largest, part, key=len)
    return largest


def quickest(streets: "Streets", start: Node, goal: Node) -> list[Way]:
    """The ways from `start` to `goal` with the shortest time at the limits (A*, a few milliseconds over a town).

    Both must be in `streets.nodes`, where every crossing can be reached from every other.
    """
    goal_x, goal_y = streets.points[goal]
    best_secs: dict[Node, float] = {start: 0.0}
    arrived_by: dict[Node, Way] = {}
    closed: set[Node] = set()
    waiting: list[tuple[float, Node]] = [(0.0, start)]
    while waiting:
        node = heappop(waiting)[1]
        if node == goal:
            break
        if node in closed:
            continue
        closed.add(node)
        for way in streets.ways[node]:
            secs = best_secs[node] + way.secs
            if secs < best_secs.get(way.end, float("inf")):
                best_secs[way.end] = secs
                arrived_by[way.end] = way
                x, y = streets.points[way.end]
                heappush(waiting, (secs + hypot(x - goal_x, y - goal_y) / FASTEST_MPS, way.end))
    route: list[Way] = []
    while goal != start:
        way = arrived_by[goal]
        route.append(way)
        goal = way.start
    return route[::-1]
