"""The metrics of all workers of a node as one: counters, histograms and gauges added up.

The client library has a way of its own, files that all processes write to; it knows nothing of a worker that died, and
its gauges then stay wrong. Here a worker that is gone is not asked, and its counts are gone with it: a scraper sees a
reset, as after a restart.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import cast

import msgspec
from prometheus_client import CollectorRegistry, Metric, generate_latest

from fleetwire.telemetry.metrics import REGISTRY

_Sample = tuple[str, tuple[tuple[str, str], ...], float]
_Family = tuple[str, str, str, list[_Sample]]
_FAMILIES: msgspec.msgpack.Decoder[list[_Family]] = msgspec.msgpack.Decoder(list[_Family])


def pack() -> bytes:
    """This worker's metrics."""
    families = [
        (
            family.name,
            family.documentation,
            family.type,
            [(sample.name, tuple(sorted(sample.labels.items())), sample.value) for sample in family.samples],
        )
        for family in REGISTRY.collect()
    ]
    return msgspec.msgpack.encode(families)


def render(workers: Iterable[bytes]) -> bytes:
    """The text Prometheus scrapes, of the packed metrics of all workers."""
    return generate_latest(cast("CollectorRegistry", _Merged(workers)))


class _Merged:
    """What `generate_latest` wants of a registry."""

    def __init__(self, workers: Iterable[bytes]) -> None:
        self._families: dict[str, Metric] = {}
        self._values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
        for worker in workers:
            for family in _FAMILIES.decode(worker):
                self._add(*family)

    def _add(self, name: str, documentation: str, kind: str, samples: list[_Sample]) -> None:
        self._families.setdefault(name, Metric(name, documentation, kind))
        values = self._values.setdefault(name, {})
        for sample, labels, value in samples:
            known = values.get((sample, labels))
            values[sample, labels] = value if known is None else _rule(sample)(known, value)

    def collect(self) -> Iterator[Metric]:
        for name, family in self._families.items():
            for (sample, labels), value in self._values[name].items():
                family.add_sample(sample, dict(labels), value)
            yield family


def _rule(sample: str) -> Callable[[float, float], float]:
    """How two workers' values of a sample become one."""
    if sample.endswith("_created"):
        return min
    # A moment, or what all workers see alike, is no amount.
    alike = ("_last_seconds", "_lag_seconds", "_oldest_snapshot_seconds", "_spool_bytes", "_spool_aside_bytes")
    return max if sample.endswith(alike) else float.__add__
