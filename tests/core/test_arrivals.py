"""Readers who come while what is known of a stream is being found out, or as all is closed."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest
from redis.asyncio import Redis

from core.streams import DEADLINE, drain, read_all, text_of
from resumable_stream import ConsumerClosed, StreamConsumer, StreamEvent, StreamNotFound, StreamProducer
from resumable_stream._log import Log, Peek
from resumable_stream._names import Names
from resumable_stream.testing import ScriptedSource
from support import no_tasks_left, wait_until


class HeldPeek:
    """Holds the answer to the next look at a stream on its way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ask = Log.peek
        self.answered = anyio.Event()
        self.go_on = anyio.Event()

        async def peek(log: Log, names: Names) -> Peek | None:
            answer = await self._ask(log, names)
            if not self.answered.is_set():
                self.answered.set()
                await self.go_on.wait()
            return answer

        monkeypatch.setattr(Log, "peek", peek)


@pytest.mark.parametrize("first", ["old", "new"])
async def test_who_comes_after_the_claim_is_not_told_what_was_found_before_it(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Another reader came before the claim; the answer to its look comes before the newcomer's, or behind that.

    Fails without the question whether what a feed found is older than the newcomer (`_fanout.py`).
    """
    producer = StreamProducer(redis)
    got: list[StreamEvent] = []
    with anyio.fail_after(DEADLINE):
        async with StreamConsumer(redis) as consumer, anyio.create_task_group() as group:
            held = HeldPeek(monkeypatch)

            async def too_early() -> None:
                with pytest.raises(StreamNotFound):
                    await read_all(consumer, "s")

            group.start_soon(too_early)
            await held.answered.wait()
            await producer.run("s", ScriptedSource(["a"]))
            group.start_soon(drain, consumer.events("s"), got)
            assert consumer._hub is not None
            feed = consumer._hub._feeds["s"]
            while feed.viewers < 2 or (first == "new" and feed._glances.tasks):
                await anyio.lowlevel.checkpoint()
            held.go_on.set()
    assert text_of(got) == "a"


async def test_who_comes_to_a_stream_that_goes_away_as_the_consumer_is_closed_leaves_nothing_behind(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its look is cut off; there must be no other.

    Fails without the question whether the hub is closed (`_hub.py`).
    """
    producer = StreamProducer(redis)
    await producer.run("s", ScriptedSource(["a"]))
    async with (
        no_tasks_left(timeout=1.0),
        anyio.create_task_group() as group,
        StreamConsumer(redis) as consumer,
        await consumer.attach("s") as viewer,
    ):
        held = HeldPeek(monkeypatch)

        async def come() -> None:
            with anyio.fail_after(DEADLINE), pytest.raises(ConsumerClosed):
                await consumer.attach("s")

        group.start_soon(come)
        await held.answered.wait()
        await producer.delete("s")
        await wait_until(lambda: viewer._feed.vanished)
