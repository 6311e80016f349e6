"""The keys and channels of a stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from redis.crc import key_slot

from ._events import check_stream_id

LAYOUT: Final = "rs1"
"""Names the layout of the keys and its version; every key begins with it."""


@dataclass(frozen=True, slots=True)
class Names:
    """The keys and channels of one stream, which share a hash tag and so a cluster slot."""

    log: bytes
    state: bytes
    channel: bytes
    control: bytes
    slot: int

    @classmethod
    def of(cls, stream_id: str) -> Names:
        """Raises `StreamIDError` for what cannot be a stream id."""
        base = f"{LAYOUT}:{{{check_stream_id(stream_id)}}}:"
        log, state, channel, control = (f"{base}{part}".encode() for part in ("log", "state", "events", "control"))
        return cls(log, state, channel, control, key_slot(log))
