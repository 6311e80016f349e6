"""Tokens that may end inside a character, made into UTF-8."""

from __future__ import annotations

import codecs
from typing import Final

_CR: Final = frozenset({13, "\r"})


class TextJoiner:
    """Makes UTF-8 of tokens that may end inside a character: bytes inside UTF-8, str inside a surrogate pair.

    A CRLF counts as one character: the text format would make two line feeds of its halves. A lone surrogate becomes
    its three bytes.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._half = ""
        self._whole = True
        """Whether nothing stays back."""

    def feed(self, token: str | bytes) -> bytes:
        """The text that is whole with this token; what is not stays back."""
        if self._whole and token and token[-1] not in _CR:
            try:  # as nearly all tokens are
                if isinstance(token, str):
                    return token.encode()
                if token.isascii():
                    return token
            except UnicodeEncodeError:
                pass
        return self._join(token).encode("utf-8", "surrogatepass")

    def _join(self, token: str | bytes) -> str:
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
        self._whole = not self._half and not self._decoder.getstate()[0]
        return text

    def finish(self) -> bytes:
        """What stayed back: U+FFFD for incomplete UTF-8, a lone surrogate or CR as it is."""
        self._whole = True
        return (self._take_half() + self._decoder.decode(b"", final=True)).encode("utf-8", "surrogatepass")

    def _take_half(self) -> str:
        half, self._half = self._half, ""
        return half
