"""Asks a stream to stop, in a process of its own: `stop_process.py URL STREAM`. Prints what `cancel` returned."""

from __future__ import annotations

import asyncio
import json
import sys

from redis.asyncio import Redis

from resumable_stream import StreamProducer


async def main(url: str, stream_id: str) -> None:
    async with Redis.from_url(url) as redis:
        print(json.dumps(await StreamProducer(redis).cancel(stream_id)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
