"""A process that answers a turn once it is told to by a line; its tool ``stuck`` never returns.

Arguments: the database, the providers' server, the provider, the thread.
"""

from __future__ import annotations

import asyncio
import sys

from langchain_core.tools import tool

from agent.conftest import make_model
from agent.helpers import look_up, new_turn
from resumable_stream.agent import LangGraphAgent, build_graph, open_pool


@tool
async def stuck(word: str) -> str:
    """Wait."""
    await asyncio.Event().wait()
    return word


async def main(database_url: str, wire_url: str, provider: str, thread_id: str) -> None:
    async with open_pool(database_url) as pool:
        agent = LangGraphAgent(build_graph(make_model(wire_url, provider), [look_up, stuck]), pool)
        print("ready", flush=True)
        sys.stdin.readline()
        async for _ in agent.stream(new_turn("hello", thread_id)):
            pass


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
