"""Neighbouring entries of the log as bytes, as they move from Redis to sockets; events are made when asked for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from ._events import END, TEXT, EventID, StreamEvent, unpack

TEXT_FIELD: Final = TEXT.encode()


class Entries:
    """Entries of one claim whose numbers follow each other without a hole. Never empty.

    Attributes:
        generation: of all of them.
        first: the sequence number of the first.
        values: as they stand in the log; UTF-8 with lone surrogates as three bytes where it is text.
        events: those that are not text, by their place in ``values``.
        size: bytes of all values together.
        plain: whether all values are ASCII without line ends.
    """

    __slots__ = ("events", "first", "generation", "plain", "size", "values")

    def __init__(
        self,
        generation: int,
        first: int,
        values: list[bytes],
        events: dict[int, StreamEvent],
        size: int,
        *,
        plain: bool,
    ) -> None:
        self.generation = generation
        self.first = first
        self.values = values
        self.events = events
        self.size = size
        self.plain = plain

    @classmethod
    def parse(cls, generation: int, first: int, fields: list[bytes], values: list[bytes]) -> Entries:
        """Entries out of the log, looked at once: nothing that is made of them later can fail.

        Raises:
            ValueError: they are not what this library writes.
        """
        events = {}
        if fields.count(TEXT_FIELD) != len(fields):
            for place, field in enumerate(fields):
                if field != TEXT_FIELD:
                    events[place] = unpack(field, values[place], EventID(generation, first + place))
        whole = b"".join(values)
        plain = whole.isascii()
        if plain:
            plain = b"\n" not in whole and b"\r" not in whole
        else:
            for value in values:
                if not value.isascii():
                    value.decode("utf-8", "surrogatepass")
        return cls(generation, first, values, events, len(whole), plain=plain)

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[StreamEvent]:
        return map(self.event, range(len(self.values)))

    @property
    def last(self) -> EventID:
        """The id of the last one."""
        return EventID(self.generation, self.first + len(self.values) - 1)

    @property
    def terminal(self) -> bool:
        """Whether the last one ends the stream."""
        event = self.events.get(len(self.values) - 1)
        return event is not None and event.type == END

    def event(self, place: int) -> StreamEvent:
        """The event at a place in ``values``."""
        event = self.events.get(place)
        if event is not None:
            return event
        text = self.values[place].decode("utf-8", "surrogatepass")
        return StreamEvent(TEXT, text, EventID(self.generation, self.first + place))

    def after(self, sequence: int) -> Entries | None:
        """Those whose number is above; ``None`` when there are none."""
        skip = sequence + 1 - self.first
        if skip <= 0:
            return self
        if skip >= len(self.values):
            return None
        return self._part(skip, len(self.values))

    def _part(self, start: int, stop: int) -> Entries:
        if start == 0 and stop == len(self.values):
            return self
        events = {place - start: event for place, event in self.events.items() if start <= place < stop}
        values = self.values[start:stop]
        return Entries(self.generation, self.first + start, values, events, sum(map(len, values)), plain=self.plain)

    def extend(self, more: Entries) -> None:
        """Add entries that follow, of the same claim."""
        place = len(self.values)
        self.values += more.values
        for at, event in more.events.items():
            self.events[place + at] = event
        self.size += more.size
        self.plain = self.plain and more.plain

    def split(self, count: int, size: int) -> Iterator[Entries]:
        """The same in parts of at most ``count`` entries and ``size`` bytes, where one alone is not larger."""
        start, end = 0, len(self.values)
        while start < end:
            sizes = accumulate(map(len, self.values[start : start + count]))
            stop = start + max(1, sum(1 for total in sizes if total <= size))
            yield self._part(start, stop)
            start = stop
