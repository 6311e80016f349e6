"""A LangGraph graph as an agent: its runs as events, its threads in Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.constants import END, START
from langgraph.errors import GraphDrained
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import RunControl
from langgraph.types import StateSnapshot, StateUpdate

from .._errors import StreamFailure, StreamHandOver
from .._events import StreamEvent
from ..logs import get_logger
from ._answers import take_back
from ._checkpoint import Guard, Pool, Superseded, checkpoint_saver, durable, settling
from ._content import whole_characters
from ._failures import describe, failure_of
from ._history import RUN, history_of
from ._protocol import HistoryMessage, Turn
from ._pump import RunTasks, pumped
from ._repair import change, mend, stopped, unsaved
from ._start import OVER, Start, answered, continued, index_of, messages_of
from ._title import title_for
from ._translate import Translator, answering_nodes, question_of

logger = get_logger(__name__)

Graph = CompiledStateGraph[Any, Any, Any, Any]
Part = tuple[tuple[str, ...], str, Any]

_CLEAR: Final = StateUpdate(None, END)
"""LangGraph's way to drop the tasks of a thread that have not run, keeping what others have written."""
_CLEARINGS: Final = 3


class _Drain(RunControl):
    """Asks LangGraph to stop before its next step once an event is set."""

    def __init__(self, wanted: asyncio.Event | None) -> None:
        super().__init__()
        self._wanted = wanted

    @property
    def drain_requested(self) -> bool:
        return self._wanted is not None and self._wanted.is_set()


