"""`fleetwire config`: what is set, where it comes from, and whether it can work."""

import json
import os

import cyclopts

from fleetwire.cli.options import Json
from fleetwire.runtime.terminal import print_table
from fleetwire.settings import Settings

app = cyclopts.App(name="config", help="The settings.")


@app.command
def show(*, as_json: Json = False) -> None:
    """Show every setting: value, default, variable, source and meaning. Passwords are hidden."""
    rows = Settings.from_env().table(os.environ)
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    cells = []
    for row in rows:
        value, default = ("" if row[key] is None else str(row[key]) for key in ("value", "default"))
        cells.append([row["variable"], value, default, row["source"], row["doc"]])
    print_table(("variable", "value", "default", "from", "meaning"), cells)


@app.command
def check() -> None:
    """Exit with 2 and name every fault if the settings cannot work."""
    Settings.from_env()
    print("The settings can work.")
