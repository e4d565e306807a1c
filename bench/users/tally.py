"""What Locust's table of requests does not say: fixes by outcome, positions seen, and when receipts came."""

from collections import Counter
from typing import Any

from locust import events

counts: Counter[str] = Counter()
"""Of all users, in the process that reports."""
_latest: dict[str, tuple[int, float]] = {}


def register() -> None:
    """With several processes, adds up what each of them counted."""
    events.report_to_master.add_listener(_hand_over)
    events.worker_report.add_listener(_take_over)


def answered(device: str, newest_millis: int, at_secs: float) -> None:
    """The receipt of a batch came, whose newest fix is of this time."""
    _latest[device] = (newest_millis, at_secs)


def delay_secs(position: dict[str, Any], at_secs: float) -> float | None:
    """How long after its receipt a position was seen; None for one whose batch this process did not send last."""
    newest_millis, receipt_at_secs = _latest.get(position["device"], (0, 0.0))
    return max(0.0, at_secs - receipt_at_secs) if newest_millis == position["timestamp"] else None


def _hand_over(client_id: str, data: dict[str, Any]) -> None:  # noqa: ARG001 - Locust passes them by name
    data["fleetwire"] = dict(counts)
    counts.clear()


def _take_over(client_id: str, data: dict[str, Any]) -> None:  # noqa: ARG001
    counts.update(data.get("fleetwire", {}))
