"""Readers of the property test: connections that take as much as they are told to, and note what they get."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Literal

from core.property.history import History
from core.property.oracle import ID, Event
from core.sse_parser import Message, SSEParser
from resumable_stream import EVENT_SOURCE, JSON, EventID, LogUnavailable, StreamConsumer, StreamEvent, StreamNotFound

Form = Literal["events", "json", "event source"]

_SYSTEM = {"message_restarted": "restarted", "gap": "gap", "reset": "reset"}
_ENDINGS = {"error": "failed", "cancelled": "cancelled", "lost": "lost"}


class Session:
    """One connection of a reader, from a cursor until it is dropped or over.

    Attributes:
        name: its process in the history.
        last_id: what the client would send as ``Last-Event-ID`` when it came back.
        done: whether nothing more comes.
    """

    def __init__(
        self, history: History, name: str, consumer: StreamConsumer, form: Form, after: ID | None, *, wait: float
    ) -> None:
        self.name = name
        self.last_id = after
        self._history = history
        self._consumer = consumer
        self._after = None if after is None else str(EventID(*after))
        self._wait = wait
        self._credit = 0.0
        self._more = asyncio.Event()
        self._form: Form = form
        history.add("net", "info", "reader", f"{name} reads {form}")
        history.add(name, "invoke", "read", after)
        self._task = asyncio.create_task(self._read(), name=f"reader {name}")

    @property
    def done(self) -> bool:
        return self._task.done()

    @property
    def waiting(self) -> bool:
        """Whether it has taken all that it may take."""
        return self.done or self._credit < 1

    def take(self, count: float = math.inf) -> None:
        """Let it read so many events more."""
        self._credit += count
        self._more.set()

    async def drop(self) -> None:
        """Leave, wherever it stands."""
        if not self.done:
            self._history.add(self.name, "info", "drop")
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.result()

    async def ended(self, timeout: float) -> None:
        """Wait for its end; note when it does not come."""
        await asyncio.wait([self._task], timeout=timeout)
        if not self.done:
            self._history.add(self.name, "info", "stuck")

    async def _read(self) -> None:
        try:
            async with aclosing(self._events()) as events:
                while True:
                    while self._credit < 1:
                        self._more.clear()
                        await self._more.wait()
                    self._credit -= 1
                    try:
                        event = await anext(events)
                    except StopAsyncIteration:
                        self._history.add(self.name, "ok", "done")
                        return
                    self.last_id = event[0] or self.last_id
                    self._history.add(self.name, "ok", "event", event)
        except StreamNotFound:
            self._history.add(self.name, "fail", "read", "not found")
        except LogUnavailable:
            self._history.add(self.name, "fail", "read", "unavailable")
        except Exception as error:  # noqa: BLE001 - the oracle judges it
            self._history.add(self.name, "fail", "read", repr(error))

    def _events(self) -> AsyncGenerator[Event, None]:
        match self._form:
            case "events":
                return self._plain()
            case "json":
                return _from_json(self._frames(JSON))
            case "event source":
                return _from_event_source(self._frames(EVENT_SOURCE))

    async def _plain(self) -> AsyncGenerator[Event, None]:
        async with aclosing(self._consumer.events("s", after=self._after, wait=self._wait)) as events:
            async for event in events:
                yield event_of(event)

    async def _frames(self, dialect: Any) -> AsyncGenerator[tuple[Message, ID | None], None]:
        """The messages of an SSE client, each with the id that came with it."""
        parser = SSEParser()
        frames = self._consumer.frames("s", last_event_id=self._after, dialect=dialect, wait=self._wait)
        async with aclosing(frames):
            async for frame in frames:
                own = any(line.startswith(b"id:") for line in frame.splitlines())
                *before, message = parser.feed(frame)
                for one in before:  # of the messages that an event becomes only the last has its id
                    yield one, None
                yield message, _parse(message.last_event_id) if own else None


def event_of(event: StreamEvent) -> Event:
    """An event in the oracle's words."""
    event_id = None if event.id is None else (event.id.generation, event.id.sequence)
    return event_id, event.type, _data(event.type, event.data)


def _data(kind: str, data: Any) -> Any:
    match kind:
        case "tool_call":
            return data["name"]
        case "gap":
            return data["missed"]
        case "end":
            return data["status"]
    return data


async def _from_json(messages: AsyncIterator[tuple[Message, ID | None]]) -> AsyncGenerator[Event, None]:
    async for message, event_id in messages:
        body = json.loads(message.data)
        yield event_id, body["type"], _data(body["type"], body.get("data", ""))


async def _from_event_source(messages: AsyncIterator[tuple[Message, ID | None]]) -> AsyncGenerator[Event, None]:
    """The dialect without JSON: a gap does not say how many are missing, an end comes as one or two messages."""
    status = "completed"
    async for message, event_id in messages:
        if message.type == "chunk":
            yield event_id, "text", message.data
        elif message.type == "tool_call":
            yield event_id, "tool_call", message.data
        elif message.data == "end":
            yield event_id, "end", status
        elif message.data in _ENDINGS:
            status = _ENDINGS[message.data]
        else:
            kind = _SYSTEM[message.data]
            yield event_id, kind, None if kind == "gap" else ""


def _parse(text: str) -> ID:
    generation, _, sequence = text.partition("-")
    return int(generation), int(sequence)
