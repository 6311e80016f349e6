"""Text of every kind, cut in every way, and what must arrive of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from hypothesis import strategies as st

from resumable_stream import StreamEvent
from resumable_stream.testing import Step

HOSTILE = (
    "\r", "\n", "\r\n", "\n\n", "\r\r", "\n\r", "\x85", "\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\x1e",
    "\0", "\x1b[31m", "\x7f", "\ufeff", "\ufffe", "\uffff", "\ufffd", "\U0010ffff", "\ud83d", "\ude00", "😀", "👩‍👩‍👧",
    "é", "e\u0301", "\u0301", "\u200d", " ", "  ", "\t", "\xa0", "\u3000", ":", ": ka\n", "::", "data: x", "data:",
    "data", "\ndata: x\n\n", "\n\ndata: x", "id: 9-9\n", "\nid: 9-9\n", "\rid: 9-9\r", "\0id: 9-9\0", "\nid\n",
    "\nevent: forged\n", "event: forged\r\n\r\n", "\nretry: 1\n", "\n\n: ka\n\n", "[DONE]", "null", '"', "\\", "\\n",
    "</script>", "x",
)  # fmt: skip
"""Pieces of text that some parser or some encoder somewhere has taken for something else."""

_ANY = st.characters(codec=None, exclude_categories=())
_WHOLE = tuple(piece for piece in HOSTILE if piece not in ("\ud83d", "\ude00"))

TEXTS = st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(_ANY, max_size=6)), max_size=10).map("".join)
"""Any text, also with halves of surrogate pairs in it."""

WHOLE_TEXTS = st.lists(st.one_of(st.sampled_from(_WHOLE), st.text(max_size=6)), max_size=10).map("".join)
"""Text that UTF-8 can carry."""

_MAX = 2**53 - 1
JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-_MAX, _MAX), st.floats(-_MAX, _MAX), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)
"""What JSON can carry, within the numbers that JavaScript has."""

CUTS = st.one_of(st.lists(st.integers(0, 2**16), max_size=12), st.just(range(2000)))
"""Where to cut bytes, or text: at random, or everywhere. See `torn`."""


def torn(body: bytes, cuts: Sequence[int]) -> list[bytes]:
    """The body in pieces, as a network may deliver it."""
    places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    return [body[start:end] for start, end in pairwise(places)]


@dataclass(frozen=True, slots=True)
class Run:
    """Text without another event in it, or the name of a tool."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a source yields, and what that says."""

    steps: tuple[Step, ...]
    runs: tuple[Run, ...]


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """Tokens that end anywhere: str inside a surrogate pair, bytes inside a character, both inside a CRLF."""
    steps: list[Step] = []
    runs: list[Run] = []
    for kind in draw(st.lists(st.sampled_from(["str", "bytes", "tool"]), max_size=5)):
        text = draw(WHOLE_TEXTS if kind == "bytes" else TEXTS)
        if kind == "tool":
            steps.append(StreamEvent("tool_call", {"name": text, "args": {text: [text]}}))
            runs.append(Run("tool_call", text))
            continue
        unit = 1 if kind == "bytes" else 2
        raw = text.encode() if kind == "bytes" else text.encode("utf-16-le", "surrogatepass")
        cuts = [unit * (cut % (len(raw) // unit + 1)) for cut in draw(CUTS)]
        pieces = torn(raw, cuts)
        steps += pieces if kind == "bytes" else [piece.decode("utf-16-le", "surrogatepass") for piece in pieces]
        runs.append(Run("chunk", text))
    return Conversation(tuple(steps), joined(runs))


def joined(runs: Sequence[Run]) -> tuple[Run, ...]:
    """Runs of text that meet are one; empty ones are none."""
    result: list[Run] = []
    for run in runs:
        if run.kind == "chunk" and result and result[-1].kind == "chunk":
            result[-1] = Run("chunk", whole(result[-1].text + run.text))
        elif run.text or run.kind != "chunk":
            result.append(Run(run.kind, whole(run.text)))
    return tuple(result)


def whole(text: str) -> str:
    """The text, with halves of a surrogate pair that meet put together: to JavaScript it is the same text."""
    return re.sub(
        "[\ud800-\udbff][\udc00-\udfff]",
        lambda pair: chr(0x10000 + ((ord(pair[0][0]) - 0xD800) << 10) + (ord(pair[0][1]) - 0xDC00)),
        text,
    )


def as_text(text: str) -> str:
    """What the text format promises: every line end arrives as a line feed, half a surrogate pair as U+FFFD."""
    return re.sub("\r\n?", "\n", re.sub("[\ud800-\udfff]", "\ufffd", whole(text)))
