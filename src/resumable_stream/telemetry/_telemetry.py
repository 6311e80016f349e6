"""Instruments that look at what producers and consumers count anyway, when a reader collects."""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Protocol

from opentelemetry.metrics import CallbackOptions, Histogram, Meter, MeterProvider, Observation, get_meter_provider
from opentelemetry.trace import NoOpTracerProvider, ProxyTracerProvider, TracerProvider, get_tracer_provider

from .._counts import Counts
from .._events import Status
from . import _instruments as all_
from ._instruments import Instrument
from ._runs import RunMeters, RunTelemetry
from ._sources import Counting, Sources

SCOPE: Final = "resumable_stream"

Values = Callable[[], Iterable[Observation]]

_shared: Final[weakref.WeakKeyDictionary[MeterProvider, Telemetry]] = weakref.WeakKeyDictionary()
_sharing: Final = threading.Lock()


class Pool(Protocol):
    """A pool of psycopg's."""

    def get_stats(self) -> dict[str, int]:
        """Its numbers."""


class Telemetry:
    """Measures producers, consumers and chat apps, for one meter provider.

    Make one for a process: a provider takes each instrument once. What is measured costs next to nothing where it
    happens; it is looked up when a reader collects.

    Args:
        meter_provider: where metrics go; by default OpenTelemetry's global one.
        tracer_provider: where traces go; by default OpenTelemetry's global one.
        gen_ai: whether tokens and times of model calls are measured; not where another instrumentation does that.
    """

    def __init__(
        self,
        *,
        meter_provider: MeterProvider | None = None,
        tracer_provider: TracerProvider | None = None,
        gen_ai: bool = True,
    ) -> None:
        from resumable_stream import __version__

        provider = get_meter_provider() if meter_provider is None else meter_provider
        self._meter: Meter = provider.get_meter(SCOPE, __version__)
        self._sources = Sources()
        self._observer = _Streams(self.histogram(all_.APPEND_DURATION), self.histogram(all_.STREAM_DURATION))
        self._pools: list[weakref.ref[Pool]] = []
        self._refused: list[Mapping[tuple[int, str], int]] = []
        tracers = get_tracer_provider() if tracer_provider is None else tracer_provider
        self._runs = RunMeters(
            tracer=tracers.get_tracer(SCOPE, __version__),
            durations=self.histogram(all_.RUN_DURATION),
            first_tokens=self.histogram(all_.FIRST_TOKEN),
            model_tokens=self.histogram(all_.MODEL_TOKENS) if gen_ai else None,
            model_durations=self.histogram(all_.MODEL_DURATION) if gen_ai else None,
        )
        for instrument, read in _SUMS.items():
            self.look(instrument, lambda read=read: [Observation(self._sources.sum(read))])  # type: ignore[misc] # bound
        for instrument, values in self._split().items():
            self.look(instrument, values)

    @classmethod
    def shared(cls) -> Telemetry:
        """The one of the global meter provider: the same for all who ask. Set the providers up before."""
        provider = get_meter_provider()
        with _sharing:
            if (telemetry := _shared.get(provider)) is None:
                telemetry = _shared[provider] = cls(meter_provider=provider)
        return telemetry

    def observe(self, *parts: Counting) -> None:
        """Measure a `StreamProducer` or a `StreamConsumer` from now on; it is not kept alive. Twice is once."""
        for part in parts:
            if self._sources.add(part):
                part.counts.observers += (self._observer,)

    def observe_pool(self, pool: Pool) -> None:
        """Measure a pool of connections to PostgreSQL; it is not kept alive."""
        self._pools = [one for one in self._pools if one() is not None] + [weakref.ref(pool)]

    def observe_refusals(self, refused: Mapping[tuple[int, str], int]) -> None:
        """Measure how many requests were refused, by HTTP status and code. Twice is once."""
        if not any(refused is one for one in self._refused):
            self._refused.append(refused)

    def runs(self, *, provider: str | None = None, model: str | None = None) -> RunTelemetry:
        """Who watches the runs of one app.

        Args:
            provider: who serves its model, where that is known.
            model: the model.
        """
        return RunTelemetry(self._runs, provider=provider, model=model)

    def histogram(self, instrument: Instrument) -> Histogram:
        """Make a histogram."""
        return self._meter.create_histogram(
            instrument.name,
            unit=instrument.unit,
            description=instrument.description,
            explicit_bucket_boundaries_advisory=instrument.boundaries,
        )

    def look(self, instrument: Instrument, values: Values) -> None:
        """Make an instrument that is looked up."""
        create = (
            self._meter.create_observable_counter
            if instrument.kind == "counter"
            else self._meter.create_observable_up_down_counter
        )

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            return values()

        create(instrument.name, callbacks=[observe], unit=instrument.unit, description=instrument.description)

    def _split(self) -> dict[Instrument, Values]:
        """What has attributes."""
        total = self._sources.sum

        def claims() -> Iterator[Observation]:
            takeovers = total(lambda counts: counts.takeovers)
            yield Observation(total(lambda counts: counts.claims) - takeovers, {all_.TAKEOVER: False})
            yield Observation(takeovers, {all_.TAKEOVER: True})

        def viewers() -> Iterator[Observation]:
            resumed = total(lambda counts: counts.resumed)
            yield Observation(total(lambda counts: counts.attached) - resumed, {all_.RESUMED: False})
            yield Observation(resumed, {all_.RESUMED: True})

        def lost() -> Iterator[Observation]:
            yield Observation(total(lambda counts: counts.buried), {all_.REASON: "died"})
            yield Observation(total(lambda counts: counts.vanished), {all_.REASON: "vanished"})

        def ended() -> Iterator[Observation]:
            found: Counter[Status] = Counter()
            for counts in self._sources.now():
                found.update(counts.ended.copy())
            return (Observation(number, {all_.STATUS: named(status)}) for status, number in found.items())

        def attempts() -> Iterator[Observation]:
            runs = self._runs
            again = runs.again
            yield Observation(runs.begun - again, {all_.ATTEMPT: "first"})
            yield Observation(again, {all_.ATTEMPT: "again"})

        def refused() -> Iterator[Observation]:
            found: Counter[tuple[int, str]] = Counter()
            for one in self._refused:
                found.update(dict(one))
            for (status, code), number in found.items():
                yield Observation(number, {all_.HTTP_STATUS: status, all_.ERROR: code})

        def connections() -> Iterator[Observation]:
            size, idle = self._pool("pool_size"), self._pool("pool_available")
            yield Observation(max(0, size - idle), {all_.POOL: SCOPE, all_.POOL_STATE: "used"})
            yield Observation(idle, {all_.POOL: SCOPE, all_.POOL_STATE: "idle"})

        return {
            all_.ACCEPTED_RUNS: lambda: [Observation(self._runs.accepted)],
            all_.ACTIVE_RUNS: lambda: [Observation(self._runs.active)],
            all_.HANDOVERS: lambda: [Observation(self._runs.handovers)],
            all_.RUN_ATTEMPTS: attempts,
            all_.REFUSED: refused,
            all_.POOL_COUNT: connections,
            all_.POOL_MAX: lambda: [Observation(self._pool("pool_max"), {all_.POOL: SCOPE})],
            all_.POOL_WAITING: lambda: [Observation(self._pool("requests_waiting"), {all_.POOL: SCOPE})],
            all_.CLAIMS: claims,
            all_.ATTACHED_VIEWERS: viewers,
            all_.LOST_STREAMS: lost,
            all_.ENDED_STREAMS: ended,
        }

    def _pool(self, name: str) -> int:
        """One number over all pools that are there."""
        return sum(pool.get_stats().get(name, 0) for one in tuple(self._pools) if (pool := one()) is not None)


