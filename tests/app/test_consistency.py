"""Many clients at two servers send, read, stop and delete at random: history and stream agree at every moment."""

from __future__ import annotations

import asyncio
import random

import httpx
import pytest
from redis import Redis

from app.scripted import ScriptedAgent
from app.serving import Chat, by_header, chat_on, new_thread, served
from resumable_stream.app import Settings, create_app

OPERATIONS = ["send"] * 5 + ["read"] * 4 + ["look"] * 4 + ["stop"] * 2 + ["list", "delete"]


class Client:
    """Does things at random, and checks each answer against the contract."""

    def __init__(self, servers: list[Chat], threads: list[str], seed: int) -> None:
        self._servers = servers
        self._threads = threads
        self._random = random.Random(seed)

    async def work(self, count: int) -> None:
        for _ in range(count):
            chat = self._random.choice(self._servers)
            place = self._random.randrange(len(self._threads))
            thread_id = self._threads[place]
            match self._random.choice(OPERATIONS):
                case "send":
                    words = [f"w{number}" for number in range(self._random.randrange(1, 30))]
                    response = await chat.post(" ".join(["pace:0.005", *words]), thread_id)
                    if response.status_code == 404:  # it was deleted
                        self._threads[place] = new_thread()
                case "read":
                    response = await self.read(chat, thread_id)
                case "look":
                    response = await self.look(chat, thread_id)
                case "stop":
                    response = await chat.stop(thread_id)
                case "list":
                    response = await chat.http.get("/v1/threads")
                case _:
                    response = await chat.delete(thread_id)
            assert response.status_code < 500, response.text

    async def read(self, chat: Chat, thread_id: str) -> httpx.Response:
        """What was read to the end is what the history has."""
        response = await chat.stream_status(thread_id)
        if response.status_code != 200:
            return response
        assert response.text.endswith("\nevent: system\ndata: end\n\n")
        text = "".join(line[6:] for line in response.text.split("\n") if line.startswith("data: w"))
        run_id = response.headers["x-run-id"]
        history = await chat.thread(thread_id)
        if history.status_code == 200:
            said = [message for message in history.json() if message["run_id"] == run_id]
            assert [message["type"] for message in said] == ["human", "ai"]
            assert said[1]["content"] == text
        return response

    async def look(self, chat: Chat, thread_id: str) -> httpx.Response:
        """Each message has its answer, but for the one whose run is active."""
        response = await chat.thread(thread_id)
        if response.status_code == 200:
            types = [message["type"] for message in response.json()]
            active = "x-active-run-id" in response.headers
            assert types == (["human", "ai"] * len(types))[: len(types)]
            assert (types[-1] == "human") is active
        return response


@pytest.mark.parametrize("seed", [1, 2])
async def test_history_and_stream_agree_whatever_many_clients_do(
    settings: Settings, agent: ScriptedAgent, empty_redis: Redis, seed: int
) -> None:
    apps = [create_app(settings, agent=agent, identify=by_header) for _ in range(2)]
    async with (
        served(apps[0]) as first,
        served(apps[1]) as second,
        chat_on(first, user="ann") as here,
        chat_on(second, user="ann") as there,
    ):
        threads = [new_thread() for _ in range(6)]
        clients = [Client([here, there], threads, 100 * seed + number) for number in range(12)]
        async with asyncio.timeout(100):
            await asyncio.gather(*(client.work(25) for client in clients))
