"""OpenAI's two wires: chat completions and responses, streamed and whole, with their rules about tool calls."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from agent.wire_script import Failure, RefusalError, Reply


def check_chat(body: dict[str, Any]) -> None:
    """Refuse a conversation as chat completions does."""
    waiting: list[str] = []
    for index, message in enumerate(body["messages"]):
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                raise RefusalError(
                    "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
                )
            waiting.remove(message["tool_call_id"])
            continue
        if waiting:
            raise RefusalError(
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
                f"'tool_call_id'. The following tool_call_ids did not have response messages: {waiting}"
            )
        if message["role"] == "assistant":
            waiting = [call["id"] for call in message.get("tool_calls") or ()]
            if message.get("content") is None and not waiting:
                raise RefusalError(f"Invalid value for 'content' of message {index}: expected a string, got null.")
    if waiting:
        raise RefusalError(f"tool_call_ids did not have response messages: {waiting}")


def check_responses(body: dict[str, Any]) -> None:
    """Refuse a conversation as responses does."""
    items = body["input"] if isinstance(body["input"], list) else []
    calls = [item["call_id"] for item in items if item.get("type") == "function_call"]
    outputs = [item["call_id"] for item in items if item.get("type") == "function_call_output"]
    for call in calls:
        if call not in outputs:
            raise RefusalError(f"No tool output found for function call {call}.")
    for output in outputs:
        if output not in calls:
            raise RefusalError(f"No tool call found for function call output with call_id {output}.")


def error_body(failure: Failure) -> dict[str, Any]:
    return {
        "error": {
            "message": failure.message,
            "type": failure.kind,
            "param": None,
            "code": failure.kind,
        }
    }


def _chat_usage(reply: Reply) -> dict[str, int]:
    total = reply.input_tokens + reply.output_tokens
    return {
        "prompt_tokens": reply.input_tokens,
        "completion_tokens": reply.output_tokens,
        "total_tokens": total,
    }


def _finish(reply: Reply) -> str:
    return "length" if reply.length else "tool_calls" if reply.calls else "stop"


def whole_chat(reply: Reply, number: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.whole_text or None}
    if reply.calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.args)},
            }
            for call in reply.calls
        ]
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1,
        "model": "scripted",
        "choices": [{"index": 0, "message": message, "finish_reason": _finish(reply)}],
        "usage": _chat_usage(reply),
    }


async def stream_chat(reply: Reply | Failure, number: int, body: dict[str, Any]) -> AsyncIterator[str]:
    """Server-sent events of chat completions."""

    def frame(delta: dict[str, Any], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _data({**head, "choices": [choice]})

    head = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "scripted",
    }
    yield frame({"role": "assistant", "content": ""})
    if isinstance(reply, Failure):
        for piece in reply.text:
            yield frame({"content": piece})
        yield _data(error_body(reply))
        return
    for index, piece in enumerate(reply.text):
        await reply.before(index)
        yield frame({"content": piece})
    for index, call in enumerate(reply.calls):
        function: dict[str, str] = {"name": call.name, "arguments": ""}
        yield frame({"tool_calls": [{"index": index, "id": call.id, "type": "function", "function": function}]})
        for piece in _pieces(json.dumps(call.args)):
            yield frame({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield frame({}, _finish(reply))
    if (body.get("stream_options") or {}).get("include_usage"):
        yield _data({**head, "choices": [], "usage": _chat_usage(reply)})
    yield "data: [DONE]\n\n"


def whole_response(reply: Reply, number: int) -> dict[str, Any]:
    """The finished response object, which is also in the last event of the stream."""
    output: list[dict[str, Any]] = []
    if reply.reasoning:
        summary = [{"type": "summary_text", "text": "".join(reply.reasoning)}]
        output.append({"id": f"rs_{number}", "type": "reasoning", "summary": summary})
    if reply.text:
        output.append(
            {
                "id": f"msg_{number}",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": reply.whole_text, "annotations": []}],
            }
        )
    output.extend(
        {
            "id": f"fc_{number}_{index}",
            "type": "function_call",
            "status": "completed",
            "call_id": call.id,
            "name": call.name,
            "arguments": json.dumps(call.args),
        }
        for index, call in enumerate(reply.calls)
    )
    return {
        **_response_head(number),
        "status": "incomplete" if reply.length else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if reply.length else None,
        "output": output,
        "usage": {
            "input_tokens": reply.input_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": reply.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": reply.input_tokens + reply.output_tokens,
        },
    }


async def stream_response(reply: Reply | Failure, number: int) -> AsyncIterator[str]:
    """Server-sent events of responses."""
    count = -1

    def frame(kind: str, **fields: Any) -> str:
        nonlocal count
        count += 1
        event = {"type": kind, "sequence_number": count, **fields}
        return f"event: {kind}\n{_data(event)}"

    yield frame("response.created", response=_response_head(number))
    if isinstance(reply, Failure):
        yield frame("error", code=reply.kind, message=reply.message, param=None)
        return
    whole = whole_response(reply, number)
    for index, item in enumerate(whole["output"]):
        place = {"item_id": item["id"], "output_index": index}
        if item["type"] == "reasoning":
            place["summary_index"] = 0
            yield frame("response.output_item.added", output_index=index, item={**item, "summary": []})
            yield frame(
                "response.reasoning_summary_part.added",
                part={"type": "summary_text", "text": ""},
                **place,
            )
            for piece in reply.reasoning:
                yield frame("response.reasoning_summary_text.delta", delta=piece, **place)
            yield frame("response.reasoning_summary_text.done", text="".join(reply.reasoning), **place)
        elif item["type"] == "message":
            place["content_index"] = 0
            part = {"type": "output_text", "text": "", "annotations": []}
            yield frame("response.output_item.added", output_index=index, item={**item, "content": []})
            yield frame("response.content_part.added", part=part, **place)
            for step, piece in enumerate(reply.text):
                await reply.before(step)
                yield frame("response.output_text.delta", delta=piece, logprobs=[], **place)
            yield frame("response.output_text.done", text=reply.whole_text, logprobs=[], **place)
            yield frame("response.content_part.done", part=item["content"][0], **place)
        else:
            yield frame("response.output_item.added", output_index=index, item={**item, "arguments": ""})
            for piece in _pieces(item["arguments"]):
                yield frame("response.function_call_arguments.delta", delta=piece, **place)
            yield frame("response.function_call_arguments.done", arguments=item["arguments"], **place)
        yield frame("response.output_item.done", output_index=index, item=item)
    yield frame("response.incomplete" if reply.length else "response.completed", response=whole)


def _response_head(number: int) -> dict[str, Any]:
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": 1,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "scripted",
        "output": [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": None,
    }


def _data(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value)}\n\n"


def _pieces(text: str) -> list[str]:
    return [text[start : start + 5] for start in range(0, len(text), 5)]
