"""Promise 1 of the chat app: a run is stopped from another process, whatever it waits for, and the thread goes on.

The model is a real client of OpenAI or Anthropic, whose server here refuses what theirs refuse: a tool call without a
result.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Final

import pytest

from agent.provider_wire import Call, Gate, ProviderWire, Reply
from app.serving import DEADLINE, chat_on
from promises.chat.servers import Pair, Start
from promises.chat.viewers import Viewer
from support import wait_until


@pytest.fixture(scope="module")
async def provided(start: Start) -> AsyncIterator[Pair]:
    """Two server processes whose models are behind the wire."""
    async with AsyncExitStack() as stack:
        here, there = [await stack.enter_async_context(start(stream_lease_seconds=2)) for _ in range(2)]
        await asyncio.gather(here.ready(), there.ready())
        yield Pair(here, there)


@dataclass(frozen=True, slots=True)
class Moment:
    """When a run is stopped.

    Attributes:
        reply: the model's, which stands still at its gate where it has a text of two pieces.
        shown: the text that viewers have had by then.
        calls: whether a tool is under way.
    """

    name: str
    reply: Reply
    shown: str
    calls: bool = False

    def reached(self, gate: Gate, viewer: Viewer) -> bool:
        """Whether it has come."""
        waits = any(event["type"] == "tool_call" for event in viewer.events) if self.calls else gate.reached.is_set()
        return waits and viewer.text == self.shown


MOMENTS: Final = (
    Moment("the model is silent", Reply(text=["One ", "two"]), "One "),
    Moment("it has said nothing yet", Reply(text=["", "two"]), ""),
    Moment(
        "a tool is silent",
        Reply(text=["I look. "], calls=[Call("call_a", "search", {"query": "slow"})]),
        "I look. ",
        calls=True,
    ),
)


@pytest.mark.promise(number=1)
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.name)
async def test_a_run_is_stopped_from_another_process_while(
    moment: Moment, provider: str, provided: Pair, wire: ProviderWire
) -> None:
    """Viewers at both processes get what was said and one end, `cancelled`; the model's connection is closed.

    Stopping again, at once, after the end, or with the id of a run that has ended, is harmless. The thread has what was
    said, marked; no tool call is left without a result: the provider takes the next turn.

    Fails without the interruption of the source (`_producer.py`), and without the keeping of what was said
    (`runs/_answer.py`).
    """
    gate, again = Gate(), Gate()
    wire.script(replace(moment.reply, gate=gate), Reply(text=["Fi", "ne."], gate=again))
    mount = "/anthropic" if provider == "anthropic" else ""
    async with chat_on(provided.here.url + mount) as here, chat_on(provided.there.url + mount) as there:
        sent = await here.send("hello")
        thread_id, run_id = sent["thread_id"], sent["run_id"]
        viewers = Viewer(sent, mount), Viewer(sent, mount)
        async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as tasks:
            for viewer, process in zip(viewers, provided, strict=True):
                tasks.create_task(viewer.follow_to_the_end(process.port))
            await wait_until(lambda: all(moment.reached(gate, viewer) for viewer in viewers))
            stops = await asyncio.gather(there.stop(thread_id), there.stop(thread_id, run_id), here.stop(thread_id))
            assert {stop.status_code for stop in stops} == {200}
            assert any(stop.json()["stopped"] for stop in stops)
        for viewer in viewers:
            viewer.check()
            assert viewer.text == moment.shown
            assert [event["data"] for event in viewer.events if event["type"] == "end"] == [{"status": "cancelled"}]
        if not moment.calls:
            await wait_until(gate.left.is_set, what="the provider's stream is closed")
        assert (await there.stop(thread_id)).json()["stopped"] is False

        question, *partial = await there.history(thread_id)
        assert (question["type"], question["content"]) == ("human", "hello")
        assert [(one["content"], one.get("stopped")) for one in partial] == [(moment.shown, True)] * bool(moment.shown)
        assert [call["status"] for one in partial for call in one.get("tool_calls", ())] == ["cancelled"] * moment.calls

        following = await there.send("go on", thread_id)
        await wait_until(again.reached.is_set)
        assert (await here.stop(thread_id, run_id)).json()["stopped"] is False
        again.open()
        assert await here.answer(thread_id, run_id=following["run_id"]) == "Fine."
