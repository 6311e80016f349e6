"""Appends to many streams and says which events Redis has acknowledged. A process of its own, made to be killed.

Arguments: the address of Redis, how many streams, and how many replicas must have an event. Each line of output is a
stream's number and the sequence of its newest acknowledged event.
"""

from __future__ import annotations

import os
import sys
from itertools import count

import anyio
from redis.asyncio import Redis

from resumable_stream import StreamProducer


async def write(producer: StreamProducer, number: int) -> None:
    async with producer.open(f"s{number}") as stream:
        for token in count():
            await stream.send(f"token {token} ")
            await stream.flush()
            assert stream.last_id is not None
            os.write(1, b"%d %d\n" % (number, stream.last_id.sequence))


async def main(url: str, streams: int, replicas: int) -> None:
    async with (
        Redis.from_url(url) as redis,
        StreamProducer(redis, replicas=replicas) as producer,
        anyio.create_task_group() as group,
    ):
        for number in range(streams):
            group.start_soon(write, producer, number)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
