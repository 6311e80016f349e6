"""Tokens that may end inside a character, made into text."""

from __future__ import annotations

import codecs


class TextJoiner:
    """Makes text of tokens that may end inside a character: bytes inside UTF-8, str inside a surrogate pair.

    A CRLF counts as one character: the text format would make two line feeds of its halves.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._half = ""

    def feed(self, token: str | bytes) -> str:
        """The text that is whole with this token; what is not stays back."""
        if not token:
            return ""
        if isinstance(token, bytes):
            text = self._take_half() + self._decoder.decode(token)
        else:
            text = self._take_half() + self._decoder.decode(b"", final=True) + token
            if not text.isascii():
                # Halves that meet become the character that they stand for; a half alone stays as it is.
                text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        if text and (text[-1] == "\r" or "\ud800" <= text[-1] <= "\udbff"):
            text, self._half = text[:-1], text[-1]
        return text

    def finish(self) -> str:
        """What stayed back: U+FFFD for incomplete UTF-8, a lone surrogate or CR as it is."""
        return self._take_half() + self._decoder.decode(b"", final=True)

    def _take_half(self) -> str:
        half, self._half = self._half, ""
        return half
