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
        argument: for a command, its second word; else empty.
    """

    start: int
    kind: bytes
    name: str
    argument: bytes


class HeadFinder:
    """Walks through one direction of a connection; keeps no more than one line or two words.

    Args:
        commands: report each message once its first two words are whole (what clients send),
            instead of at its first byte (what servers send).
    """

    def __init__(self, *, commands: bool) -> None:
        self._commands = commands
        self._offset = 0
        self._start = 0
        self._kind = b""
        self._line = bytearray()
        self._elements_left = 0
        self._bulk_left = 0
        self._words: list[bytearray] = []
        self._words_wanted = 0

    def feed(self, data: bytes) -> list[Head]:
        """Return the messages whose head is complete with these bytes.

        Raises:
            ValueError: when the bytes are not of this protocol.
        """
        heads: list[Head] = []
        at = 0
        while at < len(data):
            take = self._take_bulk if self._bulk_left else self._take_line
            at = take(data, at, heads)
        self._offset += len(data)
        return heads

    def _take_bulk(self, data: bytes, at: int, heads: list[Head]) -> int:
        piece = data[at : at + self._bulk_left]
        self._bulk_left -= len(piece)
        if self._words_wanted:
            self._words[-1] += piece
        if not self._bulk_left:
            self._elements_left -= 1
            if self._words_wanted:
                self._end_word(heads)
        return at + len(piece)

    def _end_word(self, heads: list[Head]) -> None:
        self._words_wanted -= 1
        if self._words_wanted:
            self._words.append(bytearray())
            return
        name, *arguments = (bytes(word[:-2]) for word in self._words)
        argument = arguments[0] if arguments else b""
        heads.append(Head(self._start, self._kind, name.decode("latin-1").upper(), argument))

    def _take_line(self, data: bytes, at: int, heads: list[Head]) -> int:
        if not self._line and not self._elements_left:
            self._start = self._offset + at
            self._kind = data[at : at + 1]
            self._elements_left = 1
            if not self._commands:
                heads.append(Head(self._start, self._kind, "", b""))
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
            count = max(0, int(line[1:]))
            if self._commands:
                self._words, self._words_wanted = [bytearray()], min(2, count)
            self._elements_left += count
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
