from collections import Counter
from itertools import pairwise
from math import cos, hypot, radians

import pytest

from fleetwire.simulate.names import street_names
from fleetwire.simulate.streets import build_streets
from fleetwire.simulate.ways import largest_part, quickest


@pytest.fixture(scope="module")
def streets():
    return build_streets(seed=7)


def test_the_same_seed_gives_the_same_town_and_another_seed_another(streets):
    assert build_streets(seed=7) == streets
    assert build_streets(seed=8).points != streets.points


@pytest.mark.parametrize("seed", range(5))
def test_every_crossing_can_be_reached_from_every_other(seed):
    streets = build_streets(seed=seed)
    edges = [(way.start, way.end) for leaving in streets.ways for way in leaving]
    assert largest_part(edges) == set(streets.nodes) == {node for node, leaving in enumerate(streets.ways) if leaving}
    assert len(streets.nodes) > 1500


def test_the_town_is_as_large_and_as_dense_as_a_town(streets):
    xs, ys = zip(*(streets.points[node] for node in streets.nodes), strict=True)
    assert 11_000 < max(xs) - min(xs) < 13_000
    assert 9_000 < max(ys) - min(ys) < 11_000
    km = sum(way.metres for leaving in streets.ways for way in leaving) / 2000
    assert 5 < km / 120 < 12  # km of street per square km
    assert all(100 < way.metres < 600 for leaving in streets.ways for way in leaving)
    assert len(streets.nodes) < len(streets.points)  # parks are missing
    assert 50 < len(streets.signals) < 600


def test_ways_go_both_directions_at_the_limit_of_their_class(streets):
    ways = {(way.start, way.end): way for leaving in streets.ways for way in leaving}
    assert all((end, start) in ways for start, end in ways)
    assert {round(way.limit_mps * 3.6) for way in ways.values()} == {30, 50, 60}
    way = next(iter(ways.values()))
    assert abs(way.bearing_deg - ways[way.end, way.start].bearing_deg) == pytest.approx(180)


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
        for leaving in streets.ways:
            for way in leaving:
                if way.start in secs:
                    secs[way.end] = min(secs.get(way.end, 1e9), secs[way.start] + way.secs)
    for goal in streets.nodes[1:]:
        route = quickest(streets, start, goal)
        assert route[0].start == start
        assert route[-1].end == goal
        assert all(a.end == b.start for a, b in pairwise(route))
        assert sum(way.secs for way in route) == pytest.approx(secs[goal])


def test_bearings_point_where_the_way_goes(streets):
    for leaving in streets.ways[:200]:
        for way in leaving:
            (x0, y0), (x1, y1) = streets.points[way.start], streets.points[way.end]
            assert hypot(x1 - x0, y1 - y0) == pytest.approx(way.metres)
            assert cos(radians(way.bearing_deg)) == pytest.approx((y1 - y0) / way.metres, abs=1e-9)


def test_names_do_not_run_out():
    from itertools import islice
    from random import Random

    names = list(islice(street_names(Random(1)), 1000))
    assert len(set(names)) == 1000
