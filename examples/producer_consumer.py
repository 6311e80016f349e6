"""The core alone: a producer, and a reader who goes away and comes back.

    REDIS_URL=redis://localhost:6379 python examples/producer_consumer.py

Each line that it prints is an event: its id and its data.
"""

import asyncio
import os
from contextlib import aclosing
from uuid import uuid4

from redis.asyncio import Redis

from resumable_stream import EventID, StreamConsumer, StreamProducer

ANSWER = "Whoever comes back goes on where they were ."


async def read(consumer: StreamConsumer, stream_id: str) -> None:
    cursor: EventID | None = None
    async with aclosing(consumer.events(stream_id)) as events:
        async for event in events:
            print(event.id, event.data)
            cursor = event.id
            if cursor is not None and cursor.sequence == 3:
                break  # the connection is gone ...
    async for event in consumer.events(stream_id, after=cursor):  # ... and here is the next one
        print(event.id, event.data)


async def main() -> None:
    stream_id = f"answer-{uuid4()}"
    async with (
        Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379")) as redis,
        StreamProducer(redis) as producer,
        StreamConsumer(redis) as consumer,
        asyncio.TaskGroup() as tasks,
        producer.open(stream_id) as stream,
    ):
        tasks.create_task(read(consumer, stream_id))
        for word in ANSWER.split():
            await stream.send(word)
            await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(main())
