"""From what LangGraph streams to events. No I/O: parts go in, events come out.

Text, reasoning and the first sign of a message come from the parts of mode ``messages``; everything that must be
complete or must carry the id that the history has comes from ``updates``, where a finished node's messages are.
Chunks are not keyed by their ids alone: OpenAI's responses change theirs after the first one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolCall, ToolMessage
from langchain_core.messages.utils import convert_to_messages
from langgraph.prebuilt import ToolNode
from langgraph.pregel import Pregel
from langgraph.types import Interrupt, Overwrite

from .._events import StreamEvent
from ._content import finish_reason, plain, reasoning_of, text_of, usage

MAX_RESULT: Final = 20_000
"""Characters of a tool's result that go into its event; the history has it whole."""

Path = tuple[str, ...]
"""Where a part comes from: the nodes that lead to its subgraph, then the node."""

CallKey = tuple[str | None, str | None]
"""A tool call: the ids of its message and its own, which some models use again."""

_HOOKS: Final = ("before_agent", "before_model", "after_model", "after_agent")
_OTHER_NODES: Final = frozenset(
    {"__start__", "tools", "pre_model_hook", "post_model_hook", "generate_structured_response"}
)
_INTERNAL: Final = frozenset({"lc_source", "lc_internal_call"})
"""Metadata by which LangChain's middleware marks model calls of its own."""


def answering_nodes(graph: Pregel[Any, Any, Any, Any], chosen: Collection[str] | None) -> frozenset[Path]:
    """Decide which nodes' text is the agent's answer.

    Args:
        graph: the compiled graph.
        chosen: names of nodes; ``outer/inner`` is a node of the subgraph that is the node ``outer``. By default every
            node of the graph itself, except those that run tools or are hooks of the agent loop.

    Raises:
        ValueError: the graph has no such node.
    """
    if chosen is None:
        return frozenset(
            (name,)
            for name, node in graph.nodes.items()
            if name not in _OTHER_NODES
            and name.rpartition(".")[2] not in _HOOKS
            and not isinstance(node.bound, ToolNode)
        )
    paths = frozenset(tuple(name.split("/")) for name in chosen)
    for path in paths:
        if path[0] not in graph.nodes:
            known = ", ".join(sorted(graph.nodes))
            raise ValueError(f"the graph has no node {path[0]!r}; it has {known}")
    return paths


@dataclass(slots=True)
class _Growing:
    """A message that has been begun: the node of ``path`` is at it, in a task of LangGraph's."""

    task: str
    path: Path
    ids: set[str] = field(default_factory=set)
    text: list[str] = field(default_factory=list)

    def may_go_on_as(self, message_id: str) -> bool:
        """Whether a chunk with a new id can belong to it: there is one id of LangChain's and one of the provider's."""
        return all(_made_here(one) != _made_here(message_id) for one in self.ids)

    def reads(self, text: str) -> bool:
        """Whether a message with this text is this one: a node may put what was streamed into a new message."""
        return "".join(self.text).strip() == text.strip()


