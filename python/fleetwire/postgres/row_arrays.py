"""Arrays of rows as a parameter, rendered by the core: the driver hands their bytes on as they are.

The driver can make such arrays itself, from tuples, and takes longer over a group than everything else it is sent
through. It knows parameters in binary form for types of one value only, so its table of codecs is written to directly.
"""

import asyncpg

from fleetwire._core import RowTypes
from fleetwire.postgres import statements

_SQL = statements.load("store/ingest")


async def accept_row_arrays(connection: asyncpg.Connection) -> RowTypes:
    """Lets a connection take `track_segment[]` and `moved_position[]` as bytes. Returns what the core makes them by."""
    types = await connection.fetchrow(_SQL["row_types"])
    settings = connection._protocol.get_settings()  # noqa: SLF001 - see above; tests/contract/store/test_commit.py holds it
    for name in ("track_segments", "moved_positions"):
        settings.add_python_codec(types[name], name, "public", [], "scalar", _as_it_is, _as_it_is, "binary")
    return RowTypes(
        track_segment=types["track_segment"],
        moved_position=types["moved_position"],
        packed_int4=types["packed_int4"],
    )


def _as_it_is(array: bytes) -> bytes:
    return array
