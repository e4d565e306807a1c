"""Routes of Locust's drivers."""

import pytest
from bench.users import routes

from fleetwire.replay import TraceError
from harness.traces import synthetic

AT_MILLIS = 1_763_768_400_000


def drive(route, count=20):
    return [route.fix(AT_MILLIS + 1_000 * place, 1.0) for place in range(count)]


def test_seeded_routes_repeat_and_differ_from_driver_to_driver():
    first, again, other = (drive(routes.create_route(number, traces="", trace_rows=0, seed=7)) for number in (1, 1, 2))
    assert first == again != other
    assert [fix["timestamp"] for fix in first] == [AT_MILLIS + 1_000 * place for place in range(20)]


def test_a_trace_is_followed_in_its_order_and_starts_again(tmp_path):
    path = synthetic(tmp_path, devices=2, fixes=30, seed=3)
    route = routes.create_route(0, traces=str(path), trace_rows=10_000, seed=7)
    fixes = drive(route, 200)
    assert {fix.get("speed") for fix in fixes} <= {12.5, None}  # what was not recorded is left out
    assert not any("altitude" in fix for fix in fixes)
    places = [(fix["latitude"], fix["longitude"]) for fix in fixes]
    length = places.index(places[0], 1)
    assert places[:length] == places[length : 2 * length]
    assert fixes[-1]["timestamp"] == AT_MILLIS + 199_000


def test_more_drivers_than_devices_share_recordings_at_different_places(tmp_path):
    path = synthetic(tmp_path, devices=1, fixes=50, seed=4)
    first, second = (routes.create_route(number, traces=str(path), trace_rows=10_000, seed=7) for number in (0, 1))
    assert drive(first, 5) != drive(second, 5)


def test_a_trace_that_is_missing_is_named(tmp_path):
    with pytest.raises(TraceError, match=r"nothing\.csv"):
        routes.create_route(0, traces=str(tmp_path / "nothing.csv"), trace_rows=10, seed=7)
