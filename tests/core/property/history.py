"""Writes down what happens, in the form that the oracle takes, and prints it for people."""

from __future__ import annotations

import time
from typing import Any

from core.property.oracle import ID, Entry, Event


class History:
    """Everything that was asked for and answered, in order."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._times: list[float] = []
        self._begin = time.monotonic()

    def add(self, process: str, phase: str, operation: str, value: Any = None) -> None:
        """Note one thing; see `core.property.oracle` for the words."""
        self.entries.append((process, phase, operation, value))
        self._times.append(time.monotonic() - self._begin)

    def __str__(self) -> str:
        lines = []
        shown: tuple[Event, ...] | None = ()
        for at, (entry, seconds) in enumerate(zip(self.entries, self._times, strict=True)):
            process, phase, operation, value = entry
            if operation == "look":
                if phase == "invoke" or value == shown:
                    continue
                text, shown = _difference(shown, value), value
            else:
                text = _text(value)
            lines.append(f"{at:4} {seconds * 1000:7.1f} ms  {process:6} {phase:6} {operation:10} {text}")
        return "\n".join(lines)


def _difference(before: tuple[Event, ...] | None, now: tuple[Event, ...] | None) -> str:
    """What a look at the log shows that the one before did not."""
    if now is None:
        return "there is no log"
    if before is not None and now[: len(before)] == before:
        return "+ " + " ".join(map(_event, now[len(before) :]))
    return "is " + " ".join(map(_event, now))


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case (None | (int(), int()), str(), _):
            return _event(value)
        case (int(), int()):
            return _id(value)
        case tuple():
            return " ".join(map(_text, value))
    return str(value)


def _event(event: Event) -> str:
    event_id, kind, data = event
    shown = kind if kind != "text" else ""
    return f"[{_id(event_id)} {shown}{':' if shown and data not in ('', None) else ''}{'' if data is None else data}]"


def _id(event_id: ID | None) -> str:
    return "-" if event_id is None else f"{event_id[0] % 1_000_000}-{event_id[1]}"
