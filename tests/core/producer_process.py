"""Produces one stream in a process of its own. Tests steer it through its input and watch its output.

Arguments: the address of Redis, the stream's id, and a JSON object of `StreamProducer` settings.
Each line of input is a JSON value: text to yield, or ``null`` to end the source. Each line of output
is a JSON value: ``"claimed"`` when the source is pulled first, ``"closed"`` when it was closed early,
and the status, or the name of the error, at the end.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator

from redis.asyncio import Redis

from resumable_stream import ResumableStreamError, StreamProducer


def say(value: object) -> None:
    print(json.dumps(value), flush=True)


async def tokens() -> AsyncIterator[str]:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    say("claimed")
    try:
        while (line := await reader.readline()) and (token := json.loads(line)) is not None:
            yield token
    except (asyncio.CancelledError, GeneratorExit):
        say("closed")
        raise
    finally:
        transport.close()


async def main(url: str, stream_id: str, settings: str) -> None:
    async with Redis.from_url(url) as redis:
        producer = StreamProducer(redis, **json.loads(settings))
        try:
            result = await producer.run(stream_id, tokens())
        except ResumableStreamError as error:
            say(type(error).__name__)
        else:
            say(str(result.status))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
