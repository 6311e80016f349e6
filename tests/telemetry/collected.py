"""What OpenTelemetry's own SDK has collected."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, Metric
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from resumable_stream.telemetry import Instrument, Telemetry


class Collected:
    """The metrics and spans of providers of their own; metrics are looked up anew by each question.

    Attributes:
        telemetry: to be given what should be measured.
        meters: where the metrics come from.
        tracers: makes spans that are collected as well.
    """

    def __init__(self, *, gen_ai: bool) -> None:
        self._reader = InMemoryMetricReader()
        self.meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self._spans = InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.telemetry = Telemetry(meter_provider=self.meters, tracer_provider=self.tracers, gen_ai=gen_ai)

    def close(self) -> None:
        """Collect no more."""
        self.meters.shutdown()
        self.tracers.shutdown()

    def spans(self, name: str = "") -> list[ReadableSpan]:
        """The spans that have ended, in this order; those whose name begins so."""
        return [span for span in self._spans.get_finished_spans() if span.name.startswith(name)]

    def metrics(self) -> dict[str, Metric]:
        """All metrics that have a value, by name."""
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        found = [metric for one in data.resource_metrics for scope in one.scope_metrics for metric in scope.metrics]
        assert len({metric.name for metric in found}) == len(found), "two metrics of one name"
        return {metric.name: metric for metric in found}

    def points(self, instrument: Instrument) -> dict[tuple[Any, ...], Any]:
        """The points of a metric by the values of its attributes, in the order in which the instrument has them."""
        metric = self.metrics().get(instrument.name)
        if metric is None:
            return {}
        assert (metric.unit, metric.description) == (instrument.unit, instrument.description)
        found = {}
        for point in metric.data.data_points:
            attributes = point.attributes or {}
            assert set(attributes) <= set(instrument.attributes)
            found[tuple(attributes.get(name) for name in instrument.attributes)] = point
        return found

    def value(self, instrument: Instrument, *attributes: Any) -> float:
        """A number, of the point with these attributes; 0 where there is none. Of a histogram, how many values."""
        point = self.points(instrument).get(attributes)
        if point is None:
            return 0
        return float(point.count if isinstance(point, HistogramDataPoint) else point.value)


@contextmanager
def collecting(*, gen_ai: bool = True) -> Iterator[Collected]:
    """Providers of the test's own."""
    found = Collected(gen_ai=gen_ai)
    try:
        yield found
    finally:
        found.close()
