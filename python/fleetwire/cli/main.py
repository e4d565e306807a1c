"""The command line `fleetwire`. Every command is a short function in `commands/` that calls the package.

Exit codes: 0 done, 1 it failed (the reason is on stderr), 2 wrong use.
"""

import sys

import asyncpg
import cyclopts

from fleetwire import __version__
from fleetwire.cli import credentials, database, demo, devices, keys, server, settings, spool, tenants, traffic, upkeep
from fleetwire.errors import ConfigError, FleetwireError, Problem
from fleetwire.runtime import logs
from fleetwire.runtime.terminal import visible_lines

app = cyclopts.App(
    name="fleetwire",
    help="Fleet telemetry ingest: every GPS fix stored exactly once, and on the dispatcher's map at once.\n\n"
    "Every option is also an environment variable: --data-dir is FLEETWIRE_DATA_DIR.",
    help_format="plaintext",
    version=__version__,
    config=cyclopts.config.Env("FLEETWIRE_", command=False),
    result_action="return_value",
)
app.command(server.serve)
app.command(demo.demo)
app.command(traffic.simulate)
app.command(traffic.replay)
app.command(credentials.app)
app.command(credentials.user_app)
app.command(keys.app)
app.command(tenants.app)
app.command(devices.app)
app.command(spool.app)
app.command(upkeep.upkeep)
app.command(database.migrate)
app.command(database.app)
app.command(settings.app)


def main(arguments: list[str] | None = None) -> None:
    """Runs one command and exits the process."""
    # What a command prints is its result and nothing else; `serve` says by its settings what it logs.
    logs.configure(level="warning", form="console")
    try:
        app(arguments, exit_on_error=True, print_error=True)
    except ConfigError as error:
        _fail(str(error), code=2)
    except Problem as problem:
        _fail(f"{problem.detail} ({problem.code})", code=1)
    except (FleetwireError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        _fail(str(error), code=1)
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(sentence: str, *, code: int) -> None:
    print(f"fleetwire: {visible_lines(sentence)}", file=sys.stderr)
    sys.exit(code)
