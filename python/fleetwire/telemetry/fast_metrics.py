"""Counters for the hot way: plain numbers of one thread, shown to Prometheus when it asks.

The client library's own take a lock for each count, which for a batch adds up to a tenth of its answer.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector


class FastCounter:
    """One number that only rises."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self, amount: int = 1) -> None:
        """Counts."""
        self.value += amount


class FastCounters(Collector):
    """A counter by labels."""

    def __init__(self, name: str, help_text: str, labels: Sequence[str], *, registry: CollectorRegistry) -> None:
        self._name, self._help, self._labels = name, help_text, labels
        self._tallies: dict[tuple[str, ...], FastCounter] = {}
        registry.register(self)

    def labels(self, *values: str) -> FastCounter:
        """The tally of these labels, to be kept by whoever counts."""
        return self._tallies.setdefault(values, FastCounter())

    def describe(self) -> Iterable[Metric]:
        """The family without its numbers."""
        return [CounterMetricFamily(self._name, self._help, labels=self._labels)]

    def collect(self) -> Iterator[Metric]:
        """The family as it stands."""
        family = CounterMetricFamily(self._name, self._help, labels=self._labels)
        for values, tally in self._tallies.items():
            family.add_metric(values, tally.value)
        yield family


class _Spread:
    """How durations are spread over buckets; each bucket counts what is at most its bound."""

    __slots__ = ("_bounds", "_counts", "_sum_secs")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum_secs = 0.0

    def observe(self, secs: float) -> None:
        self._counts[bisect_left(self._bounds, secs)] += 1
        self._sum_secs += secs

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        bounds = (*map(str, self._bounds), "+Inf")
        family.add_metric(labels, list(zip(bounds, accumulate(self._counts), strict=True)), self._sum_secs)


class Durations(Collector):
    """A histogram of seconds."""

    def __init__(self, name: str, help_text: str, *, buckets: Sequence[float], registry: CollectorRegistry) -> None:
        self._name, self._help = name, help_text
        self._spread = _Spread(tuple(buckets))
        registry.register(self)

    def observe(self, secs: float) -> None:
        """Counts one duration."""
        self._spread.observe(secs)

    def describe(self) -> Iterable[Metric]:
        """The family without its numbers."""
        return [HistogramMetricFamily(self._name, self._help)]

    def collect(self) -> Iterator[Metric]:
        """The family as it stands."""
        family = HistogramMetricFamily(self._name, self._help)
        self._spread.add_to(family, ())
        yield family


class LabelledDurations(Collector):
    """A histogram of seconds by labels."""

    def __init__(
        self, name: str, help_text: str, labels: Sequence[str], *, buckets: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._name, self._help, self._labels, self._bounds = name, help_text, labels, tuple(buckets)
        self._spreads: dict[tuple[str, ...], _Spread] = {}
        registry.register(self)

    def observe(self, labels: tuple[str, ...], secs: float) -> None:
        """Counts one duration. The caller sees to it that there are few labels."""
        spread = self._spreads.get(labels)
        if spread is None:
            spread = self._spreads[labels] = _Spread(self._bounds)
        spread.observe(secs)

    def describe(self) -> Iterable[Metric]:
        """The family without its numbers."""
        return [HistogramMetricFamily(self._name, self._help, labels=self._labels)]

    def collect(self) -> Iterator[Metric]:
        """The family as it stands."""
        family = HistogramMetricFamily(self._name, self._help, labels=self._labels)
        for labels, spread in self._spreads.items():
            spread.add_to(family, labels)
        yield family
