"""Entries of the log, as they are in Redis, in the oracle's words."""

from __future__ import annotations

import json
from typing import Any

from core.property.oracle import Event


def events_of(entries: list[tuple[bytes, dict[bytes, bytes]]]) -> tuple[Event, ...]:
    """What an answer to ``XRANGE`` says."""
    return tuple(_event(entry_id, *next(iter(fields.items()))) for entry_id, fields in entries)


def _event(entry_id: bytes, field: bytes, value: bytes) -> Event:
    kind = field.decode()
    data: Any = value.decode()
    if kind.endswith("/json"):
        body = json.loads(data)
        kind = kind.removesuffix("/json")
        data = body["status"] if kind == "end" else body["name"]
    generation, _, sequence = entry_id.decode().partition("-")
    return (int(generation), int(sequence)), kind, data
