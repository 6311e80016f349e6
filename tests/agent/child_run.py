"""A process that answers a turn, and prints each event as a line of JSON.

Arguments: the database, the providers' server, the provider. The first line that it reads is JSON with the turn and:

- ``pause``: wait for ever once a tool has returned, before the model is called again.
- ``approval``: names of tools that a person has to approve.

Any further line asks it to drain. Its tool ``stuck`` never returns, and prints that it was called.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from langchain.agents.middleware import AgentMiddleware, AgentState, HumanInTheLoopMiddleware
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langgraph.runtime import Runtime

from agent.conftest import make_model
from agent.helpers import look_up
from resumable_stream import StreamHandOver
from resumable_stream.agent import LangGraphAgent, Told, Turn, build_graph, open_pool


def say(kind: str, data: Any = "") -> None:
    print(json.dumps([kind, data]), flush=True)


@tool
async def stuck(word: str) -> str:
    """Wait."""
    say("stuck")
    await asyncio.Event().wait()
    return word


class Pause(AgentMiddleware):
    async def abefore_model(self, state: AgentState[Any], runtime: Runtime[Any]) -> None:
        if isinstance(state["messages"][-1], ToolMessage):
            say("paused")
            await asyncio.Event().wait()


def turn_of(fields: dict[str, Any], drain: asyncio.Event) -> Turn:
    told = fields.pop("told")
    if told is not None:
        calls = told.pop("calls")
        told = Told(**{name: frozenset(ids) for name, ids in told.items()}, calls=calls)
    return Turn(**fields, told=told, drain=drain)


async def main(database_url: str, wire_url: str, provider: str) -> None:
    async with open_pool(database_url) as pool:
        model = make_model(wire_url, provider)
        print("ready", flush=True)
        order = json.loads(sys.stdin.readline())
        drain = asyncio.Event()
        middleware: list[AgentMiddleware[Any, Any, Any]] = [Pause()] if order["pause"] else []
        if order["approval"]:
            middleware.append(HumanInTheLoopMiddleware(dict.fromkeys(order["approval"], True)))
        agent = LangGraphAgent(build_graph(model, [look_up, stuck], middleware=middleware), pool)

        def asked_to_drain(_: object) -> None:
            drain.set()
            say("draining")

        listening = asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        listening.add_done_callback(asked_to_drain)
        try:
            async for event in agent.stream(turn_of(order["turn"], drain)):
                say(event.type, event.data)
        except StreamHandOver:
            say("handed over")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
