"""How streams are written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterOptions:
    """How a stream is written; see `StreamProducer` for what each means. Times are in seconds."""

    lease: float
    retention: float
    flush_interval: float
    buffer_bytes: int
    outage_timeout: float
    max_events: int | None
    replicas: int
    takeover: float