class Translator:
    """Translates one run.

    Args:
        answering: as `answering_nodes` says.
        known: ids of messages that were in the thread before; a subgraph gives them back with the new ones.
        calls: the tool calls in these messages.
    """

    def __init__(
        self, answering: frozenset[Path], known: Collection[str] = (), calls: Mapping[CallKey, ToolCall] | None = None
    ) -> None:
        self._answering = answering
        self._graphs = {path[:-1] for path in answering} | {()}
        self._growing: list[_Growing] = []
        self._done: set[str] = set(known)
        self._calls = dict(calls or {})
        self._interrupts: dict[str, Interrupt] | None = None

    @property
    def subgraphs(self) -> bool:
        """Whether parts of subgraphs are needed."""
        return self._graphs != {()}

    def feed(self, namespace: Path, mode: str, data: Any) -> Iterator[StreamEvent]:
        """Take one part, as ``astream`` gives it with modes ``messages`` and ``updates``."""
        inside = tuple(name.partition(":")[0] for name in namespace)
        if inside not in self._graphs:
            return
        if mode == "messages":
            message, metadata = data
            path = (*inside, str(metadata.get("langgraph_node")))
            own = path in self._answering and _INTERNAL.isdisjoint(metadata)
            if own and isinstance(message, AIMessage):
                yield from self._message(message, path, str(metadata.get("langgraph_checkpoint_ns")))
        else:
            for node, update in data.items():
                if node == "__interrupt__":
                    if not inside:
                        self._interrupts = {**(self._interrupts or {}), **{one.id: one for one in update}}
                    continue
                yield from self._update(update, (*inside, node))

    def end(self) -> Iterator[StreamEvent]:
        """What is to be told after the last part: all that the run waits for, which its tasks said one by one."""
        if self._interrupts is not None:
            yield interrupted(self._interrupts.values())

    def _message(self, message: AIMessage, path: Path, task: str) -> Iterator[StreamEvent]:
        """Take a chunk, or a whole message of a model that does not stream or of a node that made it itself."""
        message_id = message.id or ""
        if message_id in self._done:
            return
        begun = [one for one in self._growing if one.task == task]
        growing = next((one for one in begun if message_id in one.ids), None)
        if not isinstance(message, AIMessageChunk):
            if growing is None:
                growing = next((one for one in begun if one.reads(text_of(message))), None)
            if growing is not None:  # what was streamed, once more as a whole
                growing.ids.add(message_id)
                return
        elif growing is None and begun and begun[-1].may_go_on_as(message_id):
            growing = begun[-1]
        if growing is None:
            growing = _Growing(task, path)
            self._growing.append(growing)
            yield _start(message)
        growing.ids.add(message_id)
        growing.text.append(text_of(message))
        yield from _said(message)

    def _update(self, update: Any, path: Path) -> Iterator[StreamEvent]:
        """Take what a finished node has written."""
        for message in _messages(update):
            if message.id in self._done:
                if isinstance(message, AIMessage):
                    yield from self._changed(message)
                continue
            if isinstance(message, AIMessage):
                yield from self._finished(message, path)
            elif isinstance(message, ToolMessage):
                yield tool_result(message)
            if message.id:  # one that a node gives as a dict gets its id only in the state
                self._done.add(message.id)

    def _finished(self, message: AIMessage, path: Path) -> Iterator[StreamEvent]:
        answers = path in self._answering
        if answers and not self._was_streamed(message, path):
            yield _start(message)
            yield from _said(message)
        self._calls.update(calls_of(message))
        yield from tool_calls(message)
        if answers and message.id:
            yield _end(message)

    def _changed(self, message: AIMessage) -> Iterator[StreamEvent]:
        """Tool calls of a message that was told, as a hook has changed them since."""
        for key, call in calls_of(message).items():
            before = self._calls.get(key)
            if before is not None and (call["name"], call["args"]) != (before["name"], before["args"]):
                self._calls[key] = call
                yield _tool_call(call)

    def _was_streamed(self, message: AIMessage, path: Path) -> bool:
        """Find the beginning of a finished message, and let it go."""
        here = [one for one in self._growing if one.path == path]
        growing = next((one for one in here if message.id in one.ids), None)
        if growing is None:
            growing = next((one for one in here if one.reads(text_of(message))), None)
        if growing is None:
            return False
        self._done |= growing.ids
        self._growing.remove(growing)
        return True


def _made_here(message_id: str) -> bool:
    """Whether LangChain made an id for a message that had none of its provider's."""
    return message_id.startswith(("lc_run-", "run-"))


def _start(message: AIMessage) -> StreamEvent:
    return StreamEvent("message_start", {"message_id": message.id or ""})


def _said(message: AIMessage) -> Iterator[StreamEvent]:
    if reasoning := reasoning_of(message):
        yield StreamEvent("reasoning", reasoning)
    if text := text_of(message):
        yield StreamEvent("text", text)


def whole(message: AIMessage) -> Iterator[StreamEvent]:
    """All events of a finished message."""
    yield _start(message)
    yield from _said(message)
    yield from tool_calls(message)
    yield _end(message)


def calls_of(message: AIMessage) -> dict[CallKey, ToolCall]:
    """The tool calls of a message."""
    return {(message.id, call["id"]): call for call in message.tool_calls}


def tool_calls(message: AIMessage) -> Iterator[StreamEvent]:
    """What the agent wants done."""
    yield from map(_tool_call, message.tool_calls)


def _tool_call(call: ToolCall) -> StreamEvent:
    return StreamEvent("tool_call", {"id": call["id"] or "", "name": call["name"], "args": plain(call["args"])})


def _end(message: AIMessage) -> StreamEvent:
    data: dict[str, Any] = {"message_id": message.id}
    if (reason := finish_reason(message)) is not None:
        data["finish_reason"] = reason
    if (cost := usage(message)) is not None:
        data["usage"] = cost
    return StreamEvent("message_end", data)


def tool_result(message: ToolMessage) -> StreamEvent:
    """What a tool returned, cut where it is very long."""
    content = text_of(message)
    if len(content) > MAX_RESULT:
        content = content[: MAX_RESULT - 1] + "…"
    data = {"id": message.tool_call_id, "name": message.name or "", "content": content}
    return StreamEvent("tool_result", {**data, "status": message.status})


def interrupted(interrupts: Iterable[Interrupt]) -> StreamEvent:
    """What the run waits for a person to say."""
    return StreamEvent("interrupted", {"interrupts": [question_of(one) for one in interrupts]})


def question_of(interrupt: Interrupt) -> dict[str, Any]:
    """An interrupt as people's programs get it."""
    return {"id": interrupt.id, "value": plain(interrupt.value)}


def _messages(update: Any) -> Iterator[BaseMessage]:
    """The messages in what a node returned: a state, several, or commands' updates."""
    for part in update if isinstance(update, list | tuple) else [update]:
        value = part.get("messages") if isinstance(part, Mapping) else getattr(part, "messages", None)
        if isinstance(value, Overwrite):
            value = value.value
        if value is not None:
            yield from convert_to_messages(value if isinstance(value, list) else [value])
