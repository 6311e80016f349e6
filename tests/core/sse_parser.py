"""A parser of Server-Sent Events, to the letter of the standard, to judge our frames with.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """One dispatched event."""

    type: str
    data: str
    last_event_id: str


class SSEParser:
    """Takes bytes in pieces of any size.

    Attributes:
        comments: every comment so far, without its colon.
        retry: the reconnection time in ms, once the stream has set it.
        empty_blocks: blank lines that dispatched nothing: some clients make an event of them.
    """

    def __init__(self) -> None:
        self.comments: list[str] = []
        self.retry: int | None = None
        self.empty_blocks = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = False
        self._line: list[str] = []
        self._after_cr = False
        self._data: list[str] = []
        self._type = ""
        self._id = ""

    def feed(self, chunk: bytes) -> list[Message]:
        """The events that are complete with these bytes."""
        text = self._decoder.decode(chunk)
        if text and not self._begun:
            self._begun = True
            text = text.removeprefix("\ufeff")
        messages: list[Message] = []
        for character in text:
            if self._after_cr and character == "\n":
                self._after_cr = False
                continue
            self._after_cr = character == "\r"
            if character in "\r\n":
                line = "".join(self._line)
                self._line.clear()
                if message := self._take(line):
                    messages.append(message)
            else:
                self._line.append(character)
        return messages

    def _take(self, line: str) -> Message | None:
        if not line:
            return self._dispatch()
        if line.startswith(":"):
            self.comments.append(line[1:])
            return None
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._type = value
        elif field == "id" and "\0" not in value:
            self._id = value
        elif field == "retry" and value.isascii() and value.isdigit():
            self.retry = int(value)
        return None

    def _dispatch(self) -> Message | None:
        data, kind = self._data, self._type
        self._data, self._type = [], ""
        if not data:
            self.empty_blocks += 1
            return None
        return Message(kind or "message", "\n".join(data), self._id)


def parse(stream: bytes) -> list[Message]:
    """The events of a whole stream."""
    return SSEParser().feed(stream)
