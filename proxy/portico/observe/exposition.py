"""From plain samples to the text that Prometheus reads.

Rule of this file: prometheus_client writes the text (both of its formats); nobody imports this file before somebody asks for metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import CollectorRegistry

from portico.observe.metrics import METRICS, Metric, Row, Samples


class _Collector:
    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def collect(self) -> Iterable[Family]:
        for name, metric in METRICS.items():
            rows = self._samples.get(name)
            if rows is not None:
                yield _family(metric, sorted(rows, key=lambda row: row[:-1]))


def _family(metric: Metric, rows: list[Row]) -> Family:
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
        for *labels, numbers in rows:
            histogram.add_metric(labels, list(_cumulative(metric.buckets, numbers)), numbers[-1])
        return histogram
    family = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    made = family(metric.name, metric.meaning, labels=metric.labels)
    for *labels, number in rows:
        made.add_metric(labels, number)
    return made


def _cumulative(buckets: tuple[float, ...], numbers: list[float]) -> Iterator[tuple[str, float]]:
    total = 0.0
    for bound, number in zip((*map(str, buckets), "+Inf"), numbers, strict=False):
        total += number
        yield bound, total


def exposition(samples: Samples, accept: str = "") -> tuple[bytes, str]:
    """The text and its Content-Type, in the format that the asker prefers."""
    encode, content_type = choose_encoder(accept)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(samples))
    return encode(registry), content_type
