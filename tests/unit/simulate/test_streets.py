from collections import Counter
from itertools import pairwise
from math import cos, hypot, radians

import pytest

from fleetwire.simulate.names import street_names
from fleetwire.simulate.street_graph import largest_component, shortest_path
from fleetwire.simulate.streets import build_streets


@pytest.fixture(scope="module")
def streets():
    return build_streets(seed=7)


def test_the_same_seed_gives_the_same_town_and_another_seed_another(streets):
    assert build_streets(seed=7) == streets
    assert build_streets(seed=8).points != streets.points


@pytest.mark.parametrize("seed", range(5))
def test_every_crossing_can_be_reached_from_every_other(seed):
    streets = build_streets(seed=seed)
    edges = [(edge.start, edge.end) for outgoing in streets.edges for edge in outgoing]
    assert (
        largest_component(edges)
        == set(streets.nodes)
        == {node for node, outgoing in enumerate(streets.edges) if outgoing}
    )
    assert len(streets.nodes) > 1500


def test_the_town_is_as_large_and_as_dense_as_a_town(streets):
    xs, ys = zip(*(streets.points[node] for node in streets.nodes), strict=True)
    assert 11_000 < max(xs) - min(xs) < 13_000
    assert 9_000 < max(ys) - min(ys) < 11_000
    km = sum(edge.metres for outgoing in streets.edges for edge in outgoing) / 2000
    assert 5 < km / 120 < 12  # km of street per square km
    assert all(100 < edge.metres < 600 for outgoing in streets.edges for edge in outgoing)
    assert len(streets.nodes) < len(streets.points)  # parks are missing
    assert 50 < len(streets.signals) < 600


def test_edges_go_both_directions_at_the_limit_of_their_class(streets):
    edges = {(edge.start, edge.end): edge for outgoing in streets.edges for edge in outgoing}
    assert all((end, start) in edges for start, end in edges)
    assert {round(edge.limit_mps * 3.6) for edge in edges.values()} == {30, 50, 60}
    edge = next(iter(edges.values()))
    assert abs(edge.bearing_deg - edges[edge.end, edge.start].bearing_deg) == pytest.approx(180)


def test_the_overlay_has_named_lines_of_two_classes_around_the_centre(streets):
    overlay = streets.geojson()
    assert overlay["type"] == "FeatureCollection"
    classes = Counter(feature["properties"]["class"] for feature in overlay["features"])
    assert set(classes) == {"arterial", "street"}
    assert all(feature["properties"]["name"] for feature in overlay["features"])
    for feature in overlay["features"]:
        assert feature["geometry"]["type"] == "LineString"
        assert len(feature["geometry"]["coordinates"]) >= 2
        for longitude, latitude in feature["geometry"]["coordinates"]:
            assert 48.137 - 0.06 < latitude < 48.137 + 0.06
            assert 11.575 - 0.1 < longitude < 11.575 + 0.1


def test_degrees_are_metres_on_the_sphere(streets):
    latitude, longitude = streets.degrees(1000.0, 2000.0)
    assert (latitude - 48.137) * 111_195 == pytest.approx(2000)
    assert (longitude - 11.575) * 111_195 * cos(radians(48.137)) == pytest.approx(1000)


def test_the_quickest_route_is_joined_up_and_as_quick_as_an_exhaustive_search_says():
    streets = build_streets(seed=3, width_metres=2500, height_metres=2500)
    start = streets.nodes[0]
    secs = {start: 0.0}
    for _ in streets.nodes:  # Bellman-Ford
        for outgoing in streets.edges:
            for edge in outgoing:
                if edge.start in secs:
                    secs[edge.end] = min(secs.get(edge.end, 1e9), secs[edge.start] + edge.secs)
    for goal in streets.nodes[1:]:
        route = shortest_path(streets.edges, streets.points, start=start, goal=goal)
        assert route[0].start == start
        assert route[-1].end == goal
        assert all(a.end == b.start for a, b in pairwise(route))
        assert sum(edge.secs for edge in route) == pytest.approx(secs[goal])


def test_bearings_point_where_the_edge_goes(streets):
    for outgoing in streets.edges[:200]:
        for edge in outgoing:
            (x0, y0), (x1, y1) = streets.points[edge.start], streets.points[edge.end]
            assert hypot(x1 - x0, y1 - y0) == pytest.approx(edge.metres)
            assert cos(radians(edge.bearing_deg)) == pytest.approx((y1 - y0) / edge.metres, abs=1e-9)


def test_names_do_not_run_out():
    from itertools import islice
    from random import Random

    names = list(islice(street_names(Random(1)), 1000))
    assert len(set(names)) == 1000
