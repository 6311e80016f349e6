"""A local server that speaks the wires of OpenAI, Anthropic and Google, driven by scripts.

It refuses conversations that the providers refuse (a tool call without its result, an empty text block, ...), so that a
test which gets an answer has shown that the conversation was acceptable.
"""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from agent import wire_anthropic, wire_google, wire_openai
from agent.wire_script import Call, Failure, Gate, RefusalError, Reply, Request

__all__ = ["Call", "Failure", "Gate", "ProviderWire", "Reply", "Request", "provider_wire"]

_Step = Reply | Failure
# The providers' clients keep connections for longer than a test has its event loop.
_CLOSE: dict[str, str] = {"connection": "close"}
_ErrorBody = Callable[[Failure], dict[str, Any]]


class ProviderWire:
    """The server as a test sees it: what it will answer, and what it was asked."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._lock = threading.Lock()
        self._steps: deque[_Step] = deque()
        self._requests: list[Request] = []
        self.search: tuple[int, dict[str, Any]] = (200, {})
        """The status and body that Tavily's wire answers."""

    def script(self, *steps: _Step) -> None:
        """Answer the next requests with these, in order; a request with nothing left gets a 500."""
        with self._lock:
            self._steps.extend(steps)

    @property
    def requests(self) -> list[Request]:
        """Everything asked so far, refused requests too."""
        with self._lock:
            return list(self._requests)

    @property
    def left(self) -> int:
        """How many scripted answers have not been used."""
        with self._lock:
            return len(self._steps)

    def _take(self, request: Request) -> tuple[_Step, int]:
        with self._lock:
            self._requests.append(request)
            if not self._steps:
                return Failure(500, "server_error", "the script has no answer for this request"), 0
            return self._steps.popleft(), len(self._requests)

    def _note(self, request: Request) -> None:
        with self._lock:
            self._requests.append(request)


def _application(wire: ProviderWire) -> Starlette:
    def endpoint(
        check: Callable[[dict[str, Any]], None],
        error_body: _ErrorBody,
        refusal: str,
        whole: Callable[[Reply, int], dict[str, Any]],
        stream: Callable[[_Step, int, dict[str, Any]], AsyncIterator[str]],
        streamed: Callable[[HTTPRequest, dict[str, Any]], bool],
    ) -> Callable[[HTTPRequest], Any]:
        async def answer(http: HTTPRequest) -> Response:
            body = json.loads(await http.body())
            request = Request(http.url.path, body, dict(http.headers))
            try:
                check(body)
            except RefusalError as refused:
                wire._note(request)
                return JSONResponse(error_body(Failure(400, refusal, str(refused))), 400, _CLOSE)
            step, number = wire._take(request)
            if isinstance(step, Failure) and step.status != 200:
                return JSONResponse(error_body(step), step.status, {**_CLOSE, **step.headers})
            if streamed(http, body):
                return StreamingResponse(stream(step, number, body), 200, _CLOSE, "text/event-stream")
            assert isinstance(step, Reply), "only a stream can fail in the middle"
            if step.gate is not None:
                await step.gate.wait()
            return JSONResponse(whole(step, number), 200, _CLOSE)

        return answer

    def asked(_: HTTPRequest, body: dict[str, Any]) -> bool:
        return bool(body.get("stream"))

    async def search(http: HTTPRequest) -> Response:
        wire._note(Request(http.url.path, json.loads(await http.body()), dict(http.headers)))
        status, body = wire.search
        return JSONResponse(body, status, _CLOSE)

    chat = endpoint(
        wire_openai.check_chat,
        wire_openai.error_body,
        "invalid_request_error",
        wire_openai.whole_chat,
        wire_openai.stream_chat,
        asked,
    )
    responses = endpoint(
        wire_openai.check_responses,
        wire_openai.error_body,
        "invalid_request_error",
        wire_openai.whole_response,
        lambda step, number, _: wire_openai.stream_response(step, number),
        asked,
    )
    messages = endpoint(
        wire_anthropic.check,
        wire_anthropic.error_body,
        "invalid_request_error",
        wire_anthropic.whole_message,
        lambda step, number, _: wire_anthropic.stream(step, number),
        asked,
    )
    google = endpoint(
        wire_google.check,
        wire_google.error_body,
        "INVALID_ARGUMENT",
        wire_google.whole,
        lambda step, number, _: wire_google.stream(step, number),
        lambda http, _: http.url.path.endswith(":streamGenerateContent"),
    )
    return Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/responses", responses, methods=["POST"]),
            Route("/v1/messages", messages, methods=["POST"]),
            Route("/search", search, methods=["POST"]),
            Route("/v1beta/models/{model:path}", google, methods=["POST"]),
        ]
    )


@contextmanager
def provider_wire() -> Iterator[ProviderWire]:
    """Serve on a free port of 127.0.0.1 from a thread, until the block ends."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        wire = ProviderWire(listener.getsockname()[1])
        config = uvicorn.Config(
            _application(wire),
            lifespan="off",
            log_level="critical",
            timeout_graceful_shutdown=1,
            access_log=False,
        )
        server = uvicorn.Server(config)
        listener.listen()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="provider-wire")
        thread.start()
        try:
            yield wire
        finally:
            server.should_exit = True
            thread.join(10)
