import io

from rich.console import Console

from fleetwire.client import BatchReceipt, PostResult
from fleetwire.replay.progress import LINE_SECS, ReplayProgress
from fleetwire.replay.summary import OutcomeCount


def closed(outcomes, **changes):
    return outcomes.summarize(**{"secs": 2.0, "retries": 0, "rows_unreadable": 0, "first_unreadable": None} | changes)


def test_receipts_add_up_by_code_and_percentiles_are_ranks():
    outcomes = OutcomeCount()
    for number in range(1, 101):
        outcomes.add(
            PostResult(
                BatchReceipt(3, 1, {"latitude_range": 1} | ({"timestamp_future": 2} if number == 1 else {})), number, 0
            )
        )
    summary = closed(outcomes)
    assert (summary.batches, summary.sent, summary.stored, summary.duplicate) == (100, 502, 300, 100)
    assert list(summary.rejected.items()) == [("latitude_range", 100), ("timestamp_future", 2)]
    assert (summary.receipt_p50_millis, summary.receipt_p95_millis, summary.receipt_p99_millis) == (50, 95, 99)
    assert summary.fixes_per_sec == 251.0


def test_a_replay_without_a_receipt_has_no_percentiles():
    assert closed(OutcomeCount(), secs=0.0).receipt_p99_millis is None


def test_progress_off_a_terminal_is_a_line_now_and_then():
    out, now = io.StringIO(), [100.0]
    progress = ReplayProgress(
        OutcomeCount(),
        retries=lambda: 3,
        total_bytes=200,
        enabled=True,
        console=Console(file=out, width=200),
        clock=lambda: now[0],
    )
    with progress:
        progress.on_bytes(100)
        progress.show()
        assert out.getvalue() == ""
        now[0] += LINE_SECS
        progress.show()
        progress.show()
    assert out.getvalue().count("\n") == 1
    assert "50 % read, 0 fixes, 0 stored" in out.getvalue()
