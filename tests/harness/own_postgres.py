"""A PostgreSQL of a test file's own, with settings of its own: what is done to it, nobody else notices."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from fleetwire.postgres.embedded.server import EmbeddedPostgres
from fleetwire.postgres.migrate import migrate

from .database import execute, run
from .process import children


@contextmanager
def own_postgres(settings: Mapping[str, str] | None = None) -> Iterator[EmbeddedPostgres]:
    """A migrated server for the time of a block; settings that need a restart have had it."""
    with TemporaryDirectory(prefix="fleetwire-test-") as folder:
        data_dir = Path(folder) / "data"
        with EmbeddedPostgres(data_dir) as server:
            run(migrate(server.dsn))
            configure(server.dsn, settings or {})
        with EmbeddedPostgres(data_dir) as server:
            yield server


def configure(dsn: str, settings: Mapping[str, str]) -> None:
    """Sets settings of a server, in force after its next start."""
    for name, value in settings.items():
        run(execute(dsn, f"ALTER SYSTEM SET {name} = '{value}'"))


def processes(server: EmbeddedPostgres) -> list[int]:
    """Every process of a server, the main one last."""
    assert server._found is not None
    return [*children(server._found.pid), server._found.pid]
