"""Anthropic's messages wire, streamed and whole, with its rules about roles, empty text and tool calls."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from agent.wire_script import Failure, RefusalError, Reply


def check(body: dict[str, Any]) -> None:
    """Refuse a conversation as the messages API does."""
    messages = body["messages"]
    if not messages or messages[0]["role"] != "user":
        raise RefusalError('messages: first message must use the "user" role')
    waiting: list[str] = []
    for index, message in enumerate(messages):
        blocks = _blocks(message["content"])
        if not blocks and index < len(messages) - 1:
            raise RefusalError(f"messages.{index}: all messages must have non-empty content")
        for block in blocks:
            if block["type"] == "text" and not block["text"].strip():
                raise RefusalError(f"messages.{index}: text content blocks must contain non-whitespace text")
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        missing = [call for call in waiting if call not in results]
        if missing:
            raise RefusalError(
                f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(missing)}."
            )
        if any(result not in waiting for result in results):
            raise RefusalError(f"messages.{index}: unexpected `tool_use_id` found in `tool_result` blocks")
        waiting = [block["id"] for block in blocks if block["type"] == "tool_use"]
        if body.get("thinking") and waiting and blocks[0]["type"] != "thinking":
            raise RefusalError(f"messages.{index}.content.0.type: Expected `thinking`, but found `text`.")
    if waiting:
        raise RefusalError("`tool_use` ids were found without `tool_result` blocks immediately after")
    last = _blocks(messages[-1]["content"])
    if messages[-1]["role"] == "assistant" and last[-1].get("text", "x") != last[-1].get("text", "x").rstrip():
        raise RefusalError("messages: final assistant content cannot end with trailing whitespace")


def error_body(failure: Failure) -> dict[str, Any]:
    return {
        "type": "error",
        "error": {"type": failure.kind, "message": failure.message},
        "request_id": "req_1",
    }


def whole_message(reply: Reply, number: int) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    if reply.reasoning:
        content.append({"type": "thinking", "thinking": "".join(reply.reasoning), "signature": "sig"})
    if reply.text:
        content.append({"type": "text", "text": reply.whole_text})
    content.extend({"type": "tool_use", "id": c.id, "name": c.name, "input": dict(c.args)} for c in reply.calls)
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": "scripted",
        "content": content,
        "stop_reason": _stop_reason(reply),
        "stop_sequence": None,
        "usage": {"input_tokens": reply.input_tokens, "output_tokens": reply.output_tokens},
    }


async def stream(reply: Reply | Failure, number: int) -> AsyncIterator[str]:
    """Server-sent events of the messages API."""

    def frame(kind: str, **fields: Any) -> str:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n"

    def delta(kind: str, **fields: Any) -> str:
        return frame("content_block_delta", index=index, delta={"type": kind, **fields})

    shell = reply if isinstance(reply, Reply) else Reply()
    start = {**whole_message(shell, number), "content": [], "stop_reason": None}
    start["usage"] = {"input_tokens": shell.input_tokens, "output_tokens": 1}
    yield frame("message_start", message=start)
    if isinstance(reply, Failure):
        yield f"event: error\ndata: {json.dumps(error_body(reply))}\n\n"
        return
    for index, block in enumerate(whole_message(reply, number)["content"]):
        if block["type"] == "thinking":
            yield frame(
                "content_block_start",
                index=index,
                content_block={**block, "thinking": "", "signature": ""},
            )
            for piece in reply.reasoning:
                yield delta("thinking_delta", thinking=piece)
            yield delta("signature_delta", signature=block["signature"])
        elif block["type"] == "text":
            yield frame("content_block_start", index=index, content_block={"type": "text", "text": ""})
            yield 'event: ping\ndata: {"type": "ping"}\n\n'
            for step, piece in enumerate(reply.text):
                await reply.before(step)
                yield delta("text_delta", text=piece)
        else:
            yield frame("content_block_start", index=index, content_block={**block, "input": {}})
            yield delta("input_json_delta", partial_json="")
            text = json.dumps(block["input"])
            for begin in range(0, len(text), 5):
                yield delta("input_json_delta", partial_json=text[begin : begin + 5])
        yield frame("content_block_stop", index=index)
    end = {"stop_reason": _stop_reason(reply), "stop_sequence": None}
    yield frame("message_delta", delta=end, usage=whole_message(reply, number)["usage"])
    yield frame("message_stop")


def _stop_reason(reply: Reply) -> str:
    return "max_tokens" if reply.length else "tool_use" if reply.calls else "end_turn"


def _blocks(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return content
