"""What a history says when it is read once from start to end: the ground that the checks stand on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

ID = tuple[int, int]
"""Generation and sequence of an event."""
Event = tuple[ID | None, str, Any]
"""Id, kind and data."""
Entry = tuple[str, str, str, Any]
"""Process, phase, operation and value."""

WIPES: Final = frozenset({"drop log", "drop both", "flush", "expire", "delete", "restart empty"})
"""What removes the whole log: the next stream of this name is another one, and begins with 1."""
UPHEAVALS: Final = WIPES | {"drop state", "roll back", "trim away"}
"""What excuses a reset, a lost stream and the loss of what was acknowledged."""
REMOVALS: Final = frozenset({"trim", "remove"})
"""What removes single events and leaves the newest: it excuses a gap, and nothing else."""

_TOKEN: Final = re.compile(r"(p\d+)\.(\d+);")


@dataclass(frozen=True, slots=True)
class Look:
    """The log as it was once between two positions; ``events`` is ``None`` when it was not there."""

    begin: int
    end: int
    events: tuple[Event, ...] | None


@dataclass(frozen=True, slots=True)
class Deed:
    """Something done to Redis from outside, between two positions of the history."""

    operation: str
    begin: int
    end: int
    removed: tuple[Event, ...] | None


def tokens_of(event: Event) -> list[tuple[str, int]] | None:
    """Whose tokens an event holds and which; ``None`` when its text is not made of whole tokens."""
    _, kind, data = event
    if kind not in ("text", "tool_call"):
        return []
    found = _TOKEN.findall(str(data))
    if "".join(f"{producer}.{index};" for producer, index in found) != data:
        return None
    return [(producer, int(index)) for producer, index in found]


class Facts:
    """A history and what follows from it directly.

    Attributes:
        history: the entries.
        looks: every look at the log.
        deeds: everything done from outside.
        known: what each id stands for, whoever saw it.
        first_seen: where in the history each id turned up first.
        logged: the ids that were seen in the log, or removed from it.
        owner: the producer of each generation, where anything shows it.
        bounded: whether any producer keeps only the newest events.
        orphans: with which statuses somebody has tried to end a stream without a producer.
        stopped: since when somebody may have asked the stream to stop.
        conflicts: what contradicts itself already.
    """

    def __init__(self, history: Sequence[Entry]) -> None:
        self.history = history
        self.looks: list[Look] = []
        self.deeds: list[Deed] = []
        self.known: dict[ID, tuple[str, Any]] = {}
        self.first_seen: dict[ID, int] = {}
        self.logged: set[ID] = set()
        self.owner: dict[int, str] = {}
        self.bounded = False
        self.orphans: set[str] = set()
        self.stopped: int | None = None
        self.conflicts: list[str] = []
        begun: dict[str, int] = {}
        for at, (process, phase, operation, value) in enumerate(history):
            if phase == "invoke":
                begun[process] = at
                self.bounded |= operation == "claim" and "bounded" in value
                if operation == "end orphan":
                    self.orphans.add(value)
                if operation == "stop" and self.stopped is None:
                    self.stopped = at
            elif process == "log":
                self.looks.append(Look(begun[process], at, value))
                self._learn(at, value or (), in_log=True)
            elif process == "admin" and operation in UPHEAVALS | REMOVALS:
                self.deeds.append(Deed(operation, begun[process], at, value))
                self._learn(begun[process], value or (), in_log=True)
            elif operation == "event":
                self._learn(at, [value], in_log=False)
            elif process == "loop":
                self.conflicts.append(f"at {at}: {operation}: {value}")
            elif operation in ("flush", "end") and phase == "ok":
                event_id = value[1] if operation == "end" else value
                if event_id is not None:
                    self._own(event_id[0], process)

    def _learn(self, at: int, events: Iterable[Event], *, in_log: bool) -> None:
        for event in events:
            event_id, kind, data = event
            if event_id is None:
                continue
            if in_log:
                self.logged.add(event_id)
            self.first_seen.setdefault(event_id, at)
            before = self.known.setdefault(event_id, (kind, data))
            if before != (kind, data):
                self.conflicts.append(f"{event_id} stands for {before} and for {(kind, data)}")
            tokens = tokens_of(event)
            if tokens is None:
                self.conflicts.append(f"{event_id} holds what nobody sent: {data!r}")
            for producer, _ in tokens or ():
                self._own(event_id[0], producer)

    def _own(self, generation: int, producer: str) -> None:
        owner = self.owner.setdefault(generation, producer)
        if owner != producer:
            message = f"generation {generation} is written by {owner} and by {producer}"
            if message not in self.conflicts:
                self.conflicts.append(message)

    def announced(self, kind: str, data: object) -> bool:
        """Whether an event may be the first of a generation that took a stream over."""
        return kind == "restarted" or (kind == "end" and (data == "lost" or data in self.orphans))

    def upheaval(self, begin: int, end: int, *, of: frozenset[str] = UPHEAVALS) -> bool:
        """Whether something that excuses a loss was under way between two positions."""
        return any(deed.operation in of and deed.begin <= end and deed.end >= begin for deed in self.deeds)

    def since(self, event_id: ID) -> int:
        """A position after which the event was written: it was not there at the look before it was first seen."""
        look = self.look_before(self.first_seen[event_id])
        return look.begin if look is not None else 0

    def look_before(self, at: int) -> Look | None:
        """The last look at the log before a position."""
        return next((look for look in reversed(self.looks) if look.end < at), None)

    def look_after(self, at: int) -> Look | None:
        """The first look at the log after a position."""
        return next((look for look in self.looks if look.begin > at), None)

    def was_there(self, begin: int, end: int) -> bool:
        """Whether the log was there all the time between two positions, beyond doubt."""
        look = self.look_before(begin)
        return look is not None and look.events is not None and not self.upheaval(look.begin, end)


class TokenRun:
    """Follows the tokens of one generation after the other: each producer's come in order, from its first."""

    def __init__(self) -> None:
        self._generation = 0
        self._last = -1
        self._sure = False

    def skip(self) -> None:
        """Events are missing: the next token need only be a later one."""
        self._sure = False

    def take(self, event: Event, *, begins: bool) -> str | None:
        """What is wrong with the tokens of the event that follows.

        Args:
            event: it has an id.
            begins: whether nothing of its generation comes before it.
        """
        event_id = event[0]
        assert event_id is not None
        if event_id[0] != self._generation:
            self._generation, self._last, self._sure = event_id[0], -1, begins
        for producer, index in tokens_of(event) or ():
            if index <= self._last or (self._sure and index != self._last + 1):
                return f"token {producer}.{index} at {event_id} follows {self._last}"
            self._last, self._sure = index, True
        return None
