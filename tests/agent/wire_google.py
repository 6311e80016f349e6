"""Google's generateContent wire, streamed and whole, with its rules about turns and function calls."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from agent.wire_script import Failure, RefusalError, Reply

_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


def check(body: dict[str, Any]) -> None:
    """Refuse a conversation as generateContent does."""
    turns = body["contents"]
    if turns[0].get("role", "user") != "user":
        raise RefusalError("Please ensure that multiturn requests start with a user turn.")
    waiting = 0
    for index, turn in enumerate(turns):
        parts = turn.get("parts") or []
        if not parts:
            raise RefusalError(f"GenerateContentRequest.contents[{index}].parts must not be empty.")
        if any(not set(part) - {"thoughtSignature", "thought"} for part in parts):
            raise RefusalError(f"contents[{index}].parts: required oneof field 'data' must have one initialized field")
        calls = sum("functionCall" in part for part in parts)
        answers = sum("functionResponse" in part for part in parts)
        if answers != waiting:
            raise RefusalError(
                "Please ensure that the number of function response parts is equal to the number of function call "
                "parts of the function call turn."
            )
        if calls and index and turns[index - 1].get("role") == "model":
            raise RefusalError(
                "Please ensure that function call turn comes immediately after a user turn or after a function "
                "response turn."
            )
        waiting = calls
    if waiting:
        raise RefusalError("the number of function response parts is not equal to that of function call parts")


def error_body(failure: Failure) -> dict[str, Any]:
    status = _STATUS.get(failure.status, "UNKNOWN")
    return {"error": {"code": failure.status, "message": failure.message, "status": status}}


def _response(parts: list[dict[str, Any]], reply: Reply, number: int, *, last: bool) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if last:
        candidate["finishReason"] = "MAX_TOKENS" if reply.length else "STOP"
    return {
        "candidates": [candidate],
        "usageMetadata": {
            "promptTokenCount": reply.input_tokens,
            "candidatesTokenCount": reply.output_tokens,
            "totalTokenCount": reply.input_tokens + reply.output_tokens,
        },
        "modelVersion": "scripted",
        "responseId": f"google-{number}",
    }


def _call_parts(reply: Reply) -> list[dict[str, Any]]:
    return [{"functionCall": {"name": call.name, "args": dict(call.args)}} for call in reply.calls]


def whole(reply: Reply, number: int) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    if reply.reasoning:
        parts.append({"text": "".join(reply.reasoning), "thought": True})
    if reply.text:
        parts.append({"text": reply.whole_text})
    return _response([*parts, *_call_parts(reply)], reply, number, last=True)


async def stream(reply: Reply | Failure, number: int) -> AsyncIterator[str]:
    """Server-sent events of streamGenerateContent."""
    if isinstance(reply, Failure):
        for piece in reply.text:
            yield _data(_response([{"text": piece}], Reply(), number, last=False))
        yield _data(error_body(reply))
        return
    for piece in reply.reasoning:
        yield _data(_response([{"text": piece, "thought": True}], reply, number, last=False))
    for step, piece in enumerate(reply.text):
        await reply.before(step)
        yield _data(_response([{"text": piece}], reply, number, last=False))
    for part in _call_parts(reply):
        yield _data(_response([part], reply, number, last=False))
    yield _data(_response([{"text": ""}], reply, number, last=True))


def _data(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value)}\r\n\r\n"
