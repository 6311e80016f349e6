"""An agent without a model: what a message says is what happens. Its memory is a dict."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator
from dataclasses import replace

import anyio

from resumable_stream import StreamEvent, StreamFailure
from resumable_stream.agent import HistoryMessage, Turn


class ScriptedAgent:
    """Answers with the words of the message. Some words do something:

    ``hold`` waits until the test says ``release.set()``; ``fail`` raises a ``StreamFailure``; ``break`` raises an error
    whose text is secret; ``pace:<seconds>`` waits after each word that follows.

    Attributes:
        turns: the turns that were begun, in order.
        held: set while an answer waits at ``hold``.
        kept: what ``keep_partial`` was given, by run.
    """

    def __init__(self, *, title: str | None = None) -> None:
        self.turns: list[Turn] = []
        self.closed: list[str] = []
        self.held = anyio.Event()
        self.release = anyio.Event()
        self.kept: dict[str, str] = {}
        self.deleted: list[str] = []
        self.threads: dict[str, list[HistoryMessage]] = defaultdict(list)
        self.title_text = title
        self.title_release: anyio.Event | None = None
        self.down: Exception | None = None

    async def stream(self, turn: Turn) -> AsyncGenerator[StreamEvent, None]:
        self.turns.append(turn)
        thread = self.threads[turn.thread_id]
        thread.append(_human(turn))
        said = []
        pace = 0.0
        try:
            for word in turn.message.split():
                if word == "hold":
                    self.held.set()
                    await self.release.wait()
                    self.held = anyio.Event()
                elif word == "fail":
                    raise StreamFailure("scripted", "It failed as it was told to.")
                elif word == "break":
                    raise RuntimeError("a secret that nobody may see")
                elif word.startswith("pace:"):
                    pace = float(word.removeprefix("pace:"))
                elif word.startswith("tool:"):
                    name = word.removeprefix("tool:")
                    call = {"id": f"call-{name}", "name": name, "args": {"q": None}}
                    yield StreamEvent("tool_call", call)
                else:
                    said.append(word + " ")
                    yield StreamEvent("text", word + " ")
                await anyio.sleep(pace)
            thread.append(HistoryMessage(type="ai", content="".join(said), id=f"ai-{turn.run_id}", run_id=turn.run_id))
            yield StreamEvent("message_end", {"message_id": f"ai-{turn.run_id}"})
        finally:
            self.closed.append(turn.run_id)

    async def history(self, thread_id: str) -> list[HistoryMessage]:
        if self.down is not None:
            raise self.down
        return list(self.threads[thread_id])

    async def keep_partial(self, turn: Turn, text: str) -> None:
        self.kept[turn.run_id] = text
        thread = self.threads[turn.thread_id]
        if not any(message.id == turn.message_id for message in thread):
            thread.append(_human(turn))
        if any(m.run_id == turn.run_id and m.type == "ai" for m in thread):
            return
        thread.append(
            HistoryMessage(
                type="ai",
                content=text,
                id=f"stopped-{turn.run_id}",
                run_id=turn.run_id,
                stopped=True,
            )
        )

    async def title(self, message: str) -> str | None:
        if self.title_release is not None:
            await self.title_release.wait()
        return self.title_text

    async def delete(self, thread_id: str) -> None:
        self.deleted.append(thread_id)
        self.threads.pop(thread_id, None)


def _human(turn: Turn) -> HistoryMessage:
    return HistoryMessage(type="human", content=turn.message, id=turn.message_id, run_id=turn.run_id)


def without_run(message: HistoryMessage) -> HistoryMessage:
    """The message as an agent gives it that does not know runs."""
    return replace(message, run_id=None)
