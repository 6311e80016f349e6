"""Every instrument that there is: names and units as OpenTelemetry's conventions have them.

No attribute can take many values: the id of a stream, a run, a thread or an owner never is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["counter", "updowncounter", "histogram"]

STATUS: Final = "resumable_stream.status"
TAKEOVER: Final = "resumable_stream.takeover"
RESUMED: Final = "resumable_stream.resumed"
REASON: Final = "resumable_stream.reason"
ATTEMPT: Final = "resumable_stream.attempt"
ERROR: Final = "error.type"
HTTP_STATUS: Final = "http.response.status_code"
POOL: Final = "db.client.connection.pool.name"
POOL_STATE: Final = "db.client.connection.state"

MOMENTS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Boundaries of buckets, in seconds, for what Redis takes to answer."""

SPANS: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
"""Boundaries of buckets, in seconds, for what models and people take."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """What can be measured.

    Attributes:
        name: of the metric.
        kind: a ``counter`` only grows; an ``updowncounter`` is how many there are now.
        unit: in UCUM.
        description: what one is.
        attributes: which attributes its values have.
        boundaries: of a histogram's buckets.
    """

    name: str
    kind: Kind
    unit: str
    description: str
    attributes: tuple[str, ...] = ()
    boundaries: tuple[float, ...] = ()


def _counter(name: str, unit: str, description: str, *attributes: str) -> Instrument:
    return Instrument(f"resumable_stream.{name}", "counter", unit, description, attributes)


def _now(name: str, unit: str, description: str) -> Instrument:
    return Instrument(f"resumable_stream.{name}", "updowncounter", unit, description)


def _seconds(name: str, description: str, *attributes: str, boundaries: tuple[float, ...]) -> Instrument:
    return Instrument(f"resumable_stream.{name}", "histogram", "s", description, attributes, boundaries)


# Writing.
CLAIMS: Final = _counter("producer.claims", "{claim}", "Streams that were claimed, new or from somebody else", TAKEOVER)
ACTIVE_STREAMS: Final = _now("producer.active_streams", "{stream}", "Streams that are being written")
STALLED_STREAMS: Final = _now(
    "producer.stalled_streams",
    "{stream}",
    "Of these, streams whose append is repeated, until Redis confirms it",
)
ENDED_STREAMS: Final = _counter(
    "producer.ended_streams",
    "{stream}",
    "Streams that are not written any more; `none` is without an end",
    STATUS,
)
STREAM_DURATION: Final = _seconds(
    "producer.stream.duration", "From the claim of a stream until it is no longer written", STATUS, boundaries=SPANS
)
EVENTS: Final = _counter("producer.events", "{event}", "Events that Redis has acknowledged: tokens and all others")
IO: Final = _counter("producer.io", "By", "Bytes of these events, as they are sent to Redis")
APPENDS: Final = _counter("producer.appends", "{append}", "Round trips to Redis that wrote events")
REPEATED_APPENDS: Final = _counter(
    "producer.repeated_appends",
    "{append}",
    "Appends that were not simply acknowledged, and were repeated",
)
APPEND_DURATION: Final = _seconds(
    "producer.append.duration",
    "Until Redis has answered an append; a sample: of each stream those that renew its lease",
    boundaries=MOMENTS,
)
REWRITTEN_EVENTS: Final = _counter(
    "producer.rewritten_events", "{event}", "Events that were written again, since a failover had lost them"
)
STOPS: Final = _counter("producer.stops", "{stop}", "Times that this process asked an active stream to stop")

# Reading.
ACTIVE_VIEWERS: Final = _now("consumer.active_viewers", "{viewer}", "Readers")
FOLLOWED_STREAMS: Final = _now("consumer.followed_streams", "{stream}", "Streams that are followed for readers")
ATTACHED_VIEWERS: Final = _counter(
    "consumer.attached_viewers", "{viewer}", "Readers that have come, with a cursor or not", RESUMED
)
REPLAYS: Final = _counter("consumer.replays", "{replay}", "Readers that came when there were events already")
REPLAYED_EVENTS: Final = _counter("consumer.replayed_events", "{event}", "Events that were there already for them")
GAPS: Final = _counter("consumer.gaps", "{gap}", "Times that a reader was told of events that are gone")
MISSED_EVENTS: Final = _counter("consumer.missed_events", "{event}", "Events that these readers have missed")
RESETS: Final = _counter("consumer.resets", "{reset}", "Times that a reader was told to begin anew")
LOST_STREAMS: Final = _counter(
    "consumer.lost_streams",
    "{stream}",
    "Streams that ended as lost: `died` is counted by the one process that has written the end, `vanished` by each that"
    " was following",
    REASON,
)
READS: Final = _counter("consumer.reads", "{read}", "Pages of events that were read from Redis")
READ_EVENTS: Final = _counter("consumer.read_events", "{event}", "Events on these pages")

# Redis.
CONNECTIONS: Final = _now("redis.active_connections", "{connection}", "Connections to Redis")
OPENED: Final = _counter("redis.opened_connections", "{connection}", "Connections to Redis that were made")
CLOSED: Final = _counter("redis.closed_connections", "{connection}", "Connections to Redis that are over, or were lost")
ATTEMPTS: Final = _counter("redis.connection_attempts", "{attempt}", "Attempts to connect to Redis, with any outcome")

CORE: Final = (
    CLAIMS, ACTIVE_STREAMS, STALLED_STREAMS, ENDED_STREAMS, STREAM_DURATION, EVENTS, IO, APPENDS, REPEATED_APPENDS,
    APPEND_DURATION, REWRITTEN_EVENTS, STOPS,
    ACTIVE_VIEWERS, FOLLOWED_STREAMS, ATTACHED_VIEWERS, REPLAYS, REPLAYED_EVENTS, GAPS, MISSED_EVENTS, RESETS,
    LOST_STREAMS, READS, READ_EVENTS,
    CONNECTIONS, OPENED, CLOSED, ATTEMPTS,
)  # fmt: skip

# Runs of the chat app.
ACCEPTED_RUNS: Final = _counter("run.accepted_runs", "{run}", "Runs that were accepted: messages that will be answered")
ACTIVE_RUNS: Final = _now("run.active_runs", "{run}", "Runs that this process is answering")
RUN_ATTEMPTS: Final = _counter(
    "run.attempts", "{attempt}", "Times that this process has begun to answer, at `first` or `again`", ATTEMPT
)
HANDOVERS: Final = _counter("run.handovers", "{handover}", "Runs that this process has passed on in order")
RUN_DURATION: Final = _seconds(
    "run.duration", "From a run's acceptance to its end; `error.type` is the code of a failure", STATUS, ERROR,
    boundaries=SPANS,
)  # fmt: skip
FIRST_TOKEN: Final = _seconds("run.time_to_first_token", "From a run's acceptance to its first text", boundaries=SPANS)

RUNS: Final = (ACCEPTED_RUNS, ACTIVE_RUNS, RUN_ATTEMPTS, HANDOVERS, RUN_DURATION, FIRST_TOKEN)

# What a model has cost, by the conventions for generative AI.
MODEL_TOKENS: Final = Instrument(
    "gen_ai.client.token.usage",
    "histogram",
    "{token}",
    "Tokens of a model call, where the provider tells",
    ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.token.type"),
    (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864),
)
MODEL_DURATION: Final = Instrument(
    "gen_ai.client.operation.duration",
    "histogram",
    "s",
    "A model call, as far as its events tell",
    ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model"),
    (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
)

MODELS: Final = (MODEL_TOKENS, MODEL_DURATION)

# The rest of the chat app.
REFUSED: Final = _counter(
    "http.refused_requests", "{request}", "Requests that were answered with an error, by its code", HTTP_STATUS, ERROR
)
POOL_COUNT: Final = Instrument(
    "db.client.connection.count", "updowncounter", "{connection}", "Connections to PostgreSQL", (POOL, POOL_STATE)
)
POOL_MAX: Final = Instrument(
    "db.client.connection.max", "updowncounter", "{connection}", "The most connections to PostgreSQL", (POOL,)
)
POOL_WAITING: Final = Instrument(
    "db.client.connection.pending_requests", "updowncounter", "{request}", "Who waits for a connection", (POOL,)
)

APP: Final = (REFUSED, POOL_COUNT, POOL_MAX, POOL_WAITING)

INSTRUMENTS: Final = (*CORE, *RUNS, *MODELS, *APP)
"""All of them."""
