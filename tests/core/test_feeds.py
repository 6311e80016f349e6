"""How a feed puts together what notifications say and what the log says."""

from __future__ import annotations

import anyio
from redis.asyncio import Redis

from resumable_stream import StreamProducer
from resumable_stream._fanout import Feed
from resumable_stream._log import Log, Names, Peek
from support import wait_until


class GatedLog(Log):
    """A log whose looks at a stream are answered by the server at once, and handed on when the gate opens."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis)
        self.gate = anyio.Event()
        self.gate.set()
        self.answers = 0

    async def peek(self, names: Names) -> Peek | None:
        answer = await super().peek(names)
        self.answers += 1
        await self.gate.wait()
        return answer


async def test_a_notification_that_overtakes_a_look_at_the_log_resets_nobody(redis: Redis) -> None:
    """The look says less than what was delivered meanwhile; only what was known when asking must be in it."""
    async with GatedLog(redis) as log, StreamProducer(redis).open("s") as stream:
        await stream.send("one")
        await stream.flush()
        feed = Feed(log, "s", None)
        try:
            await feed.ready.wait()
            await wait_until(lambda: feed.head == stream.last_id)
            await feed.refresh()
            log.gate, answers = anyio.Event(), log.answers
            feed.kick()
            await wait_until(lambda: log.answers > answers)
            await stream.send("two")
            await stream.flush()
            await wait_until(lambda: feed.head == stream.last_id)
            gate, log.gate = log.gate, anyio.Event()
            log.gate.set()
            gate.set()
            await feed.refresh()
            assert feed.epoch == 0
            assert feed.head == stream.last_id
        finally:
            await feed.aclose()
