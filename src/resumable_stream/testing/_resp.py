"""Finds where messages of the Redis protocol begin, in bytes that come in pieces of any size.

https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

from typing import NamedTuple

_FLAT = b"*~>"
_PAIRED = b"%|"
_BULK = b"$=!"
_LINE = b"+-:_,#("


class Head(NamedTuple):
    """The beginning of one message.

    Attributes:
        start: how many bytes came before it, since the first.
        kind: its first byte, such as ``b"*"``.
        name: for a command, its first word in capitals; else empty.
    """

    start: int
    kind: bytes
    name: str


class HeadFinder:
    """Walks through one direction of a connection; keeps no more than one line or one word.

    Args:
        commands: report each message once its first word is whole (what clients send), instead of
            at its first byte (what servers send).
    """

    def __init__(self, *, commands: bool) -> None:
        self._commands = commands
        self._offset = 0
        self._start = 0
        self._kind = b""
        self._line = bytearray()
        self._elements_left = 0
        self._bulk_left = 0
        self._word: bytearray | None = None

    def feed(self, data: bytes) -> list[Head]:
        """Return the messages whose head is complete with these bytes.

        Raises:
            ValueError: when the bytes are not of this protocol.
        """
        heads: list[Head] = []
        at = 0
        while at < len(data):
            if self._bulk_left:
                at = self._take_bulk(data, at, heads)
            else:
                at = self._take_line(data, at, heads)
        self._offset += len(data)
        return heads

    def _take_bulk(self, data: bytes, at: int, heads: list[Head]) -> int:
        piece = data[at : at + self._bulk_left]
        self._bulk_left -= len(piece)
        if self._word is not None:
            self._word += piece
        if not self._bulk_left:
            self._elements_left -= 1
            if self._word is not None:
                name = self._word[:-2].decode("latin-1").upper()
                heads.append(Head(self._start, self._kind, name))
                self._word = None
        return at + len(piece)

    def _take_line(self, data: bytes, at: int, heads: list[Head]) -> int:
        if not self._line and not self._elements_left:
            self._start = self._offset + at
            self._kind = data[at : at + 1]
            self._elements_left = 1
            if self._commands:
                self._word = bytearray()
            else:
                heads.append(Head(self._start, self._kind, ""))
        end = data.find(b"\n", at) + 1
        if not end:
            self._line += data[at:]
            return len(data)
        self._line += data[at:end]
        self._read_line(bytes(self._line))
        self._line.clear()
        return end

    def _read_line(self, line: bytes) -> None:
        kind = line[:1]
        self._elements_left -= 1
        if kind in _FLAT:
            self._elements_left += max(0, int(line[1:]))
        elif kind in _PAIRED:
            # An attribute (`|`) is a preface: the message that it describes still follows.
            self._elements_left += 2 * int(line[1:]) + (kind == b"|")
        elif kind in _BULK:
            size = int(line[1:])
            if size >= 0:
                self._bulk_left = size + 2
                self._elements_left += 1
        elif kind not in _LINE:
            raise ValueError("not a message of the Redis protocol")
