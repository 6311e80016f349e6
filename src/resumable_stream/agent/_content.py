"""What is inside a message, whichever provider it came from. Pure functions over LangChain's messages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage
from pydantic_core import to_jsonable_python

_REASONS: Final = {
    "stop": ("stop", "end_turn", "stop_sequence", "completed"),
    "tool_calls": ("tool_calls", "tool_use", "function_call"),
    "length": ("length", "max_tokens", "max_output_tokens", "model_context_window_exceeded"),
    "content_filter": (
        "content_filter",
        "refusal",
        "safety",
        "recitation",
        "blocklist",
        "prohibited_content",
        "spii",
    ),
}
_REASON_OF: Final = {word: reason for reason, words in _REASONS.items() for word in words}


def text_of(message: BaseMessage) -> str:
    """The text of a message or a chunk, without reasoning, tool calls and pictures."""
    return str(message.text)


def reasoning_of(message: BaseMessage) -> str:
    """What the model tells of its thinking, in a message or a chunk."""
    if isinstance(message.content, str):
        aside = message.additional_kwargs.get("reasoning_content")
        return aside if isinstance(aside, str) else ""
    return "".join(
        text for block in message.content if isinstance(block, Mapping) for text in _reasoning_of_block(block)
    )


def _reasoning_of_block(block: Mapping[str, Any]) -> Iterator[str]:
    kind = block.get("type")
    if kind == "thinking":  # Anthropic, Google
        yield str(block.get("thinking") or "")
    elif kind == "reasoning":
        if isinstance(block.get("reasoning"), str):  # LangChain's own form
            yield block["reasoning"]
        else:  # OpenAI
            for part in block.get("summary") or ():
                yield str(part.get("text") or "")


def finish_reason(message: AIMessage) -> str | None:
    """Why the model stopped: ``stop``, ``tool_calls``, ``length``, ``content_filter``, or the provider's own word."""
    told = message.response_metadata
    incomplete = told.get("incomplete_details")
    word = (
        (incomplete or {}).get("reason") or told.get("finish_reason") or told.get("stop_reason") or told.get("status")
    )
    reason = None
    if isinstance(word, str):
        reason = _REASON_OF.get(word.lower(), word.lower()[:64])
    if message.tool_calls and reason in (None, "stop"):  # Google, and OpenAI's responses
        return "tool_calls"
    return reason


def usage(message: AIMessage) -> dict[str, int] | None:
    """What the answer cost in tokens, where the provider tells."""
    told = message.usage_metadata
    if told is None:
        return None
    return {name: told[name] for name in ("input_tokens", "output_tokens", "total_tokens")}


def plain(value: object) -> Any:
    """The nearest thing that strict JSON can hold."""
    try:
        text = json.dumps(value, default=lambda other: to_jsonable_python(other, fallback=str))
    except (TypeError, ValueError, RecursionError):  # odd keys, or it holds itself
        return str(value)
    return json.loads(text, parse_constant=str)


def whole_characters(text: str) -> str:
    """Join halves of surrogate pairs, and replace halves that stand alone: no provider takes them."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
