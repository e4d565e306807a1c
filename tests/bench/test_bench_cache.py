"""`python -m bench.cache --quick` measures every row, and a cold entry costs one query."""

import json

import pytest


@pytest.mark.timeout(240)
def test_every_row_is_measured(bench):
    figures = json.loads(bench("bench.cache", "--quick", "--json"))
    for name in ("ingest_key", "device_token", "login"):
        assert figures[f"authorise_{name}_micros"] > 0
    assert figures["queries_for_one_cold_entry"] == 1
    assert figures["mixed_reads_per_sec"] > 0
    assert figures["mixed_handler_calls"] > 0
    assert 0 <= figures["mixed_hit_percent"] <= 100
