"""A process that sets up the database named in its argument, once it is told to by a line."""

from __future__ import annotations

import asyncio
import sys

from resumable_stream.agent import open_pool, set_up_checkpoints


async def main(database_url: str) -> None:
    async with open_pool(database_url) as pool:
        await pool.wait()
        print("ready", flush=True)
        sys.stdin.readline()
        await set_up_checkpoints(pool)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
