"""Appends that are under way."""

from __future__ import annotations

import time
from typing import Protocol

from ._buffer import Group


class Captain(Protocol):
    """Whose append it is.

    Attributes:
        flight: the append whose reply is wanted.
    """

    flight: Flight | None

    def on_reply(self, flight: Flight, reply: object, /) -> None:
        """The append was answered."""

    def on_doubt(self) -> None:
        """There will be no answer."""

    def on_sample(self, seconds: float, /) -> None:
        """An append that was timed was answered after so long."""


class Flight:
    """A group that has its ids and is under way. Takes the reply of the server in place of a future."""

    __slots__ = ("_captain", "group", "started")

    def __init__(self, captain: Captain, group: Group, started: float) -> None:
        self._captain = captain
        self.group = group
        self.started = started

    def done(self) -> bool:
        """Whether nobody wants the reply any more."""
        return self._captain.flight is not self

    def set_result(self, reply: object, /) -> None:
        """Take the reply."""
        self._captain.on_reply(self, reply)

    def set_exception(self, exception: Exception, /) -> None:
        """There is no reply: somebody has to ask again."""
        self._captain.on_doubt()


class TimedFlight(Flight):
    """One that tells how long its reply took."""

    __slots__ = ()

    def set_result(self, reply: object, /) -> None:
        """Take the reply."""
        self._captain.on_sample(time.monotonic() - self.started)
        self._captain.on_reply(self, reply)