class LangGraphAgent:
    """Serves a compiled graph whose state has ``messages``.

    Made once for a process, used for any number of threads at a time. It holds no connection and no task between
    calls. Errors of Postgres outside of `stream` are passed on as psycopg's.

    Args:
        graph: compiled without a checkpointer; each run and each look at a thread gets one of its own. A graph that
            was compiled with a checkpointer keeps it.
        pool: as made by `open_pool`. It is opened and closed by the caller, and may be left out for a graph with a
            checkpointer.
        title_model: a small model for titles; without one there are none.
        answer_nodes: the nodes whose text is the answer. By default all of the graph that neither run tools nor are
            hooks. ``outer/inner`` names a node of a subgraph, whose text then comes piece by piece. A model call that
            is tagged ``nostream`` never counts.
        context: makes what the graph's nodes and tools get as ``runtime.context``. By default that is the turn, for a
            graph without a ``context_schema``. It is not saved with the thread, as configuration would be.
        state_types: classes of yours in the graph's state; the others are loaded from Postgres as plain data.
        max_steps: a run that takes more steps of the graph than this fails.

    Raises:
        ValueError: the graph has no ``messages``, no such nodes, or neither a checkpointer nor a pool.
    """

    def __init__(
        self,
        graph: Graph,
        pool: Pool | None = None,
        *,
        title_model: BaseChatModel | None = None,
        answer_nodes: Collection[str] | None = None,
        context: Callable[[Turn], Any] | None = None,
        state_types: Iterable[type] = (),
        max_steps: int = 100,
    ) -> None:
        if "messages" not in graph.channels:
            raise ValueError("the graph's state needs a key 'messages', as in MessagesState")
        if isinstance(graph.checkpointer, BaseCheckpointSaver):
            pool = None
        elif pool is None:
            raise ValueError("the graph has no checkpointer, so a pool is needed: see open_pool()")
        self._graph = graph
        self._pool = pool
        self._title_model = title_model
        self._answering = answering_nodes(graph, answer_nodes)
        self._context = context
        self._state_types = tuple(state_types)
        self._max_steps = max_steps

    @property
    def resumable(self) -> bool:
        """Whether another process can go on with a run: what the graph has done outlives this one.

        Not for a graph with breakpoints, which is to wait there, whoever runs it.
        """
        pauses = self._graph.interrupt_before_nodes or self._graph.interrupt_after_nodes
        return not pauses and not isinstance(self._graph.checkpointer, InMemorySaver)

    async def stream(self, turn: Turn) -> AsyncGenerator[StreamEvent, None]:
        """Answer a turn, event by event: see `Agent.stream`.

        A thread that a crash has left in the middle of something is repaired first. With the id of a message that the
        thread has already, that message is answered anew, and what followed it is dropped.

        With ``turn.told`` the graph goes on from its last checkpoint. A model call that was under way begins again,
        with a new message. So does a tool, which may have done its work already: tools are run at least once. A
        ``message_end``, ``tool_call`` or ``tool_result`` that has been told is never lost, because it is told when it
        has been saved; with a checkpointer of the graph's own it may be told a moment before. Where the graph no longer
        has the node that would be next, it begins from its start with the messages that the thread has.

        Raises:
            StreamFailure: with the codes ``provider_auth``, ``provider_rate_limited``, ``provider_unavailable``,
                ``provider_rejected``, ``context_too_long``, ``provider_failed``, ``too_many_steps``,
                ``storage_unavailable`` and ``agent_error``. What it was exactly is in the log of this module, without
                any text from outside. ``not_interrupted`` and ``unknown_interrupt`` for answers that the thread does
                not wait for; it is then as it was.
            StreamHandOver: ``turn.drain`` was set, and the graph has more to do.
        """
        try:
            graph = self._bound(turn.guard)
            start = await self._start(graph, turn)
            for event in start.untold:
                yield event
            if start.input is OVER:
                return
            translator = Translator(self._answering, start.known, start.calls)
            tasks = RunTasks()
            parts = self._run(graph, turn, start.input, tasks, subgraphs=translator.subgraphs)
            async with settling(graph.checkpointer), pumped(parts, tasks) as reader:
                async for namespace, mode, data in reader:
                    events = list(translator.feed(namespace, mode, data))
                    if events and mode == "updates":
                        await durable(graph.checkpointer)
                    for event in events:
                        yield event
            for event in translator.end():
                yield event
        except StreamFailure:
            raise  # a tool or node of the user's that has chosen its words
        except Superseded:
            raise StreamHandOver("another process goes on with the run") from None
        except GraphDrained:
            raise StreamHandOver("the run was asked to stop here, and can go on elsewhere") from None
        except Exception as error:  # noqa: BLE001 - any of them is told as a code
            failure = failure_of(error)
            logger.error(
                "run %s of thread %s failed with %s: %s",
                turn.run_id,
                turn.thread_id,
                failure.code,
                describe(error),
                extra={"run_id": turn.run_id, "thread_id": turn.thread_id},
            )
            # The text of the cause must not follow it into somebody's log.
            raise failure from None

    async def history(self, thread_id: str) -> list[HistoryMessage]:
        """The messages of a thread, oldest first; empty when there is no such thread.

        While a run is active, what it has finished so far is among them.
        """
        if "\0" in thread_id:  # Postgres cannot hold it, so no thread has it
            return []
        snapshot = await self._bound().aget_state(self._config(thread_id))
        return history_of(messages_of(snapshot), [question_of(one) for one in snapshot.interrupts])

    async def keep_partial(self, turn: Turn, text: str) -> None:
        """Save what a stopped or dead run had said: see `Agent.keep_partial`.

        The question is saved too if the run died before that. A run that waits for a person is left waiting.
        """
        graph, config = self._bound(), self._config(turn.thread_id)
        snapshot = await graph.aget_state(config)
        if snapshot.interrupts:
            return
        unfinished = bool(snapshot.tasks)
        snapshot = await _cleared(graph, config, snapshot)
        messages = messages_of(snapshot)
        place, now = index_of(messages, turn.message_id), messages
        if place is None:
            now = [*messages, _question(turn)] if turn.answers is None else messages
            place = len(now) - 1
        elif not unfinished and mend(messages) == messages and _is_answered(messages, place, text):
            return  # it was complete, or this has been done before
        if now:
            kept = stopped(now, place, whole_characters(text), f"stopped-{turn.run_id}")
            await _write(graph, config, messages, kept)

    async def title(self, message: str) -> str | None:
        """A short title for a thread that begins with this message; ``None`` when there is none to be had."""
        if self._title_model is None:
            return None
        return await title_for(message, self._title_model)

    async def delete(self, thread_id: str) -> None:
        """Forget a thread. A run that is still active would write it again: end it first."""
        if "\0" in thread_id:
            return
        saver = cast("BaseCheckpointSaver[Any]", self._bound().checkpointer)
        await saver.adelete_thread(thread_id)

    async def _start(self, graph: Graph, turn: Turn) -> Start:
        config = self._config(turn.thread_id)
        inside = turn.answers is not None or any(len(path) > 1 for path in self._answering)
        snapshot = await graph.aget_state(config, subgraphs=inside)
        if turn.answers is not None:
            saver = cast("BaseCheckpointSaver[Any]", graph.checkpointer)
            await take_back(saver, snapshot, turn.answers)
        if turn.told is not None:
            restarted = await self._has_changed(graph, config)
            if restarted:
                snapshot = await _mended(graph, config, await _cleared(graph, config, snapshot))
            start = continued(snapshot, turn, turn.told, self._answering)
            if start is not None:
                return replace(start, input={"messages": []}) if restarted else start
        elif turn.answers is not None:
            return answered(snapshot, turn)
        messages = messages_of(await _mended(graph, config, await _cleared(graph, config, snapshot)))
        asked = index_of(messages, turn.message_id)
        stale = () if asked is None else messages[asked + 1 :]
        news = [_question(turn), *(RemoveMessage(one.id or "") for one in stale)]
        return Start({"messages": news}, frozenset(one.id for one in messages if one.id))

    async def _has_changed(self, graph: Graph, config: RunnableConfig) -> bool:
        """Whether the thread was to go on at a node that the graph does not have: it has been changed since."""
        saver = cast("BaseCheckpointSaver[Any]", graph.checkpointer)
        saved = await saver.aget_tuple(config)
        if saved is None:
            return False
        updated = [*(saved.checkpoint.get("updated_channels") or ()), *(one[1] for one in saved.pending_writes or ())]
        return any(name.startswith("branch:to:") and name not in graph.channels for name in updated)

    async def _run(
        self, graph: Graph, turn: Turn, start: Any, tasks: RunTasks, *, subgraphs: bool
    ) -> AsyncGenerator[Part, None]:
        context = turn if self._graph.context_schema is None else None
        if self._context is not None:
            context = self._context(turn)
        parts = graph.astream(
            start,
            {**self._config(turn.thread_id), "callbacks": [tasks]},
            context=context,
            stream_mode=["messages", "updates"],
            subgraphs=subgraphs,
            # Saved while the next step runs; all of it is saved before the stream ends.
            durability="async",
            control=_Drain(turn.drain),
        )
        async with aclosing(cast("AsyncGenerator[Any, None]", parts)) as stream:
            async for part in stream:
                yield part if subgraphs else ((), *part)

    def _bound(self, guard: Guard | None = None) -> Graph:
        """The graph with a checkpointer of its own: one saver does one thing at a time, also over a pool."""
        if self._pool is None:
            return self._graph
        saver = checkpoint_saver(self._pool, state_types=self._state_types, guard=guard)
        return self._graph.copy(update={"checkpointer": saver})

    def _config(self, thread_id: str) -> RunnableConfig:
        # Nothing else goes in here: all of it is saved with every checkpoint.
        return {"configurable": {"thread_id": thread_id}, "recursion_limit": self._max_steps}


