"""What is the same over one history: how it is written, and how small the library's limits are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from resumable_stream import _buffer, _encoding, _fanout, _log, _pages, _segment, _window


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is the same over one history.

    Attributes:
        durable: whether the server keeps what it acknowledged when it is killed.
        notified: no lease ends and no sweep looks: what readers are not told of, they never learn.
        small: pages, windows, batches and notifications hold a few events only.
        pulled: producers pull a source (`run`), instead of being written to (`open`).
        max_events, flush_interval, buffer_bytes, takeover: of the producers.
    """

    durable: bool = False
    notified: bool = False
    small: bool = False
    pulled: bool = False
    max_events: int | None = None
    flush_interval: float = 0.0
    buffer_bytes: int = 1024 * 1024
    takeover: float = 0.0

    def patches(self) -> Iterable[tuple[ModuleType, str, Any]]:
        """Constants of the library that are made small, so that a short history meets their limits."""
        yield _log, "GRACE", 0.1
        if self.notified:
            yield _log, "SWEEP", 3600.0
            yield _fanout, "SWEEP", 3600.0
        if self.small:
            yield _encoding, "PUBLISH_LIMIT", 100
            yield _buffer, "GROUP_ENTRIES", 3
            yield _window, "WINDOW_BYTES", 1
            yield _window, "SEGMENT", 3
            yield _segment, "SEGMENT", 3
            yield _fanout, "FIRST_PAGE", 2
            yield _fanout, "PAGE", 4
            yield _pages, "COLD_PAGES", 1
