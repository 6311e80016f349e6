"""The rules of the wire as one grammar: what does not fit it breaks some client."""

from __future__ import annotations

import re

KEEP_ALIVE = b": ka\n"
RETRY = re.compile(rb"^retry: [123][0-9]{3}\n", re.MULTILINE)

_FRAME = (
    rb"(?:retry: [1-9][0-9]{0,4}\n)?"  # a line of a frame that has data, never a block of its own
    rb"(?:id: (?P<id>[0-9]{1,20}-[0-9]{1,20})\n)?"  # no colon, no space, no control character, far below 128 bytes
    rb"(?:event: (?P<event>chunk|tool_call|system)\n)?"
    rb"(?:data: [^\r\n]*\n)+"
    rb"\n"
)
_BODY = re.compile(rb"(?:(?:: ka\n)*%b)*(?:: ka\n)*" % re.sub(rb"\?P<\w+>", rb"?:", _FRAME))


def frames_of(body: bytes) -> list[tuple[str, str]]:
    """The id and event name of each frame, after a check that the body is frames and keep-alives and nothing else."""
    body.decode()
    assert b"\r" not in body, "a carriage return ends a line for a strict parser and is text for a careless one"
    assert _BODY.fullmatch(body), f"a body that breaks the rules of the wire: {body[:2000]!r}"
    matches = list(re.finditer(_FRAME, body))
    return [((match["id"] or b"").decode(), (match["event"] or b"").decode()) for match in matches]
