"""`python -m bench.report`: runs the standard set, writes JSON and a page, and prints the table with verdicts."""

import asyncio
import dataclasses
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

import fleetwire
from bench import machine
from bench.report import page
from bench.report.options import ReportOptions, parse
from bench.report.rows import rows
from bench.report.scenarios import ALL, Found


def main() -> None:
    """Runs the scenarios of the command line."""
    options = parse()
    if fleetwire.build_profile != "release":
        sys.exit("The core is a debug build; build it with `make build`.")
    if not options.loadgen.exists():
        sys.exit("The load generator is missing; build it with `cargo build --release -p loadgen`.")
    # Ten thousand sockets on both sides; child processes inherit the limit.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory(prefix="fleetwire-bench-", dir=options.folder) as folder:
        header = _header(options, Path(folder))
        found = asyncio.run(_run(options, Path(folder)))
    figures = [each for each in rows(found) if each.name.partition(":")[0] in options.only]
    named = [_named(each) for each in figures]
    stamp = f"{header['date'][:16].replace(':', '')}-{header['commit']}-{header['machine']['name']}"
    path = options.out / f"{stamp}-report.json"
    options.out.mkdir(parents=True, exist_ok=True)
    whole = {**header, "figures": named, "scenarios": found}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(whole), indent=1) + b"\n")
    path.with_suffix(".html").write_text(page.render(header, figures, found), encoding="utf-8")
    print(page.text_table(figures))
    print(f"{path}\n{path.with_suffix('.html')}", file=sys.stderr)
    if any("fault" in each for each in found.values()):
        sys.exit(1)


async def _run(options: ReportOptions, folder: Path) -> dict[str, Found]:
    found: dict[str, Found] = {}
    for name in options.only:
        started = time.monotonic()
        # A short name: the path of the database's socket has a length limit.
        scenario_folder = folder / str(len(found))
        scenario_folder.mkdir()
        try:
            found[name] = await ALL[name](options, scenario_folder)
        except Exception as fault:  # noqa: BLE001 - the other scenarios still run; page and exit code report it
            found[name] = {"fault": f"{type(fault).__name__}: {fault}"}
        outcome = found[name].get("fault", "measured")
        print(f"{name}: {outcome} ({time.monotonic() - started:.0f} s)", file=sys.stderr)
    return found


def _header(options: ReportOptions, folder: Path) -> dict[str, Any]:
    given = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": machine.commit(),
        "machine": machine.describe(folder),
        "versions": machine.versions(),
        # Without paths, which do not affect the figures.
        "options": {name: value for name, value in given.items() if not isinstance(value, Path)},
    }


def _named(figure: Any) -> dict[str, Any]:  # noqa: ANN401 - a Figure with its properties
    names = ("name", "measured", "unit", "at_least", "aim", "verdict")
    return {name: getattr(figure, name) for name in names}


if __name__ == "__main__":
    main()
