"""The Lua script on a real server: the vectors that the core passes, and every branch besides."""

import json
import re
import time
from pathlib import Path

import pytest
import redis

from fleetwire.access.limits import redis_limits
from harness.valkey import valkey

VECTORS = json.loads((Path(__file__).parents[2] / "core" / "bucket_vectors.json").read_text())
SCRIPT = Path(redis_limits.__file__).with_name("lua").joinpath("bucket.lua").read_text()
MINUTE_MICROS = 60_000_000

# The script with a clock that says what the last two arguments say. Keys do not expire meanwhile: their life is real.
WITH_CLOCK = (
    """
local server = redis
local redis = {call = function(name, key, value)
  if name == "TIME" then return {ARGV[#ARGV - 1], ARGV[#ARGV]} end
  if name == "SET" then return server.call("SET", key, value) end
  return server.call(name, key)
end}
"""
    + SCRIPT
)


@pytest.fixture(scope="module")
def server():
    with valkey() as running:
        yield running


@pytest.fixture
def client(server):
    with redis.Redis(port=server.port, decode_responses=True) as connected:
        yield connected
        connected.flushall()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_it_passes_the_vectors(client, vector):
    script = client.register_script(WITH_CLOCK)
    keys = [f"bucket-{index}" for index in range(len(vector["rates"]))]
    rates = [number for rate in vector["rates"] for number in rate]
    for take in vector["takes"]:
        clock = divmod(take["now_micros"], 1_000_000)
        answer = script(keys=keys, args=[int(take["force"]), take["cost"], *rates, *clock])
        assert answer == [
            take["refused_by"],
            take["wait_micros"],
            *(number for left in take["left"] for number in left),
        ]


def test_it_counts_by_the_clock_of_the_server_and_forgets_what_is_full(client):
    script = client.register_script(SCRIPT)
    arguments = [0, 1, 10, MINUTE_MICROS, 2]
    before_micros = time.time_ns() // 1000
    assert script(keys=["bucket"], args=arguments)[:3] == [-1, 0, 1]
    assert 0 <= int(client.get("bucket")) - before_micros - MINUTE_MICROS // 10 < 5_000_000
    assert 5_000 < client.pttl("bucket") <= 6_000
    assert script(keys=["bucket"], args=arguments)[:3] == [-1, 0, 0]
    refused_by, wait_micros, remaining, _ = script(keys=["bucket"], args=arguments)
    assert (refused_by, remaining) == (0, 0)
    assert 0 < wait_micros <= MINUTE_MICROS // 10
    assert 11_000 - 5_000 < client.pttl("bucket") <= 12_000


def test_a_refused_take_writes_nothing(client):
    script = client.register_script(SCRIPT)
    rates = [10, MINUTE_MICROS, 10, 1, MINUTE_MICROS, 1]
    assert script(keys=["wide", "narrow"], args=[0, 1, *rates])[0] == -1
    wide = client.get("wide")
    assert script(keys=["wide", "narrow"], args=[0, 1, *rates])[0] == 1
    assert client.get("wide") == wide
    assert script(keys=["wide", "narrow"], args=[1, 1, *rates])[0] == -1
    assert int(client.get("wide")) > int(wide)


def test_a_key_that_is_no_number_is_an_error_and_not_a_free_pass(client):
    client.set("bucket", "x")
    with pytest.raises(redis.ResponseError):
        client.register_script(SCRIPT)(keys=["bucket"], args=[0, 1, 10, MINUTE_MICROS, 10])


def test_the_header_names_every_argument():
    header = SCRIPT.split("\n\n", maxsplit=1)[0]
    assert {"KEYS[i]", "ARGV[1]", "ARGV[2]", "ARGV[3i]"} <= set(re.findall(r"(?:KEYS|ARGV)\[\w+\]", header))
