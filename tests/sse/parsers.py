"""Parsers that others wrote, and what each makes of a stream's bytes."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import sseclient
from httpx_sse import EventSource
from langgraph_sdk.sse import BytesLineDecoder
from langgraph_sdk.sse import SSEDecoder as LangGraphDecoder
from openai._streaming import SSEDecoder as OpenAIDecoder

from core.sse_parser import Message
from core.streams import DEADLINE

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Parser:
    """One parser.

    Attributes:
        name: as its users know it.
        text: what it makes of the text of one event in the text format; ``None`` when it takes nothing but JSON.
        named: whether it tells the names of events.
        ids: whether it tells ids.
        halves: whether its JSON parser takes half a surrogate pair.
        hear: what it makes of chunks; ``None`` for a parser from npm.
    """

    name: str
    text: Callable[[str], str] | None = str
    named: bool = True
    ids: bool = True
    halves: bool = True
    hear: Callable[[Sequence[bytes]], Iterable[Message]] | None = None


def _response(chunks: Sequence[bytes]) -> httpx.Response:
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    return httpx.Response(200, headers=headers, content=iter(chunks))


def by_httpx_sse(chunks: Sequence[bytes]) -> Iterator[Message]:
    for event in EventSource(_response(chunks)).iter_sse():
        yield Message(event.event, event.data, event.id)


def by_openai(chunks: Sequence[bytes]) -> Iterator[Message]:
    for event in OpenAIDecoder().iter_bytes(iter(chunks)):
        yield Message(event.event or "message", event.data, event.id or "")


def by_sseclient(chunks: Sequence[bytes]) -> Iterator[Message]:
    for event in sseclient.SSEClient(iter(chunks)).events():
        yield Message(event.event, event.data, event.id or "")


def by_langgraph_sdk(chunks: Sequence[bytes]) -> Iterator[Message]:
    lines, decoder = BytesLineDecoder(), LangGraphDecoder()
    for chunk in chunks:
        for line in lines.decode(chunk):
            part = decoder.decode(bytes(line))
            if part is not None:
                yield Message(part.event or "message", json.dumps(part.data), part.id or "")


def by_lines(chunks: Sequence[bytes]) -> Iterator[Message]:
    """No parser at all: what many a script does. httpx ends lines wherever `str.splitlines` does."""
    for line in _response(chunks).iter_lines():
        if line.startswith("data: "):
            yield Message("", line.removeprefix("data: "), "")


def fetch_event_source(text: str) -> str:
    """It drops empty lines at the beginning of an event, and a byte order mark at the beginning of a line."""
    return "\n".join(line.removeprefix("\ufeff") for line in text.split("\n")).lstrip("\n")


PYTHON = (
    Parser("httpx-sse", hear=by_httpx_sse),
    Parser("openai", hear=by_openai),
    Parser("sseclient-py", hear=by_sseclient),
    Parser("langgraph-sdk for Python", text=None, halves=False, hear=by_langgraph_sdk),
    Parser("lines of httpx", text=None, named=False, ids=False, hear=by_lines),
)
NODE = (
    Parser("eventsource-parser"),
    Parser("eventsource"),
    Parser("eventsource-client"),
    Parser("fetch-event-source", text=fetch_event_source),
    Parser("langgraph-sdk", text=None),
    Parser("ag-ui", text=None, named=False, ids=False),
)


def why_not_node() -> str | None:
    """The reason why parsers from npm cannot be asked here, if there is one."""
    if shutil.which("node") is None:
        return "there is no node: parsers from npm are not asked"
    if not (HERE / "node_modules/.installed").exists():
        return "parsers from npm are not installed here: `make parsers` does it where there is Node.js 20 or newer"
    return None


class Node:
    """A process that has the parsers from npm; see ``parsers.mjs``."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        overdue = threading.Timer(DEADLINE, self._process.kill)
        overdue.start()
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        finally:
            overdue.cancel()
        assert line, "node has ended, or was too slow and was ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def follow(self, client: str, url: str) -> tuple[list[Message], list[int]]:
        """What a client got on as many connections as it took, and the status of each."""
        answer = self.ask(client=client, follow=url)
        assert "error" not in answer, answer["error"]
        return [Message(*message) for message in answer["messages"]], answer["statuses"]


@contextmanager
def started() -> Iterator[Node]:
    """A process of node for the time of a session."""
    command = ["node", str(HERE / "parsers.mjs")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield Node(process)
        process.communicate()


class Audience:
    """All the parsers, or some of them."""

    def __init__(self, parsers: Sequence[Parser], node: Node | None) -> None:
        self.parsers = parsers
        self._node = node

    def hear(
        self, chunks: Sequence[bytes], *, as_json: bool, halves: bool = False
    ) -> Iterator[tuple[Parser, list[Message] | str]]:
        """What each parser makes of the chunks, of those who take such bytes; a text is its refusal.

        Args:
            chunks: the bytes, as they come.
            as_json: whether the data is JSON; it is then what the parser's language makes of it.
            halves: whether there are halves of surrogate pairs in the JSON.
        """
        asked = [p for p in self.parsers if (as_json or p.text is not None) and (p.halves or not halves)]
        names = [parser.name for parser in asked if parser.hear is None]
        answers: dict[str, Any] = {}
        if names:
            assert self._node is not None
            encoded = [base64.b64encode(chunk).decode() for chunk in chunks]
            answers = self._node.ask(parsers=names, chunks=encoded, json=as_json)
        for parser in asked:
            if parser.hear is not None:
                try:
                    yield parser, list(parser.hear(chunks))
                except ValueError as error:
                    yield parser, str(error)
            else:
                answer = answers[parser.name]
                yield parser, answer.get("error") or [Message(*message) for message in answer["messages"]]
