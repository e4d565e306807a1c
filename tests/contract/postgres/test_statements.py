"""Every statement is one the server understands, with the parameters that its header names."""

import asyncpg
import pytest

from fleetwire.postgres import statements

EVERY = [(noun, name) for noun in statements.paths() for name in statements.describe(noun)]
TYPE_NAMES = {"int": "int4", "bigint": "int8"}


@pytest.mark.parametrize(("noun", "name"), EVERY)
async def test_the_server_infers_the_parameters_of_the_header(owner, noun, name):
    statement = statements.describe(noun)[name]
    prepared = await owner.prepare(statement.sql)
    declared = [TYPE_NAMES.get(kind.removesuffix("[]"), kind.removesuffix("[]")) for _, kind in statement.parameters]
    inferred = prepared.get_parameters()
    assert [kind.name.removesuffix("[]") for kind in inferred] == declared
    assert [kind.kind == "array" for kind in inferred] == [kind.endswith("[]") for _, kind in statement.parameters]
    assert statement.sentence.endswith(".")


async def test_every_noun_has_statements():
    assert {"store/ingest", "live/live", "store/track", "store/device", "postgres/connection"} <= set(
        statements.paths()
    )
    assert all(statements.describe(noun) for noun in statements.paths())


async def test_milliseconds_survive_the_way_to_a_timestamp_and_back(owner):
    wrong = await owner.fetchval("""
        SELECT count(*) FROM generate_series(946684800000, 4102444800000, 31557601) AS millis
        WHERE extract(epoch FROM to_timestamp(millis / 1000.0)) * 1000 <> millis
    """)
    assert wrong == 0


async def test_a_statement_that_is_wrong_is_found(owner):
    with pytest.raises(asyncpg.UndefinedColumnError):
        await owner.prepare("SELECT no_such_column FROM device")
