"""What a producer or a consumer has done, as plain numbers.

Where work is done a number grows, or nothing is counted at all because it can be told from what is there anyway. Nobody
is told; who wants to know, such as `resumable_stream.telemetry`, looks, from any thread.
"""

from __future__ import annotations

import threading
import time
import weakref
from dataclasses import dataclass, field
from typing import Protocol

from ._buffer import ENTRY_OVERHEAD
from ._events import EventID, Status


class Writing(Protocol):
    """A stream that is being written; its `Committer` says what these mean."""

    appends: int
    begun: float
    head: int
    in_doubt: bool
    last_id: EventID | None
    size: int
    status: Status


def written(stream: Writing) -> int:
    """How many events Redis has acknowledged."""
    return stream.last_id.sequence - stream.head if stream.last_id is not None else 0


def size(stream: Writing) -> int:
    """How many bytes these are, as they are sent to Redis."""
    return stream.size - written(stream) * ENTRY_OVERHEAD


class Following(Protocol):
    """The readers of a process."""

    @property
    def viewers(self) -> int:
        """How many there are."""

    @property
    def feeds(self) -> int:
        """How many streams are followed for them."""


class Observer(Protocol):
    """Who wants to know at once, for what cannot be looked at later. Its methods must not raise."""

    def on_append(self, seconds: float) -> None:
        """An append that also renewed the lease was answered after so long: a sample, one in seconds for a stream."""

    def on_end(self, status: Status, seconds: float) -> None:
        """A stream is no longer written here, so long after it was claimed."""


@dataclass(slots=True, eq=False)
class Counts:
    """Numbers that only grow, and who is at work.

    Attributes:
        claims: streams that were claimed, and of these ``takeovers`` from another producer.
        ended: streams that are no longer written here, by status; ``active`` without an end.
        events: written by streams that are no longer written here; and so ``size`` and ``appends``.
        repeats: appends whose outcome was unknown or refused, and that were made again.
        mended: events that were written again, since a failover had lost them.
        stops: streams that were asked to stop here.
        attached: viewers that have come, and of these ``resumed`` with a cursor.
        replays: viewers for whom there were events already, and how many these were: ``replayed``.
        gaps: times that a viewer was told of lost events, and how many these were: ``missed``.
        resets: times that a viewer was told that its cursor cannot be continued.
        buried: streams that were ended here as ``lost``, since their producer had died.
        vanished: streams that went away under this process's viewers.
        reads: pages of events that were read from Redis, and how many these were: ``events_read``.
        dials: attempts to connect to Redis; ``connected`` those that succeeded, ``disconnected`` those that are over.
        writing: the streams that are being written.
        following: who follows streams.
        observers: who wants to know at once.
        owner: the log; as long as it lives the numbers may grow.
        lock: held while a stream moves from ``writing`` to the numbers, so that a sum of both never shrinks.
    """

    owner: weakref.ref[object]
    claims: int = 0
    takeovers: int = 0
    ended: dict[Status, int] = field(default_factory=dict)
    events: int = 0
    size: int = 0
    appends: int = 0
    repeats: int = 0
    mended: int = 0
    stops: int = 0
    attached: int = 0
    resumed: int = 0
    replays: int = 0
    replayed: int = 0
    gaps: int = 0
    missed: int = 0
    resets: int = 0
    buried: int = 0
    vanished: int = 0
    reads: int = 0
    events_read: int = 0
    dials: int = 0
    connected: int = 0
    disconnected: int = 0
    writing: set[Writing] = field(default_factory=set)
    following: set[Following] = field(default_factory=set)
    observers: tuple[Observer, ...] = ()
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, stream: Writing) -> None:
        """A stream was claimed."""
        self.claims += 1
        self.takeovers += stream.head > 0  # what is before the claim is another producer's
        self.writing.add(stream)

    def end(self, stream: Writing) -> None:
        """A stream is not written any more. Once is enough, more often harmless."""
        if stream in self.writing:
            with self.lock:
                self.writing.discard(stream)
                self.ended[stream.status] = self.ended.get(stream.status, 0) + 1
                self.events += written(stream)
                self.size += size(stream)
                self.appends += stream.appends
            for observer in self.observers:
                observer.on_end(stream.status, time.monotonic() - stream.begun)

    def written(self) -> tuple[int, int, int]:
        """Events, their bytes and the appends that wrote them, of all streams so far."""
        with self.lock:
            now = tuple(self.writing)
            return (
                self.events + sum(map(written, now)),
                self.size + sum(map(size, now)),
                self.appends + sum(stream.appends for stream in now),
            )

    def attach(self, after: EventID | None, *heads: EventID | None) -> None:
        """A viewer has come, with a cursor that fits or none, to a stream with events up to the newest of the heads."""
        known = after.sequence if after is not None else 0
        history = max((head.sequence for head in heads if head is not None), default=0) - known
        self.attached += 1
        self.resumed += after is not None
        if history > 0:
            self.replays += 1
            self.replayed += history

    def gap(self, missed: int) -> None:
        """A viewer was told of lost events."""
        self.gaps += 1
        self.missed += missed
