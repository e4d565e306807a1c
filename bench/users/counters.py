"""Counts what Locust's request table lacks: fixes by outcome, received positions, and delays after receipts."""

from collections import Counter
from typing import Any

from locust import events

counts: Counter[str] = Counter()
"""Counts of all users; in the reporting process, of all processes."""
_latest: dict[str, tuple[int, float]] = {}


def register() -> None:
    """Registers the transfer of counts from worker processes to the reporting one."""
    events.report_to_master.add_listener(_send_counts)
    events.worker_report.add_listener(_add_counts)


def record_receipt(device: str, newest_millis: int, at_secs: float) -> None:
    """Records the arrival of a receipt, by the newest fix of its batch."""
    _latest[device] = (newest_millis, at_secs)


def delay_secs(position: dict[str, Any], at_secs: float) -> float | None:
    """Returns the delay of a position after its receipt; None if this process did not send its batch last."""
    newest_millis, receipt_at_secs = _latest.get(position["device"], (0, 0.0))
    return max(0.0, at_secs - receipt_at_secs) if newest_millis == position["timestamp"] else None


def _send_counts(client_id: str, data: dict[str, Any]) -> None:  # noqa: ARG001 - Locust passes them by name
    data["fleetwire"] = dict(counts)
    counts.clear()


def _add_counts(client_id: str, data: dict[str, Any]) -> None:  # noqa: ARG001
    counts.update(data.get("fleetwire", {}))
