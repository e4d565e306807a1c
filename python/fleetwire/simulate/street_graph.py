"""Street network as a directed graph: edges between crossings, connected components and shortest paths."""

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from itertools import pairwise
from math import atan2, degrees, hypot
from typing import NamedTuple, TypeAlias

Node: TypeAlias = int
"""Index of a crossing."""
Point: TypeAlias = tuple[float, float]
"""Metres east and north of the town's centre."""

METRES_PER_DEGREE = 111_195.0  # of latitude, on a sphere of 6,371 km
FASTEST_MPS = 60 / 3.6  # no edge is faster, so that the search never overestimates the remaining time


class Edge(NamedTuple):
    """Straight stretch of street from one crossing to the next, in one direction."""

    start: Node
    end: Node
    metres: float
    limit_mps: float
    bearing_deg: float
    """From north, clockwise, 0 to 360."""
    name: str

    @property
    def secs(self) -> float:
        """Travel time at the speed limit."""
        return self.metres / self.limit_mps


def edges_between(nodes: Sequence[Node], points: Sequence[Point], *, name: str, limit_mps: float) -> Iterator[Edge]:
    """Yields the edges along a row of crossings, in both directions."""
    for start, end in pairwise(nodes):
        east, north = points[end][0] - points[start][0], points[end][1] - points[start][1]
        metres, bearing_deg = hypot(east, north), degrees(atan2(east, north)) % 360
        yield Edge(start, end, metres, limit_mps, bearing_deg, name)
        yield Edge(end, start, metres, limit_mps, (bearing_deg + 180) % 360, name)


def largest_component(links: Sequence[tuple[Node, Node]]) -> set[Node]:
    """Returns the nodes of the largest connected component; links are undirected."""
    neighbours: dict[Node, list[Node]] = {}
    for a, b in links:
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    largest: set[Node] = set()
    visited: set[Node] = set()
    for first in neighbours:
        if first in visited:
            continue
        component, frontier = {first}, [first]
        while frontier:
            for neighbour in neighbours[frontier.pop()]:
                if neighbour not in component:
                    component.add(neighbour)
                    frontier.append(neighbour)
        visited |= component
        largest = max(largest, component, key=len)
    return largest


def shortest_path(edges: Sequence[Sequence[Edge]], points: Sequence[Point], *, start: Node, goal: Node) -> list[Edge]:
    """Returns the edges from `start` to `goal` with the shortest travel time (A*, a few milliseconds over a town).

    Args:
        edges: outgoing edges of each node.
        points: position of each node.
        start: first node of the path.
        goal: last node of the path; it must be in the same component as `start`.
    """
    goal_x, goal_y = points[goal]
    best_secs: dict[Node, float] = {start: 0.0}
    arrived_by: dict[Node, Edge] = {}
    closed: set[Node] = set()
    frontier: list[tuple[float, Node]] = [(0.0, start)]
    while frontier:
        node = heappop(frontier)[1]
        if node == goal:
            break
        if node in closed:
            continue
        closed.add(node)
        for edge in edges[node]:
            secs = best_secs[node] + edge.secs
            if secs < best_secs.get(edge.end, float("inf")):
                best_secs[edge.end] = secs
                arrived_by[edge.end] = edge
                x, y = points[edge.end]
                heappush(frontier, (secs + hypot(x - goal_x, y - goal_y) / FASTEST_MPS, edge.end))
    path: list[Edge] = []
    while goal != start:
        edge = arrived_by[goal]
        path.append(edge)
        goal = edge.start
    return path[::-1]
