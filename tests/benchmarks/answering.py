"""P9: what an answer costs the process that gives it, beside LangGraph alone.

Ours is the whole chat app, without a server around it: the POST, the run with its stream in Redis, its checkpoints, and
one viewer who reads to the end. LangGraph alone saves the same checkpoints, and what it streams is thrown away.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import uuid4

import anyio
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from benchmarks.cases import BARE, OURS, Case, Figures, Results, Row, Settings, ratios
from resumable_stream.agent import build_graph, open_pool, set_up_checkpoints
from resumable_stream.app import create_app, load_settings
from resumable_stream.demo import ScriptedChatModel, search_tool
from resumable_stream.embedded import EmbeddedPostgres
from support import wait_until

ANSWERS: Final = 100
AT_ONCE: Final = 20
PROMPTS: Final = {150: "hello", 400: "hello long"}
"""Tokens of an answer, about, and what is asked for it."""

Answer = Callable[[str], Awaitable[None]]


def answer(case: Case, settings: Settings) -> Figures:
    """Have questions answered, some at once, by a model that says a token whenever it is asked."""
    with EmbeddedPostgres() as postgres:
        way = _ours if case.way == OURS else _alone
        return asyncio.run(way(case, settings, postgres.dsn))


async def _ours(case: Case, settings: Settings, dsn: str) -> Figures:
    known = load_settings(_env_file=None, redis_url=settings.url, database_url=dsn)
    chat = create_app(known, agent=_graph(), ui=False)

    async def one(prompt: str) -> None:
        run = json.loads(await _call(chat, "POST", "/v1/chat/message", body=json.dumps({"message": prompt}).encode()))
        body = await _call(chat, "GET", "/v1/chat/stream", query=f"thread_id={run['thread_id']}&format=json")
        assert b'"status":"completed"' in body

    async with chat.lifespan():

        async def ready() -> bool:
            return bool(json.loads(await _call(chat, "GET", "/readyz"))["status"] == "ready")

        await wait_until(ready)
        return await _measured(one, case, settings)


async def _alone(case: Case, settings: Settings, dsn: str) -> Figures:
    compiled = _graph()
    async with open_pool(dsn) as pool:
        await set_up_checkpoints(pool)

        async def one(prompt: str) -> None:
            graph = compiled.copy(update={"checkpointer": AsyncPostgresSaver(pool)})
            parts = graph.astream(
                {"messages": [HumanMessage(prompt)]},
                {"configurable": {"thread_id": str(uuid4())}},
                stream_mode=["messages", "updates"],
                durability="async",
            )
            async for _ in parts:
                pass

        return await _measured(one, case, settings)


async def _measured(one: Answer, case: Case, settings: Settings) -> Figures:
    answers, at_once, prompt = settings.scaled(ANSWERS), settings.scaled(AT_ONCE), PROMPTS[case.count]
    limit = anyio.CapacityLimiter(at_once)

    async def in_turn() -> None:
        async with limit:
            await one(prompt)

    async def many(count: int) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(in_turn)

    await many(at_once)  # what is made once is made
    cpu = time.process_time()
    await many(answers)
    return {"cpu": (time.process_time() - cpu) / answers * 1e3}


def _graph() -> Any:
    return build_graph(ScriptedChatModel(tokens_per_second=0), [search_tool()])


async def _call(app: Any, method: str, path: str, *, query: str = "", body: bytes = b"") -> bytes:
    """The body of an answer, which may grow for long."""
    sent = False
    parts: list[bytes] = []
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if sent:
            await anyio.sleep_forever()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        parts.append(message.get("body", b""))

    await app(scope, receive, send)
    return b"".join(parts)


def p9_cases() -> list[Case]:
    return [Case("answer", way, count=count) for count in PROMPTS for way in (OURS, BARE)]


def p9_rows(results: Results) -> list[Row]:
    rows = []
    for count in PROMPTS:
        ours, bare = Case("answer", OURS, count=count), Case("answer", BARE, count=count)
        cells = {OURS: results[ours, "cpu"], BARE: results[bare, "cpu"]}
        name = f"an answer of {count} tokens, {AT_ONCE} at once: process CPU"
        times = {OURS: ratios(cells[OURS], cells[BARE])}
        rows += [
            Row(scenario="P9", figure=f"{name}, ms", cells=cells, limit="LangGraph alone", digits=1),
            Row(scenario="P9", figure=f"{name}, x LangGraph alone", cells=times, digits=2),
        ]
    return rows
