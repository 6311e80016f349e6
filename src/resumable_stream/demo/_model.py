"""A chat model without a model: it streams scripted answers as a provider would."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import anyio
from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    CallbackManagerForLLMRun,
)
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.chat_models import (
    agenerate_from_stream,
    generate_from_stream,
)
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    ToolMessage,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from ._script import NOT_SEARCHED, script, search_query, summary, title, tokens, wants


class ScriptedError(RuntimeError):
    """What the model raises in the middle of its answer when a prompt says "fail"."""


@dataclass(frozen=True, slots=True)
class _Reply:
    """What one call of the model gives.

    Attributes:
        text: the tokens.
        query: what the ``search`` tool is called with, instead of a text.
        silence: seconds before the first token.
        fails: whether it breaks off halfway.
    """

    text: tuple[str, ...] = ()
    query: str | None = None
    silence: float = 0.0
    fails: bool = False


class ScriptedChatModel(BaseChatModel):
    """Answers any prompt with Markdown about this library, at a model's pace, without a network.

    The answer depends on the last human message alone: ``script(prompt)`` is exactly what is
    streamed. Some words in it (as whole words, in any case) do something special:

    - "long": some 400 tokens instead of some 150;
    - "search" or "look up": a call of the tool ``search``, where it is bound, then an answer made
      from what it returned;
    - "fail": an exception in the middle of the answer;
    - "silent": no token for ``silence`` seconds, then the answer.

    Attributes:
        task: ``chat``; ``title`` answers with a short title for the last human message;
            ``summary`` with a summary of what it lists.
        tokens_per_second: the pace; 0 means without any pause.
        silence: seconds that "silent" waits.
    """

    task: Literal["chat", "title", "summary"] = "chat"
    tokens_per_second: float = 40.0
    silence: float = 60.0
    tool_names: frozenset[str] = frozenset()

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return a model that may call these tools; only ``search`` is ever called."""
        names = frozenset(convert_to_openai_tool(tool)["function"]["name"] for tool in tools)
        return self.model_copy(update={"tool_names": names})

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return generate_from_stream(self._stream(messages, stop, run_manager, **kwargs))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return await agenerate_from_stream(self._astream(messages, stop, run_manager, **kwargs))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for pause, chunk in self._timed_chunks(messages):
            time.sleep(pause)
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for pause, chunk in self._timed_chunks(messages):
            await anyio.sleep(pause)
            yield chunk

    def _timed_chunks(self, messages: list[BaseMessage]) -> Iterator[tuple[float, ChatGenerationChunk]]:
        """The chunks of one call, each with the seconds to wait before it."""
        reply = self._reply(messages)
        pace = 1 / self.tokens_per_second if self.tokens_per_second else 0.0
        if reply.silence:
            # An empty chunk comes at once, as the head of a provider's response does.
            yield 0.0, _chunk(AIMessageChunk(content=""))
            yield reply.silence, _chunk(AIMessageChunk(content=""))
        if reply.query is not None:
            yield from ((pace, chunk) for chunk in _call_chunks(reply.query))
        for number, token in enumerate(reply.text):
            if reply.fails and number == len(reply.text) // 2:
                raise ScriptedError('the prompt said "fail"')
            yield pace, _chunk(AIMessageChunk(content=token))
        finish = "stop" if reply.query is None else "tool_calls"
        metadata = {"finish_reason": finish, "model_name": "scripted"}
        yield 0.0, _chunk(AIMessageChunk(content="", response_metadata=metadata))
        usage = _usage(messages, len(reply.text) or 12)
        yield (
            0.0,
            _chunk(AIMessageChunk(content="", usage_metadata=usage, chunk_position="last")),
        )

    def _reply(self, messages: list[BaseMessage]) -> _Reply:
        prompts = [index for index, one in enumerate(messages) if isinstance(one, HumanMessage)]
        last = prompts[-1] if prompts else len(messages) - 1
        prompt = str(messages[last].text) if messages else ""
        if self.task == "title":
            return _Reply(tuple(tokens(title(prompt))))
        if self.task == "summary":
            return _Reply(tuple(tokens(summary(prompt))))
        results = [one for one in messages[last:] if isinstance(one, ToolMessage)]
        if results:
            if results[-1].status != "success":
                return _Reply(tuple(tokens(NOT_SEARCHED)))
            found = str(results[-1].text)
            return _Reply(tuple(script(prompt, found=found)), fails=wants(prompt, "fail"))
        silence = self.silence if wants(prompt, "silent") else 0.0
        if "search" in self.tool_names and (wants(prompt, "search") or wants(prompt, "look up")):
            return _Reply(query=search_query(prompt), silence=silence)
        return _Reply(tuple(script(prompt)), silence=silence, fails=wants(prompt, "fail"))


def _chunk(message: AIMessageChunk) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=message)


def _call_chunks(query: str) -> Iterator[ChatGenerationChunk]:
    """One tool call, as OpenAI streams it: the name first, then its arguments in pieces."""
    number = zlib.crc32(query.encode("utf-8", "surrogatepass"))
    yield _call_part("", name="search", call_id=f"call_{number:08x}")
    arguments = json.dumps({"query": query})
    for start in range(0, len(arguments), 8):
        yield _call_part(arguments[start : start + 8])


def _call_part(arguments: str, *, name: str | None = None, call_id: str | None = None) -> ChatGenerationChunk:
    part = tool_call_chunk(name=name, args=arguments, id=call_id, index=0)
    return _chunk(AIMessageChunk(content="", tool_call_chunks=[part]))


def _usage(messages: list[BaseMessage], written: int) -> UsageMetadata:
    read = sum(len(tokens(str(message.text))) for message in messages)
    return UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)