def _is_answered(messages: Sequence[AnyMessage], place: int, text: str) -> bool:
    """Whether a thread without tasks has all of a turn; not where keeping it was broken off after the first step."""
    after = messages[place + 1 :]
    return (bool(after) and isinstance(after[-1], AIMessage)) or not unsaved(after, text).strip()


def _question(turn: Turn) -> HumanMessage:
    text = whole_characters(turn.message)
    return HumanMessage(text, id=turn.message_id, response_metadata={RUN: turn.run_id})


async def _cleared(graph: Graph, config: RunnableConfig, snapshot: StateSnapshot) -> StateSnapshot:
    """The thread without the tasks that it was left with; what tasks had already written is kept.

    A task may have written and not be followed by a checkpoint yet. Then it is not among those that are next, but a new
    input would still drop what it wrote, such as the question that the run was about. Taking in what is written brings
    about tasks of its own, hence again.
    """
    for _ in range(_CLEARINGS):
        if not snapshot.tasks:
            break
        await graph.abulk_update_state(config, [[_CLEAR]])
        snapshot = await graph.aget_state(config)
    return snapshot


async def _mended(graph: Graph, config: RunnableConfig, snapshot: StateSnapshot) -> StateSnapshot:
    """The thread with a result for each tool call."""
    messages = messages_of(snapshot)
    mended = mend(messages)
    if mended == messages:
        return snapshot
    await _write(graph, config, messages, mended)
    return await graph.aget_state(config)


async def _write(graph: Graph, config: RunnableConfig, old: Sequence[AnyMessage], new: Sequence[AnyMessage]) -> None:
    update = change(old, new)
    if update:
        # As if it had come in; then without the tasks that an input brings about.
        steps = [[StateUpdate({"messages": update}, START)], [_CLEAR]]
        await graph.abulk_update_state(config, steps)
