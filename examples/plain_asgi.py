"""The core as a plain ASGI app, without a framework.

    REDIS_URL=redis://localhost:6379 uvicorn examples.plain_asgi:app --timeout-graceful-shutdown 5

POST starts a stream, GET reads it: curl -X POST localhost:8000/poem-1 && curl -N localhost:8000/poem-1
"""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio
from anyio.abc import TaskGroup, TaskStatus
from redis.asyncio import Redis

from resumable_stream import ResumableStreamError, StreamConsumer, StreamExists, StreamIDError, StreamProducer
from resumable_stream.asgi import EventStreamResponse, Receive, Scope, Send

logger = logging.getLogger(__name__)

POEM = "Roses are red, streams can be read, again and again."


async def words() -> AsyncGenerator[str]:
    """Stands for a model."""
    for word in POEM.split():
        yield word + " "
        await asyncio.sleep(0.1)


class App:
    _producer: StreamProducer
    _consumer: StreamConsumer
    _tasks: TaskGroup

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["method"] == "POST":
            await self._start(scope["path"][1:], send)
        elif scope["method"] == "GET":
            await EventStreamResponse(self._consumer, scope["path"][1:])(scope, receive, send)
        else:
            await answer(send, 405)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        async with (
            Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379")) as redis,
            StreamProducer(redis) as self._producer,
            StreamConsumer(redis) as self._consumer,
            anyio.create_task_group() as self._tasks,
        ):
            await send({"type": "lifespan.startup.complete"})
            await receive()  # lifespan.shutdown
            self._tasks.cancel_scope.cancel()  # what is still written ends as cancelled
        await send({"type": "lifespan.shutdown.complete"})

    async def _start(self, stream_id: str, send: Send) -> None:
        try:
            # Returns once the stream is claimed, so that a reader cannot come too early.
            await self._tasks.start(self._produce, stream_id)
        except StreamExists:
            await answer(send, 409)
        except StreamIDError:
            await answer(send, 400)
        else:
            await answer(send, 202)

    async def _produce(self, stream_id: str, *, task_status: TaskStatus[None]) -> None:
        claimed = False
        try:
            async with self._producer.open(stream_id) as stream, aclosing(words()) as tokens:
                claimed = True
                task_status.started()
                async for token in tokens:
                    await stream.send(token)
        except ResumableStreamError:
            if not claimed:
                raise
            logger.exception("stream %s could not be written", stream_id)


async def answer(send: Send, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


app = App()
