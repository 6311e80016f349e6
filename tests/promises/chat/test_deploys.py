"""Promise 15: a server that is told to stop sends its viewers away, finishes its runs, and is gone in time."""

from __future__ import annotations

import asyncio
import re
import signal
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from app.processes import ServerProcess, server
from app.serving import DEADLINE, chat_on
from promises.chat.servers import Variant, on_every_server
from promises.chat.viewers import Viewer
from resumable_stream.demo import script
from support import wait_until

QUESTION = "Tell me about leases and hold at 200 a second"
ANSWER = "".join(script(QUESTION))


@pytest.mark.promise(number=15)
@on_every_server
async def test_a_server_that_stops_sends_200_viewers_on_and_they_lose_nothing(
    variant: Variant, valkey_url: str, database_url: str, other: ServerProcess, tmp_path: Path
) -> None:
    """SIGTERM while five runs are active: each of the 200 streams ends between two frames, and goes on at another
    server. The runs, whose models say the rest only now, end as if nothing had been, and then the process does.

    Fails without the event that a signal sets (`app/_signals.py`), without the patience with a signal that nobody
    handles (`app/_signals.py`), and without the end of streams that close (`asgi.py`).
    """
    drained = variant.kind == "hypercorn from Python"
    release = tmp_path / "release"
    async with server(
        valkey_url,
        database_url,
        kind=variant.kind,
        workers=variant.workers,
        handle_signals=not drained,
        shutdown_grace_seconds=DEADLINE,
        release=release,
    ) as first:
        await first.ready()
        async with chat_on(first.url) as chat:
            sent = await asyncio.gather(*(chat.send(QUESTION) for _ in range(5)))
        viewers = [Viewer(run) for run in sent * 40]
        clock = asyncio.get_running_loop().time
        async with asyncio.timeout(4 * DEADLINE), asyncio.TaskGroup() as tasks:
            for viewer in viewers:
                tasks.create_task(viewer.follow(first.port))
            await wait_until(lambda: all(viewer.begun for viewer in viewers), timeout=2 * DEADLINE)
            told = clock()
            first.signal(signal.SIGTERM, group=variant.group)
        print(f"{variant}: streams ended after {clock() - told:.2f} s", end=", ")
        release.touch()
        released = clock()
        await follow_to_the_end(viewers, other)
        print(f"answers {clock() - released:.2f} s after they went on", end=", ")
        await first.wait(2 * DEADLINE)
        print(f"process gone after {clock() - released:.2f} s")
    for viewer in viewers:
        viewer.check()
        assert viewer.text == ANSWER
        assert viewer.events[-1]["data"] == {"status": "completed"}
        assert viewer.parts[0].complete or not variant.clean
        assert b'"end"' not in viewer.parts[0].body


@pytest.mark.promise(number=15)
async def test_runs_that_outlast_the_grace_are_handed_over_and_viewers_end_with_what_the_thread_holds(
    valkey_url: str, database_url: str, other: ServerProcess, tmp_path: Path
) -> None:
    """The process is gone while the models are still silent, and another one answers, without a wait for the lease.

    Fails without the hand-over (`runs/_executor.py`).
    """
    async with server(
        valkey_url,
        database_url,
        shutdown_grace_seconds=0.3,
        drain_seconds=0.3,
        stream_lease_seconds=60,
        release=tmp_path / "never",
    ) as first:
        await first.ready()
        async with chat_on(first.url) as chat:
            sent = [await chat.send(QUESTION) for _ in range(2)]
        viewers = [Viewer(run) for run in sent * 10]
        clock = asyncio.get_running_loop().time
        async with asyncio.timeout(4 * DEADLINE), asyncio.TaskGroup() as tasks:
            for viewer in viewers:
                tasks.create_task(viewer.follow(first.port))
            await wait_until(lambda: all(viewer.text for viewer in viewers), timeout=2 * DEADLINE)
            told = clock()
            first.signal(signal.SIGTERM)
        await first.wait(DEADLINE)
        print(f"process gone after {clock() - told:.2f} s", end=", ")
    await follow_to_the_end(viewers, other)
    print(f"answers after {clock() - told:.2f} s")
    for viewer in viewers:
        viewer.check()
        assert viewer.text == ANSWER
        assert viewer.count("restarted") == 1
        assert viewer.events[-1]["data"] == {"status": "completed"}
    async with chat_on(other.url) as chat:
        for run in sent:
            answer = (await chat.history(run["thread_id"]))[-1]
            assert (answer["content"], answer.get("stopped")) == (ANSWER, None)


@pytest.mark.promise(number=15)
async def test_connections_are_closed_by_their_age_and_come_back_at_different_times(
    valkey_url: str, database_url: str, other: ServerProcess
) -> None:
    """100 streams that began together end over the last fifth of their age, and are told to wait for 1 to 3 s.

    Fails without the chance in the age of a connection (`_consumer.py`), and without the chance in the delay before
    clients come back (`_sse.py`).
    """
    age = 3.0
    async with server(valkey_url, database_url, connection_max_seconds=age) as first, chat_on(first.url) as chat:
        await first.ready()
        sent = await chat.send("Tell me a long story at 5 a second")
        viewers = [Viewer(sent) for _ in range(100)]
        async with asyncio.timeout(4 * DEADLINE), asyncio.TaskGroup() as tasks:
            for viewer in viewers:
                tasks.create_task(viewer.follow(first.port))
        await chat.stop(sent["thread_id"])
        await follow_to_the_end(viewers, other)
    for viewer in viewers:
        viewer.check()
        assert viewer.parts[0].complete
    lasted = [viewer.parts[0].seconds for viewer in viewers]
    assert min(lasted) < 0.9 * age, "a machine that is busy can only make them longer"
    assert busiest_fifth(lasted) < len(viewers) / 2
    delays = [int(value) for viewer in viewers for value in re.findall(rb"retry: (\d+)", viewer.parts[0].body)]
    assert len(delays) == len(viewers)
    assert 1000 <= min(delays) <= max(delays) <= 3000
    assert busiest_fifth(delays) < len(viewers) / 2
    backs = [seconds + delay / 1000 for seconds, delay in zip(lasted, delays, strict=True)]
    print(f"100 viewers come back within {max(backs) - min(backs):.1f} s, {busiest_fifth(backs)} in the busiest fifth")


def busiest_fifth(values: Iterable[float]) -> int:
    """How many of the values are in the fullest of five equal parts between the lowest and the highest."""
    values = sorted(values)
    width = (values[-1] - values[0]) / 5 or 1.0
    return max(Counter(min(int((value - values[0]) / width), 4) for value in values).values())


async def follow_to_the_end(viewers: Iterable[Viewer], server: ServerProcess) -> None:
    """Have all viewers come back to a server."""
    async with asyncio.timeout(4 * DEADLINE), asyncio.TaskGroup() as tasks:
        for viewer in viewers:
            tasks.create_task(viewer.follow_to_the_end(server.port))
