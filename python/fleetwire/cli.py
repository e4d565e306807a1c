"""The command line. Each command reads its options and calls the package; errors go to stderr.

Exit codes: 0 done, 1 it failed, 2 wrong use.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts
from cyclopts import Parameter

from fleetwire import __version__
from fleetwire.errors import ConfigError, FleetwireError, Problem

app = cyclopts.App(
    name="fleetwire",
    help="Fleet telemetry ingest: every GPS fix stored exactly once in PostgreSQL, and on the dispatcher's map at once.",
    version=__version__,
    config=cyclopts.config.Env("FLEETWIRE_", command=False),
    result_action="return_value",
)
token_app = cyclopts.App(name="token", help="Create, list and revoke credentials.")
db_app = cyclopts.App(name="db", help="The database.")
config_app = cyclopts.App(name="config", help="The settings.")
for _part in (token_app, db_app, config_app):
    app.command(_part)

DataDir = Annotated[Path | None, Parameter(help="Folder of the embedded PostgreSQL.  [default: fleetwire-data]")]
DatabaseUrl = Annotated[str | None, Parameter(help="DSN of a PostgreSQL 15 to 18, instead of the embedded one.")]
Tenant = Annotated[str, Parameter(help="The company the credential is for; created if missing.")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")]
