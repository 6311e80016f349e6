"""Who watches runs, such as `resumable_stream.telemetry`; nobody, where nothing is measured."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final, Protocol

from resumable_stream import StreamEvent

from ._values import Run

HANDED_OVER: Final = "handed_over"
"""How an attempt has ended that was passed on in order; else it ended with the stream, by its status."""

TAKEN_OVER: Final = "taken_over"
"""The same, where another process has taken the run, since this one had seemed dead."""


class AttemptObserver(Protocol):
    """Watches one attempt to answer."""

    def enter(self) -> None:
        """Called in the task that does the work, before it does."""

    def watch(self, events: AsyncGenerator[StreamEvent, None], *, said: bool) -> AsyncGenerator[StreamEvent, None]:
        """The same events; the generator is closed with this one. ``said``: an earlier attempt has said something."""

    def end(self, status: str, code: str | None) -> None:
        """The attempt is over; with the code of a failure."""


class RunObserver(Protocol):
    """Watches the runs of one app. Its methods must not raise."""

    def trace(self) -> str | None:
        """Where in a trace the caller is, as text that travels with the run."""

    def on_accept(self) -> None:
        """A run was accepted."""

    def begin(self, run: Run) -> AttemptObserver:
        """An attempt begins, with its number, in a task of its own."""


class Nobody:
    """Watches nothing."""

    def trace(self) -> str | None:
        """Nothing travels."""
        return None

    def on_accept(self) -> None:
        """Nothing happens."""

    def begin(self, run: Run) -> AttemptObserver:
        """Nothing is watched."""
        return self

    def enter(self) -> None:
        """Nothing happens."""

    def watch(self, events: AsyncGenerator[StreamEvent, None], *, said: bool) -> AsyncGenerator[StreamEvent, None]:
        """The very generator: no token costs more."""
        return events

    def end(self, status: str, code: str | None) -> None:
        """Nothing happens."""
