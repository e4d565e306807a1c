"""Which errors put a spooled batch aside: those of a closed list, and none that the database may be the cause of."""

from collections import deque

import asyncpg
import pytest

from fleetwire.errors import ConfigError, DatabaseAway, Overloaded, Problem
from fleetwire.ingest.spool_drain import UnstorableError, _first_run, fault_of_batch
from fleetwire.ingest.spooled_batch import SpooledBatch

OF_THE_BATCH = {"22003", "22008", "22021", "22P05"}
SQLSTATES = sorted(
    {
        (error.sqlstate, error)
        for error in vars(asyncpg.exceptions).values()
        if isinstance(error, type) and issubclass(error, asyncpg.PostgresError) and error.sqlstate
    },
    key=lambda each: (each[0], each[1].__name__),
)


def failed(cause):
    refusal = Overloaded("store_failed", "The batch is not acknowledged; send it again.", retry_after_secs=5)
    refusal.__cause__ = cause
    return refusal


@pytest.mark.parametrize(("sqlstate", "error"), SQLSTATES)
def test_of_all_that_postgresql_can_say_only_four_codes_refuse_a_batch(sqlstate, error):
    expected = f"sqlstate_{sqlstate}" if sqlstate in OF_THE_BATCH else None
    assert fault_of_batch(failed(error("as the server says it"))) == expected
    assert fault_of_batch(error("as the server says it")) == expected


@pytest.mark.parametrize(
    "error",
    [
        DatabaseAway(),
        failed(None),
        failed(OSError(5, "Input/output error")),
        failed(TimeoutError()),
        failed(ConfigError("fsync=off")),
        Overloaded("intake_full", "More arrives than can be stored; send it again.", retry_after_secs=1),
        Overloaded("stopping", "The server is stopping; send the batch again.", retry_after_secs=2),
        ValueError("a bug"),
        asyncpg.InterfaceError("the connection is closed"),
    ],
    ids=repr,
)
def test_whatever_else_fails_waits(error):
    assert fault_of_batch(error) is None


def test_a_device_over_the_limit_and_what_cannot_be_read_are_refused():
    assert fault_of_batch(Problem("device_limit", "No room.", status=403)) == "device_limit"
    assert fault_of_batch(UnstorableError("batch_unreadable", "the batch is damaged")) == "batch_unreadable"


def test_a_run_is_the_oldest_batches_and_never_empty():
    batches = deque(SpooledBatch(1, "acme", "van", number, 10, b"") for number in range(5))
    assert [batch.received_at_millis for batch in _first_run(batches, 30)] == [0, 1, 2]
    assert [batch.received_at_millis for batch in _first_run(batches, 1)] == [0]
    assert len(_first_run(batches, 1000)) == 5
