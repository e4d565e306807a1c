r"""A made-up town: an irregular grid of named streets in metres around a centre.

    +---+-----+--+====+     ====  arterial: 50 or 60 km/h, signals where arterials meet
    |   |     |  | \  |     ----  street: 30 km/h
    +---+  P  +--+--\-+     P     a park or a yard: blocks that have no streets
    |   |     |  |   \|     \     an avenue across the blocks
    +===+=====+==+====+

Built from a seed alone: the same seed gives the same town on every machine and run. Streets are straight between
neighbouring crossings and can be driven both ways.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import cos, pi, radians, sin
from typing import Any, NamedTuple

from fleetwire.simulate.names import street_names
from fleetwire.simulate.ways import METRES_PER_DEGREE, Node, Point, Way, largest_part, ways_between

BLOCK_METRES = (180.0, 300.0)
BEND_METRES = 70.0  # how far a street swings from its line
JITTER_METRES = 15.0  # stays well below half a block, so that no two streets touch between crossings
ARTERIAL_EVERY = 6  # streets from one arterial to the next
ARTERIAL_MPS = (50 / 3.6, 60 / 3.6)
STREET_MPS = 30 / 3.6
AVENUES = 4
PARKS_PER_SQUARE_KM = 0.12
MISSING_SHARE = 0.06  # of the stretches of ordinary streets
SIDE_SIGNAL_SHARE = 0.25  # of the crossings of an arterial and a street


class Line(NamedTuple):
    """An unbroken run of one street."""

    name: str
    arterial: bool
    limit_mps: float
    nodes: list[Node]


@dataclass(frozen=True, slots=True)
class Streets:
    """The town. `x` is metres east and `y` metres north of the centre."""

    centre_lat_deg: float
    centre_lon_deg: float
    points: tuple[Point, ...]
    """Position of each crossing."""
    ways: tuple[tuple[Way, ...], ...]
    """The ways that leave each crossing; empty for crossings that were left out."""
    signals: frozenset[Node]
    """Crossings with traffic lights."""
    lines: tuple[Line, ...]
    nodes: tuple[Node, ...]
    """The crossings that can be reached, all of them from each other."""

    def degrees(self, x: float, y: float) -> tuple[float, float]:
        """(latitude, longitude) of a point; a flat earth is exact to centimetres over a town."""
        metres_per_lon = METRES_PER_DEGREE * cos(radians(self.centre_lat_deg))
        return self.centre_lat_deg + y / METRES_PER_DEGREE, self.centre_lon_deg + x / metres_per_lon

    def geojson(self) -> dict[str, Any]:
        """A FeatureCollection of LineStrings with `name`, `class` (arterial or street) and `limit_mps`."""
        return {"type": "FeatureCollection", "features": [self._feature(line) for line in self.lines]}

    def _feature(self, line: Line) -> dict[str, Any]:
        corners = [self.degrees(*self.points[node]) for node in line.nodes]
        return {
            "type": "Feature",
            "properties": {
                "name": line.name,
                "class": "arterial" if line.arterial else "street",
                "limit_mps": round(line.limit_mps, 2),
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
    """Builds the town of `seed`: with the ordinary size about 2,000 crossings and 100 streets."""
    rng = random.Random(seed)  # noqa: S311 - the same town each time is the point
    columns, rows = _offsets(rng, width_metres), _offsets(rng, height_metres)
    points = tuple(_points(rng, columns, rows))
    size = len(columns), len(rows)
    raw = list(_lines(rng, *size))
    kept_nodes = _without_parks(rng, raw, size, width_metres * height_metres / 1e6)
    pieces = [piece for line in raw for piece in _pieces(rng, line, kept_nodes)]
    reached = largest_part([(a, b) for piece in pieces for a, b in pairwise(piece.nodes)])
    pieces = [piece for piece in pieces if piece.nodes[0] in reached]
    ways: list[list[Way]] = [[] for _ in points]
    for piece in pieces:
        for way in ways_between(piece.nodes, points, name=piece.name, limit_mps=piece.limit_mps):
            ways[way.start].append(way)
    return Streets(
        centre_lat_deg=centre_lat_deg,
        centre_lon_deg=centre_lon_deg,
        points=points,
        ways=tuple(tuple(leaving) for leaving in ways),
        signals=frozenset(_signals(rng, pieces)),
        lines=tuple(pieces),
        nodes=tuple(sorted(reached)),
    )


def _offsets(rng: random.Random, length_metres: float) -> list[float]:
    offsets = [-length_metres / 2]
    while offsets[-1] < length_metres / 2:
        offsets.append(offsets[-1] + rng.uniform(*BLOCK_METRES))
    return offsets


def _points(rng: random.Random, columns: list[float], rows: list[float]) -> Iterator[Point]:
    """Crossing (column, row) is node `column * len(rows) + row`."""
    phase_x, phase_y = rng.uniform(0, 2 * pi), rng.uniform(0, 2 * pi)
    for x in columns:
        for y in rows:
            yield (
                x + BEND_METRES * sin(y / 1900 + phase_x) + rng.uniform(-JITTER_METRES, JITTER_METRES),
                y + BEND_METRES * sin(x / 2300 + phase_y) + rng.uniform(-JITTER_METRES, JITTER_METRES),
            )


def _lines(rng: random.Random, columns: int, rows: int) -> Iterator[Line]:
    """Every street from one end of the town to the other."""
    names = street_names(rng)
    for column in range(columns):
        yield _line(rng, next(names), column % ARTERIAL_EVERY == 2, [column * rows + row for row in range(rows)])  # noqa: PLR2004 - not at the town's edge
    for row in range(rows):
        yield _line(rng, next(names), row % ARTERIAL_EVERY == 2, [column * rows + row for column in range(columns)])  # noqa: PLR2004 - the same
    for number in range(AVENUES):
        column, row, step = rng.randrange(columns // 2), rng.randrange(rows), 1 if number % 2 else -1
        nodes: list[Node] = []
        while 0 <= row < rows and column < columns:
            nodes.append(column * rows + row)
            column, row = column + 1, row + step
        if len(nodes) > 1:
            yield _line(rng, next(names), True, nodes)  # noqa: FBT003 - arterial, as above


def _line(rng: random.Random, name: str, arterial: bool, nodes: list[Node]) -> Line:  # noqa: FBT001 - a column of Line
    return Line(name, arterial, rng.choice(ARTERIAL_MPS) if arterial else STREET_MPS, nodes)


def _without_parks(rng: random.Random, lines: list[Line], size: tuple[int, int], square_km: float) -> set[Node]:
    """The nodes outside of parks. Arterials go through them."""
    columns, rows = size
    gone: set[Node] = set()
    for _ in range(round(square_km * PARKS_PER_SQUARE_KM)):
        left, bottom = rng.randrange(columns), rng.randrange(rows)
        width, height = rng.randint(1, 4), rng.randint(1, 3)
        for column in range(left, min(left + width, columns)):
            gone.update(column * rows + row for row in range(bottom, min(bottom + height, rows)))
    crossed = {node for line in lines if line.arterial for node in line.nodes}
    return set(range(columns * rows)) - (gone - crossed)


def _pieces(rng: random.Random, line: Line, kept_nodes: set[Node]) -> Iterator[Line]:
    """Cuts a street at parks and at stretches that are missing."""
    run: list[Node] = []
    for node in line.nodes:
        missing = not line.arterial and rng.random() < MISSING_SHARE
        if node not in kept_nodes or missing:
            if len(run) > 1:
                yield line._replace(nodes=run)
            run = []
        if node in kept_nodes:
            run.append(node)
    if len(run) > 1:
        yield line._replace(nodes=run)


def _signals(rng: random.Random, pieces: list[Line]) -> Iterator[Node]:
    arterials: dict[Node, set[str]] = {}
    sides: set[Node] = set()
    for piece in pieces:
        for node in piece.nodes:
            if piece.arterial:
                arterials.setdefault(node, set()).add(piece.name)
            else:
                sides.add(node)
    for node in sorted(arterials):
        if len(arterials[node]) > 1 or (node in sides and rng.random() < SIDE_SIGNAL_SHARE):
            yield node
