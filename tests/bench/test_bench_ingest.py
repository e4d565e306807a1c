"""`python -m bench.ingest --quick` measures every row, except the rival's if its packages are missing."""

from importlib.util import find_spec

import pytest

RIVAL_NEEDS = ("fastapi", "httptools", "sqlalchemy", "uvicorn")


@pytest.mark.timeout(240)
def test_every_row_is_in_the_table_and_in_the_json(bench, loadgen, tmp_path, result):
    out = bench("bench.ingest", "--quick", "--results", tmp_path, "--loadgen", loadgen)
    found = result()
    assert len(found["figures"]) == 19
    has_rival = all(map(find_spec, RIVAL_NEEDS))
    for figure in found["figures"]:
        assert figure["name"] in out
        needs_rival = "rival" in figure["name"]
        assert (figure["measured"] is not None) == (has_rival or not needs_rival), figure
    (repetition,) = found["repetitions"]
    assert {"copy", "ws50", "clean", "dirty", "merged", "day", "half"} <= set(repetition)
    assert next(tmp_path.glob("*.md")).read_text() in out