_SUMS: Final[dict[Instrument, Callable[[Counts], int]]] = {
    all_.ACTIVE_STREAMS: lambda counts: len(counts.writing),
    all_.STALLED_STREAMS: lambda counts: sum(stream.in_doubt for stream in tuple(counts.writing)),
    all_.EVENTS: lambda counts: counts.written()[0],
    all_.IO: lambda counts: counts.written()[1],
    all_.APPENDS: lambda counts: counts.written()[2],
    all_.REPEATED_APPENDS: lambda counts: counts.repeats,
    all_.REWRITTEN_EVENTS: lambda counts: counts.mended,
    all_.STOPS: lambda counts: counts.stops,
    all_.ACTIVE_VIEWERS: lambda counts: sum(hub.viewers for hub in tuple(counts.following)),
    all_.FOLLOWED_STREAMS: lambda counts: sum(hub.feeds for hub in tuple(counts.following)),
    all_.REPLAYS: lambda counts: counts.replays,
    all_.REPLAYED_EVENTS: lambda counts: counts.replayed,
    all_.GAPS: lambda counts: counts.gaps,
    all_.MISSED_EVENTS: lambda counts: counts.missed,
    all_.RESETS: lambda counts: counts.resets,
    all_.READS: lambda counts: counts.reads,
    all_.READ_EVENTS: lambda counts: counts.events_read,
    all_.CONNECTIONS: lambda counts: counts.connected - counts.disconnected,
    all_.OPENED: lambda counts: counts.connected,
    all_.CLOSED: lambda counts: counts.disconnected,
    all_.ATTEMPTS: lambda counts: counts.dials,
}


def is_set_up() -> bool:
    """Whether anybody has set up a global provider; without one, what is measured goes nowhere."""
    # For metrics the API has no public name for what stands in until a provider is set.
    unset = type(get_meter_provider()).__name__ in ("_ProxyMeterProvider", "NoOpMeterProvider")
    return not (unset and isinstance(get_tracer_provider(), ProxyTracerProvider | NoOpTracerProvider))


class _Streams:
    """Hears of streams what cannot be looked up."""

    def __init__(self, appends: Histogram, durations: Histogram) -> None:
        self._appends = appends
        self._durations = durations

    def on_append(self, seconds: float) -> None:
        self._appends.record(seconds)

    def on_end(self, status: Status, seconds: float) -> None:
        self._durations.record(seconds, {all_.STATUS: named(status)})


def named(status: Status) -> str:
    """A status as an attribute; a stream that was let go or given up has none."""
    return "none" if status is Status.ACTIVE else status.value
