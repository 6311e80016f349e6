"""Ctrl-C and SIGTERM as a wish that is granted at the next good moment."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequested(Exception):
    """The person, or the system, wants the command to end."""


class StopWish:
    """Whether somebody wants the command to end.

    Attributes:
        on_request: called when it is wished, inside a signal handler.
    """

    def __init__(self) -> None:
        self._requested = False
        self.on_request: Callable[[], None] | None = None

    @property
    def requested(self) -> bool:
        """Whether it has been wished."""
        return self._requested

    def check(self) -> None:
        """Go on only when nobody wants an end.

        Raises:
            StopRequested: somebody does.
        """
        if self._requested:
            raise StopRequested

    def request(self) -> None:
        """Wish for the end."""
        self._requested = True
        if self.on_request is not None:
            self.on_request()


@contextmanager
def stoppable() -> Iterator[StopWish]:
    """Turn signals into a wish for the length of a block; `StopRequested` ends the block quietly.

    Signals never break into a step that is under way, such as the start of a server: it would be
    left behind. A second signal does, as ``KeyboardInterrupt``. Only for the main thread.
    """
    wish = StopWish()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if wish.requested:
            # The second time it cannot wait; but cleaning up must not be disturbed by a third.
            for other in _SIGNALS:
                signal.signal(other, signal.SIG_IGN)
            raise KeyboardInterrupt
        wish.request()

    # What the shell has switched off stays off, as for `nohup`.
    wanted = [one for one in _SIGNALS if signal.getsignal(one) is not signal.SIG_IGN]
    before = {one: signal.signal(one, on_signal) for one in wanted}
    try:
        yield wish
    except StopRequested:
        pass
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
