from itertools import pairwise
from math import hypot

import pytest

from fleetwire.simulate.phone import DeadZones, Phone
from fleetwire.simulate.street_graph import METRES_PER_DEGREE
from fleetwire.simulate.streets import build_streets
from fleetwire.simulate.vehicle import CRUISING_SHARE, Vehicle


@pytest.fixture(scope="module")
def streets():
    return build_streets(seed=7)


def drive(vehicle, secs):
    seen = []
    for _ in range(secs):
        vehicle.step(1.0)
        seen.append((vehicle.position, vehicle.speed_mps, vehicle.heading_deg, vehicle.edge))
    return seen


def off_street_metres(streets, position, edge):
    (x, y), (x0, y0), (x1, y1) = position, streets.points[edge.start], streets.points[edge.end]
    share = ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / edge.metres**2
    share = min(1.0, max(0.0, share))
    return hypot(x - x0 - (x1 - x0) * share, y - y0 - (y1 - y0) * share)


def test_the_same_seed_drives_the_same_way(streets):
    assert drive(Vehicle(streets, seed=5), 600) == drive(Vehicle(streets, seed=5), 600)
    assert drive(Vehicle(streets, seed=5), 60) != drive(Vehicle(streets, seed=6), 60)


@pytest.mark.parametrize("seed", range(12))
def test_no_vehicle_leaves_the_streets_jumps_or_races(streets, seed):
    vehicle = Vehicle(streets, seed=seed)
    before, before_mps = vehicle.position, vehicle.speed_mps
    for position, speed_mps, heading_deg, edge in drive(vehicle, 1800):
        assert edge in streets.edges[edge.start]
        assert off_street_metres(streets, position, edge) < 1e-6
        assert (
            0 <= speed_mps <= edge.limit_mps * CRUISING_SHARE[1] + 3
        )  # a turn into a slower street brakes on its first metres
        assert speed_mps < 19
        assert hypot(position[0] - before[0], position[1] - before[1]) < 20
        assert -6 < speed_mps - before_mps < 2
        assert 0 <= heading_deg < 360
        before, before_mps = position, speed_mps


def test_vehicles_stop_at_signals_and_destinations_and_go_on(streets):
    vehicles = [Vehicle(streets, seed=seed) for seed in range(20)]
    stood = moved = 0
    for vehicle in vehicles:
        speeds = [speed_mps for _, speed_mps, _, _ in drive(vehicle, 1800)]
        stood += sum(speed == 0 for speed in speeds)
        moved += sum(speed > 0 for speed in speeds)
        assert speeds.count(0.0) < 1500  # none is stuck
    assert 0.1 < stood / (stood + moved) < 0.6
    assert sum(vehicle.deliveries for vehicle in vehicles) > 20


def test_turns_are_taken_slowly(streets):
    vehicle = Vehicle(streets, seed=2)
    seen = drive(vehicle, 3600)
    turns = 0
    for (_, _, heading, edge), (_, speed_mps, new_heading, new_edge) in pairwise(seen):
        turn_deg = abs((new_heading - heading + 180) % 360 - 180)
        if edge.end == new_edge.start and turn_deg > 75:
            turns += 1
            assert speed_mps < 8
    assert turns > 5


def fixes(streets, secs=900, seed=4):
    vehicle, phone = Vehicle(streets, seed=seed), Phone(streets, seed=seed)
    seen = []
    for second in range(secs):
        vehicle.step(1.0)
        at_millis = 1_700_000_000_000 + second * 1000
        seen.append((vehicle.position, vehicle.speed_mps, phone.fix(vehicle, at_millis=at_millis, since_secs=1.0)))
    return seen


def error_metres(streets, position, fix):
    latitude, longitude = streets.degrees(*position)
    return hypot(
        (fix["latitude"] - latitude) * METRES_PER_DEGREE, (fix["longitude"] - longitude) * METRES_PER_DEGREE * 0.667
    )


def test_fixes_are_reproducible_and_have_the_contracts_members(streets):
    first = fixes(streets, 60)
    assert first == fixes(streets, 60)
    for _, speed_mps, fix in first:
        assert {"timestamp", "latitude", "longitude", "accuracy", "altitude", "speed", "battery"} <= fix.keys()
        assert ("heading" in fix) == (speed_mps >= 0.5)
        assert 0 <= fix.get("heading", 0) < 360
        assert fix["speed"] >= 0
        assert 0 <= fix["battery"] <= 1


def test_the_position_error_is_a_few_metres_drifts_slowly_and_is_sent_as_accuracy(streets):
    errors, steps, within = [], [], 0
    count = 0
    for seed in range(12):
        before = None
        for position, _, fix in fixes(streets, 900, seed):
            error = error_metres(streets, position, fix)
            errors.append(error)
            within += error <= fix["accuracy"]
            count += 1
            if before is not None:
                steps.append(abs(error - before))
            before = error
    assert 3 < sum(errors) / len(errors) < 8
    assert sum(steps) / len(steps) < 1.5  # neighbours err alike
    assert 0.88 < within / count < 0.99


def test_heading_is_absent_only_while_standing(streets):
    seen = fixes(streets, 900)
    standing = [fix for _, speed_mps, fix in seen if speed_mps == 0]
    assert standing
    assert all("heading" not in fix and fix["speed"] == 0 for fix in standing)
    assert any("heading" in fix for _, _, fix in seen)


def test_a_battery_drains_and_is_charged_before_it_is_empty(streets):
    vehicle, phone = Vehicle(streets, seed=1), Phone(streets, seed=1)
    levels = [phone.fix(vehicle, at_millis=hour, since_secs=600.0)["battery"] for hour in range(300)]
    falling = sum(b < a for a, b in pairwise(levels))
    assert min(levels) > 0.05
    assert 0 < falling < len(levels) - 1


def test_dead_zones_are_circles_in_the_town(streets):
    zones = DeadZones(streets, seed=7, count=12)
    assert zones.circles == DeadZones(streets, seed=7, count=12).circles
    x, y, radius = zones.circles[0]
    assert zones.contain((x + radius - 1, y))
    assert not zones.contain((1e6, y))
    assert not DeadZones(streets, seed=7, count=0).contain((x, y))
