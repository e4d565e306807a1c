"""Renders the result as one self-contained HTML page: table, plots, machine and settings."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from bench.ingest.figures import Figure
from bench.report import svg

Found = Mapping[str, Mapping[str, Any]]

_QUANTILES = {"p50_millis": "p50", "p95_millis": "p95", "p99_millis": "p99", "p999_millis": "p99.9"}
_STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 75em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 }
th, td { border: 1px solid #ccc; padding: .25em .6em; text-align: left }
td.number { text-align: right }
.aim { background: #d8eedd } .holds { background: #edf5d6 } .MISSED { background: #f6d5d0 }
.plots { display: flex; flex-wrap: wrap; gap: 1em } pre { background: #f5f5f5; padding: 1em; overflow: auto }
"""


def render(header: Mapping[str, Any], figures: Sequence[Figure], found: Found) -> str:
    """Renders the page."""
    machine = header["machine"]
    where = (
        f"{header['date']}, commit {header['commit']}, {machine['cores']} cores of {machine['cpu']}, "
        f"{machine['memory_mebibytes']:,} MiB, kernel {machine['kernel']}, fsync {machine['fsync_millis']} ms on "
        f"{machine['filesystem']}, load average at the start {machine['load_average_at_start']:.1f}."
    )
    quick = "<p><strong>A quick run: its figures are meaningless.</strong></p>" if header["options"]["quick"] else ""
    plots = "".join(part for part in _plots(found) if part)
    settings = {name: header[name] for name in ("versions", "options", "machine")}
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Fleetwire under load</title>'
        f"<style>{_STYLE}</style></head><body><h1>Fleetwire under load</h1><p>{escape(where)} The load generator ran "
        f"on the same cores.</p>{quick}{_table(figures)}{_faults(found)}"
        f'<div class="plots">{plots}</div><h2>All figures</h2>{_all_figures(found)}'
        f"<h2>Versions and settings</h2><pre>{escape(_listing(settings))}</pre></body></html>\n"
    )


def text_table(figures: Sequence[Figure]) -> str:
    """Renders the table as Markdown, for a terminal."""
    lines = ["| row | at least | aim | measured | |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {each.name} | {short(each.at_least)} | {short(each.aim)} {each.unit} | {_measured(each)} | {each.verdict} |"
        for each in figures
    ]
    return "\n".join(lines) + "\n"


def short(number: float) -> str:
    """Formats a number with three significant digits, or without decimals above 100."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def _measured(figure: Figure) -> str:
    return "-" if figure.measured is None else short(figure.measured)


def _table(figures: Sequence[Figure]) -> str:
    rows = "".join(
        f'<tr class="{each.verdict.replace(" ", "-")}"><td>{escape(each.name)}</td><td class="number">'
        f'{short(each.at_least)}</td><td class="number">{short(each.aim)} {escape(each.unit)}</td>'
        f'<td class="number">{_measured(each)}</td><td>{each.verdict}</td></tr>'
        for each in figures
    )
    return f"<table><tr><th>row</th><th>at least</th><th>aim</th><th>measured</th><th></th></tr>{rows}</table>"


def _faults(found: Found) -> str:
    faults = [f"<li>{escape(name)}: {escape(each['fault'])}</li>" for name, each in found.items() if "fault" in each]
    return f"<h2>Not measured</h2><ul>{''.join(faults)}</ul>" if faults else ""


def _all_figures(found: Found) -> str:
    rows = "".join(
        f'<tr><td>{escape(scenario)}</td><td>{escape(name)}</td><td class="number">{short(value)}</td></tr>'
        for scenario, each in found.items()
        for name, value in each.get("figures", {}).items()
    )
    return f"<table><tr><th>scenario</th><th>figure</th><th>value</th></tr>{rows}</table>"


def _plots(found: Found) -> Iterator[str]:
    yield from _over_load(found.get("load", {}).get("steps", []))
    timelines = {name: each["timeline"] for name, each in found.items() if "timeline" in each}
    for title, y_label, key in (
        ("Memory of all workers", "MiB", "resident_mebibytes"),
        ("CPU of all workers", "cores", "worker_cores"),
        ("CPU of PostgreSQL", "cores", "postgres_cores"),
        ("CPU of the load generator", "cores", "loadgen_cores"),
        ("Database connections", "", "connections"),
    ):
        series = {name: (timeline["secs"], timeline[key]) for name, timeline in timelines.items()}
        yield svg.lines(svg.Plot(title, "seconds", y_label), series)
    yield svg.bars(svg.Plot("From receipt to frame", "", "ms"), _delays(found))
    delivered = {
        name: {"positions": each["figures"]["positions_per_sec"]}
        for name, each in found.items()
        if each.get("figures", {}).get("positions_per_sec")
    }
    yield svg.bars(svg.Plot("Position updates delivered", "", "per second"), delivered)


def _over_load(steps: Sequence[Mapping[str, float]]) -> Iterator[str]:
    rates = [step["rate"] for step in steps]
    quantiles = {name: (rates, [step[name] for step in steps]) for name in ("p50", "p95", "p99")}
    yield svg.lines(svg.Plot("Latency of the receipt over load", "batches of 10 per second", "ms"), quantiles)
    answered = {"sent": (rates, rates), "answered": (rates, [step["answered_per_sec"] for step in steps])}
    yield svg.lines(svg.Plot("Throughput over load", "batches sent per second", "answered per second"), answered)
    cores = {who: (rates, [step[f"{who}_cores"] for step in steps]) for who in ("worker", "postgres", "loadgen")}
    yield svg.lines(svg.Plot("CPU over load", "batches of 10 per second", "cores"), cores)


def _delays(found: Found) -> dict[str, dict[str, float]]:
    """Returns the delay quantiles of every scenario with watchers, and of the runs that two are compared with."""
    reports = {name: each["report"] for name, each in found.items() if "report" in each}
    reports |= {f"{name}, {part}": found[name][part] for name, part in (("stalled", "without"), ("relay", "near"))
                if part in found.get(name, {})}  # fmt: skip
    return {
        name: {short_name: report["watched"]["delay"][quantile] for quantile, short_name in _QUANTILES.items()}
        for name, report in reports.items()
        if report.get("watched") and report["watched"]["delay"]["count"]
    }


def _listing(settings: Mapping[str, Mapping[str, Any]]) -> str:
    return "\n".join(f"{part}.{name}: {value}" for part, values in settings.items() for name, value in values.items())
