"""A server as people deploy it, ``uvicorn app.server_process:app --factory``: a real graph, a scripted model.

With ``APPROVAL`` set, a person has to allow each search.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from typing import Any

import anyio
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.tools import tool
from langgraph.runtime import get_runtime

from resumable_stream.agent import Turn, build_graph
from resumable_stream.app import ChatApp, create_app, load_settings
from resumable_stream.demo import ScriptedChatModel


class PacedModel(ScriptedChatModel):
    """A message may say how fast it is answered, such as "at 20 a second".

    With "hold" in it, the answer stands still in its middle until there is a file ``RELEASE``, if that is set.
    """

    async def _astream(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        asked = str([message.text for message in messages if message.type == "human"][-1])
        pace = re.search(r"at (\d+) a second", asked)
        model = self.model_copy(update={"tokens_per_second": float(pace[1])}) if pace else self
        chunks = list(model._timed_chunks(messages))
        release = os.environ.get("RELEASE")
        for number, (pause, chunk) in enumerate(chunks):
            if release and "hold" in asked.split() and number == len(chunks) // 2:
                while not await anyio.Path(release).exists():  # noqa: ASYNC110 - the test makes it
                    await anyio.sleep(0.02)
            await anyio.sleep(pause)
            yield chunk


@tool
async def search(query: str) -> str:
    """Find nothing; with "slow" in the query, after a minute; with "shutdown", when the process drains.

    Each call is noted in the file ``CALLS``.
    """
    if calls := os.environ.get("CALLS"):
        async with await anyio.open_file(calls, "a") as file:
            await file.write(query + "\n")
    if "slow" in query.split():
        await anyio.sleep(60)
    if "shutdown" in query.split():
        drain = get_runtime(Turn).context.drain
        assert drain is not None
        await drain.wait()
    return "[]"


def app() -> ChatApp:
    pace = float(os.environ["TOKENS_PER_SECOND"])
    approval = [HumanInTheLoopMiddleware({"search": True})] if os.environ.get("APPROVAL") else []
    graph = build_graph(PacedModel(tokens_per_second=pace), [search], middleware=approval)
    return create_app(load_settings(_env_file=None), agent=graph)
