"""Counts the outcomes of a replay and formats its summary."""

from array import array
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.table import Table
from rich.text import Text

from fleetwire.client import PostResult
from fleetwire.runtime.terminal import visible


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySummary:
    """Outcome of a replay: `stored + duplicate + queued + sum(rejected) == sent`."""

    rows_read: int
    rows_unreadable: int
    """Rows that were skipped because a value is unreadable."""
    first_unreadable: str | None
    """`file:line: reason` of the first unreadable row."""
    batches: int
    """Batches with a receipt, including repeats."""
    sent: int
    """Fixes with a receipt, including repeats."""
    stored: int
    duplicate: int
    queued: int
    """Fixes in the server's spool because its database was unavailable."""
    rejected: dict[str, int]
    """Rejected fixes by code, most frequent first."""
    retries: int
    """Attempts that failed for a temporary reason and were retried."""
    secs: float
    fixes_per_sec: float
    receipt_p50_millis: float | None
    """Time from request to receipt, of answered attempts; None without a receipt."""
    receipt_p95_millis: float | None
    receipt_p99_millis: float | None

    def as_json(self) -> dict[str, Any]:
        """Returns the members as a dict, for `--json`."""
        return asdict(self)

    def __rich__(self) -> Table:
        table = Table(show_header=False, box=None, pad_edge=False)
        table.add_column(style="dim")
        table.add_column(justify="right")
        table.add_column(style="dim")
        table.add_row("rows read", f"{self.rows_read:,}", "")
        if self.rows_unreadable:
            table.add_row("unreadable", f"{self.rows_unreadable:,}", Text(visible(f"first: {self.first_unreadable}")))
        table.add_row("sent", f"{self.sent:,}", f"in {self.batches:,} batches")
        table.add_row("stored", f"{self.stored:,}", "")
        table.add_row("duplicate", f"{self.duplicate:,}", "")
        if self.queued:
            table.add_row("queued", f"{self.queued:,}", "in the server's spool")
        table.add_row("rejected", f"{sum(self.rejected.values()):,}", "")
        for code, count in self.rejected.items():
            table.add_row(Text(visible(f"  {code}")), f"{count:,}", "")
        table.add_row("retries", f"{self.retries:,}", "")
        table.add_row("time", f"{self.secs:,.1f} s", f"{self.fixes_per_sec:,.0f} fixes/s")
        if self.receipt_p50_millis is not None:
            marks = (self.receipt_p50_millis, self.receipt_p95_millis, self.receipt_p99_millis)
            table.add_row("receipts", " / ".join(f"{mark:.1f}" for mark in marks) + " ms", "p50 / p95 / p99")
        return table


@dataclass(slots=True)
class OutcomeCount:
    """Counts the outcomes while a replay runs."""

    rows_read: int = 0
    batches: int = 0
    sent: int = 0
    stored: int = 0
    duplicate: int = 0
    queued: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    _millis: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self, result: PostResult) -> None:
        """Counts one receipt."""
        receipt = result.receipt
        self.batches += 1
        self.sent += receipt.fixes
        self.stored += receipt.stored
        self.duplicate += receipt.duplicate
        self.queued += receipt.queued
        for code, count in receipt.rejected.items():
            self.rejected[code] = self.rejected.get(code, 0) + count
        self._millis.append(result.millis)

    def summarize(
        self, *, secs: float, retries: int, rows_unreadable: int, first_unreadable: str | None
    ) -> ReplaySummary:
        """Returns the summary of the counts."""
        millis = sorted(self._millis)
        return ReplaySummary(
            rows_read=self.rows_read,
            rows_unreadable=rows_unreadable,
            first_unreadable=first_unreadable,
            batches=self.batches,
            sent=self.sent,
            stored=self.stored,
            duplicate=self.duplicate,
            queued=self.queued,
            rejected=dict(sorted(self.rejected.items(), key=lambda item: (-item[1], item[0]))),
            retries=retries,
            secs=round(secs, 3),
            fixes_per_sec=round(self.sent / secs, 1) if secs > 0 else 0.0,
            receipt_p50_millis=_percentile(millis, 50),
            receipt_p95_millis=_percentile(millis, 95),
            receipt_p99_millis=_percentile(millis, 99),
        )


def _percentile(ascending: list[float], percent: int) -> float | None:
    """Returns the smallest value that at least `percent` percent of the values do not exceed."""
    if not ascending:
        return None
    return round(ascending[max(0, -(-len(ascending) * percent // 100) - 1)], 3)
