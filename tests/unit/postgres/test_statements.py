"""The format of the files in `store/sql`."""

import pytest

from fleetwire.postgres import statements


def test_a_block_becomes_name_sentence_parameters_and_sql():
    statement = statements.describe("store/ingest")["lock_group"]
    assert statement.parameters == (("tenant_ids", "text"), ("device_ids", "text"))
    assert statement.sentence.startswith("Locks the live positions")
    assert statement.sql.startswith("SELECT")
    assert not statement.sql.endswith(";")
    assert statements.load("store/ingest")["lock_group"] == statement.sql


def test_parameters_may_go_on_over_several_lines():
    assert len(statements.describe("store/ingest")["store_group"].parameters) == 5


def test_a_statement_without_parameters_has_none():
    assert statements.describe("fleet/orders/order")["load_orders"].parameters == ()


def test_parameters_that_do_not_count_from_one_are_refused():
    with pytest.raises(ValueError, match="odd does not count"):
        statements._statement("odd", "-- Sentence.\n-- $1 a int, $3 b int\nSELECT 1;\n")
