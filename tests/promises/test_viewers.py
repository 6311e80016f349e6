"""Promises 14 and 16: viewers that leave by the thousand, and viewers that hardly read, or not at all."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from operator import le
from pathlib import Path
from typing import NamedTuple

import anyio
import psutil  # type: ignore[import-untyped]  # it has no types of its own
import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from core.http_server import Served, StreamApp, request, served
from promises.matrix import in_corners
from resumable_stream import StreamConsumer, StreamProducer, _hub
from resumable_stream.testing import Gate, ScriptedSource
from support import wait_until

MEBIBYTE = 1024 * 1024


class Held(NamedTuple):
    """What a process holds, and what Redis holds for it."""

    tasks: int
    descriptors: int
    redis_clients: int


def held(redis_admin: SyncRedis) -> Held:
    return Held(len(asyncio.all_tasks()), len(list(Path("/dev/fd").iterdir())), len(redis_admin.client_list()))


async def steady(measure: Callable[[], Held]) -> Held:
    """What is measured when it has been the same for half a second: what is made once is made, the rest has gone.

    So have the descriptors of other tests that only the garbage collector closes.
    """
    gc.collect()
    last, since = measure(), time.monotonic()
    while time.monotonic() - since < 0.5:
        await anyio.sleep(0.01)
        if (now := measure()) != last:
            last, since = now, time.monotonic()
    return last


def memory() -> int:
    gc.collect()
    rss: int = psutil.Process().memory_info().rss
    return rss


@pytest.mark.promise(number=14)
@in_corners
async def test_a_thousand_clients_that_connect_and_are_cut_leave_nothing_behind(
    client: Redis, redis_admin: SyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are no more tasks, file descriptors and Redis clients than before, and about as many objects and memory.

    They come to ten streams, which are forgotten some time after the last has left. One reader of another stream stays
    all the while, and gets what comes afterwards.

    Fails without the leaving of a viewer (`_hub.py`), and without the end of a response's timer (`asgi.py`).
    """
    monkeypatch.setattr(_hub, "LINGER", 0.1)

    async def cycle(port: int, number: int) -> None:
        async with request(port, f"/s{number % 10}") as response:
            await response.read_some()
            response.cut()

    async with (
        StreamConsumer(client) as consumer,
        StreamProducer(client) as producer,
        AsyncExitStack() as streams,
    ):
        for number in range(10):
            await (await streams.enter_async_context(producer.open(f"s{number}"))).send("a")
        stream = await streams.enter_async_context(producer.open("s"))
        app = StreamApp(consumer)
        async with served(app) as server, request(server.port, "/s") as stays:
            await stream.send("a")
            await stays.read_until(b"data: a\n\n")

            async def run(count: int) -> None:
                for _ in range(count // 20):
                    async with anyio.create_task_group() as group:
                        for number in range(20):
                            group.start_soon(cycle, server.port, number)
                await wait_until(lambda: app.responses == 1 and server.connections == 1)
                await wait_until(lambda: consumer._hub is not None and consumer._hub.feeds == 1)

            def as_before() -> bool:
                now = held(redis_admin)
                assert all(map(le, now, before)), f"{now}, and before {before}"
                return True

            with anyio.fail_after(90):
                await run(200)
                before = await steady(lambda: held(redis_admin))
                grown = []
                for _ in range(3):  # a leak grows each time; what a process takes from the system now and then does not
                    memory_before, objects_before = memory(), len(gc.get_objects())
                    await run(1000)
                    await wait_until(as_before)
                    left = memory() - memory_before, len(gc.get_objects()) - objects_before
                    grown.append(left)
                    if left[0] < 4 * MEBIBYTE and left[1] < 500:
                        break
                else:
                    pytest.fail(f"4 kB or half an object for each client, again and again: {grown}")
            await stream.send("b")
            await stays.read_until(b"data: b\n\n")


class SlowClient:
    """A client that reads a byte every now and then, or never. Its own buffer is as small as can be."""

    def __init__(self, server: Served) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.connect(("127.0.0.1", server.port))
        self._socket.sendall(b"GET /s HTTP/1.1\r\nHost: x\r\n\r\n")
        self._socket.setblocking(False)
        self.received = 0

    async def read(self, interval: float) -> None:
        while True:
            self.received += len(await asyncio.get_running_loop().sock_recv(self._socket, 1))
            await anyio.sleep(interval)

    def close(self) -> None:
        self._socket.close()


@pytest.mark.promise(number=16)
@in_corners
async def test_viewers_that_hardly_read_are_cut_and_nobody_else_notices(client: Redis) -> None:
    """One reads a byte a second, one never; a write that takes longer than the send timeout ends their responses.

    The others get everything, over HTTP and in the process. 60 MB pass, and memory grows by the window and some
    buffers. A second lasts 50 ms here, and the timeout 0.5 s.

    Fails without the send timeout (`asgi.py`), and without the bound of the window (`_window.py`).
    """
    tokens = [str(number) * 50_000 for number in range(10)] * 120
    gate = Gate()
    frames = events = peak = 0

    async def watch(port: int) -> None:
        nonlocal frames, peak
        async with request(port, "/s") as response:
            while piece := await response.read_some():
                frames += piece.count(b"data: ")
                response.body = b""  # it is the server's memory that is measured
                peak = max(peak, psutil.Process().memory_info().rss)

    async def follow(consumer: StreamConsumer) -> None:
        nonlocal events
        async for _ in consumer.events("s"):
            events += 1

    async with StreamConsumer(client) as consumer:
        app = StreamApp(consumer, send_timeout=0.5)
        async with served(app) as server:
            with anyio.fail_after(60):
                async with anyio.create_task_group() as group:
                    group.start_soon(StreamProducer(client).run, "s", ScriptedSource(["a", gate, *tokens]))
                    await gate.reached()
                    hardly, never = SlowClient(server), SlowClient(server)
                    group.start_soon(hardly.read, 0.05)
                    group.start_soon(watch, server.port)
                    group.start_soon(follow, consumer)
                    await wait_until(lambda: app.responses == 3 and events == 1)
                    before = memory()
                    gate.open()
                    await wait_until(lambda: frames == events == len(tokens) + 2, timeout=30)
                    await wait_until(lambda: app.responses == 0)
                    assert hardly.received > 1
                    assert peak - before < 40 * MEBIBYTE
                    group.cancel_scope.cancel()
            for slow in (hardly, never):
                slow.close()
            await wait_until(lambda: server.connections == 0)
