"""Whose numbers are told: those that live, and what others have left when they went."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import fields
from typing import Final, Protocol

from .._counts import Counts


class Counting(Protocol):
    """A `StreamProducer` or a `StreamConsumer`."""

    @property
    def counts(self) -> Counts:
        """What it has done."""


_NUMBERS: Final = [one.name for one in fields(Counts) if one.type in ("int", int)]


class Sources:
    """The numbers of any number of producers and consumers; none of them is kept alive."""

    def __init__(self) -> None:
        self._known: list[Counts] = []
        self._past = Counts(weakref.ref(self))
        self._gone: deque[Counts] = deque()
        self._lock = threading.Lock()

    def add(self, part: Counting) -> bool:
        """Count a part in from now on. Returns whether it is new."""
        counts = part.counts
        owner = counts.owner()
        with self._lock:
            if owner is None or any(counts is one for one in self._known):
                return False
            self._known.append(counts)
        # Streams outlive the producer's object. It runs wherever garbage is collected, so it may wait for nothing.
        weakref.finalize(owner, self._gone.append, counts).atexit = False
        return True

    def now(self) -> list[Counts]:
        """The numbers of all parts; those of parts that are gone are in one."""
        with self._lock:
            while self._gone:
                counts = self._gone.popleft()
                self._known.remove(counts)
                self._absorb(counts)
            return [self._past, *self._known]

    def _absorb(self, counts: Counts) -> None:
        """Keep what was done. Nothing is at work any more: whatever is, keeps its log alive, and so the owner."""
        past = self._past
        for name in _NUMBERS:
            setattr(past, name, getattr(past, name) + getattr(counts, name))
        for status, number in counts.ended.items():
            past.ended[status] = past.ended.get(status, 0) + number

    def sum(self, read: Callable[[Counts], int]) -> int:
        """One number over all parts."""
        return sum(map(read, self.now()))
