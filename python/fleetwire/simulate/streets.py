r"""Builds a made-up town: an irregular grid of named streets in metres around a centre.

    +---+-----+--+====+     ====  arterial: 50 or 60 km/h, signals where arterials meet
    |   |     |  | \  |     ----  street: 30 km/h
    +---+  P  +--+--\-+     P     a park or a yard: blocks that have no streets
    |   |     |  |   \|     \     an avenue across the blocks
    +===+=====+==+====+

The seed alone decides: the same seed gives the same town on every machine and run. Streets are straight between
neighbouring crossings and can be driven in both directions.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import cos, pi, radians, sin
from typing import Any, NamedTuple

from fleetwire.simulate.names import street_names
from fleetwire.simulate.street_graph import METRES_PER_DEGREE, Edge, Node, Point, edges_between, largest_component

BLOCK_METRES = (180.0, 300.0)
BEND_METRES = 70.0  # how far a street deviates from a straight line
JITTER_METRES = 15.0  # stays well below half a block, so that no two streets touch between crossings
ARTERIAL_EVERY = 6  # streets from one arterial to the next
ARTERIAL_MPS = (50 / 3.6, 60 / 3.6)
STREET_MPS = 30 / 3.6
AVENUES = 4
PARKS_PER_SQUARE_KM = 0.12
MISSING_SHARE = 0.06  # of the stretches of ordinary streets
SIDE_SIGNAL_SHARE = 0.25  # of the crossings of an arterial and a street


class StreetSection(NamedTuple):
    """Uninterrupted part of one street."""

    name: str
    arterial: bool
    limit_mps: float
    nodes: list[Node]


@dataclass(frozen=True, slots=True)
class Streets:
    """Street network of the town. `x` is metres east and `y` metres north of the centre."""

    centre_lat_deg: float
    centre_lon_deg: float
    points: tuple[Point, ...]
    """Position of each crossing."""
    edges: tuple[tuple[Edge, ...], ...]
    """Outgoing edges of each crossing; empty for crossings that were left out."""
    signals: frozenset[Node]
    """Crossings with traffic lights."""
    sections: tuple[StreetSection, ...]
    nodes: tuple[Node, ...]
    """Reachable crossings; every one can be reached from every other."""

    def degrees(self, x: float, y: float) -> tuple[float, float]:
        """Converts a point to (latitude, longitude); a flat earth is exact to centimetres over a town."""
        metres_per_lon = METRES_PER_DEGREE * cos(radians(self.centre_lat_deg))
        return self.centre_lat_deg + y / METRES_PER_DEGREE, self.centre_lon_deg + x / metres_per_lon

    def geojson(self) -> dict[str, Any]:
        """Returns a FeatureCollection of LineStrings with `name`, `class` (arterial or street) and `limit_mps`."""
        return {"type": "FeatureCollection", "features": [self._feature(section) for section in self.sections]}

    def _feature(self, section: StreetSection) -> dict[str, Any]:
        corners = [self.degrees(*self.points[node]) for node in section.nodes]
        return {
            "type": "Feature",
            "properties": {
                "name": section.name,
                "class": "arterial" if section.arterial else "street",
                "limit_mps": round(section.limit_mps, 2),
            },
            "geometry": {"type": "LineString", "coordinates": [[round(lon, 6), round(lat, 6)] for lat, lon in corners]},
        }


def build_streets(
    *,
    seed: int = 7,
    centre_lat_deg: float = 48.137,
    centre_lon_deg: float = 11.575,
    width_metres: float = 12_000.0,
    height_metres: float = 10_000.0,
) -> Streets:
    """Builds the town of `seed`: about 2,000 crossings and 100 streets at the default size."""
    rng = random.Random(seed)  # noqa: S311 - the same town each time is the point
    columns, rows = _offsets(rng, width_metres), _offsets(rng, height_metres)
    points = tuple(_points(rng, columns, rows))
    size = len(columns), len(rows)
    whole_streets = list(_whole_streets(rng, *size))
    built_nodes = _nodes_outside_parks(rng, whole_streets, size, width_metres * height_metres / 1e6)
    sections = [section for street in whole_streets for section in _split(rng, street, built_nodes)]
    reachable = largest_component([(a, b) for section in sections for a, b in pairwise(section.nodes)])
    sections = [section for section in sections if section.nodes[0] in reachable]
    edges: list[list[Edge]] = [[] for _ in points]
    for section in sections:
        for edge in edges_between(section.nodes, points, name=section.name, limit_mps=section.limit_mps):
            edges[edge.start].append(edge)
    return Streets(
        centre_lat_deg=centre_lat_deg,
        centre_lon_deg=centre_lon_deg,
        points=points,
        edges=tuple(tuple(outgoing) for outgoing in edges),
        signals=frozenset(_signals(rng, sections)),
        sections=tuple(sections),
        nodes=tuple(sorted(reachable)),
    )


def _offsets(rng: random.Random, length_metres: float) -> list[float]:
    offsets = [-length_metres / 2]
    while offsets[-1] < length_metres / 2:
        offsets.append(offsets[-1] + rng.uniform(*BLOCK_METRES))
    return offsets


def _points(rng: random.Random, columns: list[float], rows: list[float]) -> Iterator[Point]:
    """Yields the position of every crossing; (column, row) is node `column * len(rows) + row`."""
    phase_x, phase_y = rng.uniform(0, 2 * pi), rng.uniform(0, 2 * pi)
    for x in columns:
        for y in rows:
            yield (
                x + BEND_METRES * sin(y / 1900 + phase_x) + rng.uniform(-JITTER_METRES, JITTER_METRES),
                y + BEND_METRES * sin(x / 2300 + phase_y) + rng.uniform(-JITTER_METRES, JITTER_METRES),
            )


def _whole_streets(rng: random.Random, columns: int, rows: int) -> Iterator[StreetSection]:
    """Yields every street from one end of the town to the other."""
    names = street_names(rng)
    for column in range(columns):
        yield _street(rng, next(names), column % ARTERIAL_EVERY == 2, [column * rows + row for row in range(rows)])  # noqa: PLR2004 - not at the town's edge
    for row in range(rows):
        yield _street(rng, next(names), row % ARTERIAL_EVERY == 2, [column * rows + row for column in range(columns)])  # noqa: PLR2004 - the same
    for number in range(AVENUES):
        column, row, step = rng.randrange(columns // 2), rng.randrange(rows), 1 if number % 2 else -1
        nodes: list[Node] = []
        while 0 <= row < rows and column < columns:
            nodes.append(column * rows + row)
            column, row = column + 1, row + step
        if len(nodes) > 1:
            yield _street(rng, next(names), True, nodes)  # noqa: FBT003 - arterial, as above


def _street(rng: random.Random, name: str, arterial: bool, nodes: list[Node]) -> StreetSection:  # noqa: FBT001 - a field of StreetSection
    return StreetSection(name, arterial, rng.choice(ARTERIAL_MPS) if arterial else STREET_MPS, nodes)


def _nodes_outside_parks(
    rng: random.Random, streets: list[StreetSection], size: tuple[int, int], square_km: float
) -> set[Node]:
    """Places parks and returns the nodes outside of them; arterials cross parks."""
    columns, rows = size
    parks: set[Node] = set()
    for _ in range(round(square_km * PARKS_PER_SQUARE_KM)):
        left, bottom = rng.randrange(columns), rng.randrange(rows)
        width, height = rng.randint(1, 4), rng.randint(1, 3)
        for column in range(left, min(left + width, columns)):
            parks.update(column * rows + row for row in range(bottom, min(bottom + height, rows)))
    crossed = {node for street in streets if street.arterial for node in street.nodes}
    return set(range(columns * rows)) - (parks - crossed)


def _split(rng: random.Random, street: StreetSection, built_nodes: set[Node]) -> Iterator[StreetSection]:
    """Splits a street at parks and at random missing stretches."""
    run: list[Node] = []
    for node in street.nodes:
        missing = not street.arterial and rng.random() < MISSING_SHARE
        if node not in built_nodes or missing:
            if len(run) > 1:
                yield street._replace(nodes=run)
            run = []
        if node in built_nodes:
            run.append(node)
    if len(run) > 1:
        yield street._replace(nodes=run)


def _signals(rng: random.Random, sections: list[StreetSection]) -> Iterator[Node]:
    """Yields the crossings with traffic lights."""
    arterials: dict[Node, set[str]] = {}
    sides: set[Node] = set()
    for section in sections:
        for node in section.nodes:
            if section.arterial:
                arterials.setdefault(node, set()).add(section.name)
            else:
                sides.add(node)
    for node in sorted(arterials):
        if len(arterials[node]) > 1 or (node in sides and rng.random() < SIDE_SIGNAL_SHARE):
            yield node
