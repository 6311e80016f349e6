"""The chat app mounted in a FastAPI app, beside routes of its own that stream with the core alone.

    export REDIS_URL=redis://localhost:6379 DATABASE_URL=postgresql://localhost/chat
    export OPENAI_API_KEY=... LLM_MODEL=...
    uvicorn examples.mounted_fastapi:app --timeout-graceful-shutdown 5

The chat page is at /assistant/. A poem: curl -X POST localhost:8000/poems/1 && curl -N localhost:8000/poems/1
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

import anyio
from anyio.abc import TaskGroup, TaskStatus
from fastapi import Depends, FastAPI, HTTPException, Path, Request
from redis.asyncio import Redis

from resumable_stream import ResumableStreamError, StreamConsumer, StreamExists, StreamProducer
from resumable_stream.app import create_app
from resumable_stream.starlette import EventStreamResponse

logger = logging.getLogger(__name__)

POEM = "The tab is closed, the line is cut, the poem does not mind."

chat = create_app()  # settings from the environment or .env


async def verses() -> AsyncGenerator[str]:
    """Stands for a model."""
    for word in POEM.split():
        yield word + " "
        await asyncio.sleep(0.1)


@dataclass(frozen=True, slots=True)
class Poetry:
    """What the poem routes use. Its tasks outlive the requests that start them."""

    producer: StreamProducer
    consumer: StreamConsumer
    tasks: TaskGroup

    async def write(self, stream_id: str, *, task_status: TaskStatus[None]) -> None:
        claimed = False
        try:
            async with self.producer.open(stream_id) as stream, aclosing(verses()) as words:
                claimed = True
                task_status.started()
                async for word in words:
                    await stream.send(word)
        except ResumableStreamError:
            if not claimed:
                raise  # to the handler that waits for the start
            logger.exception("stream %s could not be written", stream_id)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Poetry]]:
    async with (
        chat.lifespan(app),  # a mounted app's lifespan is never run by its host
        Redis.from_url(chat.settings.redis_url.get_secret_value()) as redis,
        StreamProducer(redis) as producer,
        StreamConsumer(redis) as consumer,
        anyio.create_task_group() as tasks,
    ):
        yield {"poetry": Poetry(producer, consumer, tasks)}
        tasks.cancel_scope.cancel()  # poems that are still written end as cancelled


app = FastAPI(lifespan=lifespan)
app.mount("/assistant", chat)


def poetry(request: Request) -> Poetry:
    found: Poetry = request.state.poetry
    return found


Poems = Annotated[Poetry, Depends(poetry)]
PoemID = Annotated[str, Path(pattern="^[a-z0-9-]{1,64}$")]


@app.post("/poems/{poem_id}", status_code=202)
async def start_poem(poem_id: PoemID, poems: Poems) -> None:
    try:
        # Returns once the stream is claimed, so that a reader cannot come too early.
        await poems.tasks.start(poems.write, f"poem-{poem_id}")
    except StreamExists:
        raise HTTPException(409, "The poem is there already.") from None


@app.get("/poems/{poem_id}", response_class=EventStreamResponse)
async def read_poem(poem_id: PoemID, poems: Poems) -> EventStreamResponse:
    return EventStreamResponse(poems.consumer, f"poem-{poem_id}")
