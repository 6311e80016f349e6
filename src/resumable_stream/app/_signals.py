"""Hearing of SIGTERM and SIGINT before the server does.

Servers wait for open responses before they end the lifespan, and tell nobody: a stream would hold the process for as
long as its client likes. So the handlers that the server has set are wrapped: streams close first.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def set_on_signals(event: asyncio.Event, *, patience: float) -> Iterator[None]:
    """Set the event when the process is told to stop, then do what would have been done.

    Only in the main thread, where Python has its signal handlers. Where there is none, the signal ends the process, but
    not before it had time to end well. The handlers are put back in the end.

    Args:
        event: what to set.
        patience: seconds until a signal that nobody else handles ends the process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {
        number: handler
        for number in _SIGNALS
        if callable(handler := signal.getsignal(number)) or handler is signal.SIG_DFL
    }

    def end(number: int) -> None:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    def on_signal(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(event.set)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)
        else:
            # Such as a worker of hypercorn: its parent ends them all as soon as the first of them has ended.
            loop.call_soon_threadsafe(loop.call_later, patience, end, number)

    for number in before:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is on_signal:
                signal.signal(number, handler)


@contextmanager
def set_by_signals(event: asyncio.Event) -> Iterator[None]:
    """Set the event when the process is told to stop, and do nothing else. Only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, event.set)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
