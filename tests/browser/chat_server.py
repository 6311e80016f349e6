"""The app on its own, in a process that a test may kill: ``python chat_server.py <port>``.

The sub-app is mounted under ``/assistant`` and at the root; the header X-User says who is calling. REDIS_URL and
DATABASE_URL say where its servers are.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import uvicorn
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.messages import AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.tools import tool
from langgraph.types import interrupt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from resumable_stream.agent import LangGraphAgent, build_graph, open_pool, set_up_checkpoints
from resumable_stream.app import create_app, load_settings
from resumable_stream.demo import ScriptedChatModel, script, search_tool

THOUGHT = "I was asked to think. So I do, a little, before I answer."


class Gates:
    """Where answers wait until the test lets them go on: ``POST /gates/<name>`` opens one gate of that name."""

    def __init__(self) -> None:
        self._opened: Counter[str] = Counter()
        self._changed = anyio.Event()

    async def open(self, request: Request) -> Response:
        self._opened[request.path_params["name"]] += 1
        self._changed.set()
        self._changed = anyio.Event()
        return Response(status_code=204)

    async def wait(self, name: str, number: int) -> None:
        while self._opened[name] < number:
            await self._changed.wait()


def parts(prompt: str) -> list[str]:
    """What the answer to a prompt with ``gate-<name>`` in it is up to its first gate, its second, and in full."""
    tokens = script(prompt)
    third = len(tokens) // 3
    return ["".join(tokens[:third]), "".join(tokens[: 2 * third]), "".join(tokens)]


class GatedModel(ScriptedChatModel):
    """The demo's model without its pauses, and some kinds of messages for tests.

    A message with ``gate-<name>`` in it is answered with two waits at gates of that name; with ``lump`` in it, what
    comes after a gate comes as one token. ``echo <text>`` is answered with that text in pieces, ``quick <text>`` with
    it in one piece after 5 ms, and ``think <text>`` with some reasoning first. ``order <thing> and <thing>`` orders
    each with a tool that a person has to allow, ``ask <question>`` asks it in words.
    """

    gates: Any
    tokens_per_second: float = 0

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        prompt = [str(one.text) for one in messages if isinstance(one, HumanMessage)][-1]
        kind, _, text = prompt.partition(" ")
        gate = re.search(r"\bgate-(\w+)", prompt)
        if kind in ("order", "ask"):
            async for chunk in self._with_a_person(kind, text, messages):
                yield chunk
        elif gate:
            shown = ""
            for number, upto in enumerate(parts(prompt)):
                await self.gates.wait(gate[1], number)
                rest = upto.removeprefix(shown)
                for piece in [rest] if number and "lump" in prompt else _pieces(rest):
                    yield _chunk(content=piece)
                shown = upto
        elif kind == "quick":
            await anyio.sleep(0.005)
            yield _chunk(content=text)
        elif kind in ("echo", "think"):
            if kind == "think":
                for piece in _pieces(THOUGHT):
                    yield _chunk(additional_kwargs={"reasoning_content": piece})
            for piece in _pieces(text):
                yield _chunk(content=piece)
        else:
            async for chunk in super()._astream(messages, stop, run_manager, **kwargs):
                yield chunk
            return
        yield _chunk(chunk_position="last")

    async def _with_a_person(
        self, kind: str, text: str, messages: list[BaseMessage]
    ) -> AsyncIterator[ChatGenerationChunk]:
        last = messages[-1]
        if isinstance(last, HumanMessage):
            calls = [("order", {"what": thing}) for thing in text.split(" and ")] if kind == "order" else []
            calls = calls or [("ask", {"question": text})]
            yield _chunk(content="Let me see. ")
            yield _chunk(
                tool_call_chunks=[
                    {"index": n, "id": f"call-{n}", "name": name, "args": json.dumps(args), "type": "tool_call_chunk"}
                    for n, (name, args) in enumerate(calls)
                ]
            )
        elif kind == "ask":
            yield _chunk(content=f"You said {last.text}.")
        else:
            results = [one for one in messages if isinstance(one, ToolMessage) and one.status == "success"]
            yield _chunk(content="Ordered: " if results else "Not ordered.")
            if gate := re.search(r"\bgate-(\w+)", text):
                await self.gates.wait(gate[1], 1)
            if results:
                yield _chunk(content=f"{' and '.join(str(one.text) for one in results)}.")


@tool
async def order(what: str) -> str:
    """Order something; what is slow never comes."""
    if what.startswith("slow"):
        await anyio.sleep_forever()
    return what


@tool
def ask(question: str) -> str:
    """Ask the person."""
    return str(interrupt({"question": question}))


def _pieces(text: str) -> list[str]:
    return [text[start : start + 5] for start in range(0, len(text), 5)]


def _chunk(**values: Any) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=AIMessageChunk(**({"content": ""} | values)))


@asynccontextmanager
async def host(redis_url: str, database_url: str) -> AsyncIterator[Starlette]:
    settings = load_settings(
        _env_file=None,
        redis_url=redis_url,
        database_url=database_url,
        stream_lease_seconds=1.5,
        shutdown_grace_seconds=0.0,
        max_active_runs_per_owner=100,  # a test makes many threads, as fast as it can
    )
    async with open_pool(database_url, max_size=4) as pool:
        await set_up_checkpoints(pool)
        gates = Gates()
        approval = HumanInTheLoopMiddleware({"order": True})
        graph = build_graph(GatedModel(gates=gates), [search_tool(), order, ask], middleware=[approval])
        title_model = ScriptedChatModel(task="title", tokens_per_second=0)
        agent = LangGraphAgent(graph, pool, title_model=title_model)
        chat = create_app(settings, agent=agent, identify=lambda request: request.headers.get("X-User", "anybody"))
        routes = [
            Route("/gates/{name}", gates.open, methods=["POST"]),
            Mount("/assistant", chat),
            Mount("/", chat),
        ]
        yield Starlette(routes=routes, lifespan=chat.lifespan)


async def main(port: int) -> None:
    async with host(os.environ["REDIS_URL"], os.environ["DATABASE_URL"]) as app:
        config = uvicorn.Config(app, port=port, log_level="warning", timeout_graceful_shutdown=2)
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
