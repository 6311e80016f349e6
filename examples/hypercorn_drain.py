"""hypercorn, started from Python, with a shutdown of the program's own: the chat drains before the server stops.

REDIS_URL=... DATABASE_URL=... LLM_MODEL=... OPENAI_API_KEY=... python examples/hypercorn_drain.py
"""

from __future__ import annotations

import asyncio
import os
import signal

from hypercorn.asyncio import serve
from hypercorn.config import Config

from resumable_stream.app import ChatApp, create_app


async def serve_until_told(chat: ChatApp, address: str) -> None:
    stop = asyncio.Event()

    def on_signal() -> None:
        stop.set()
        chat.drain()  # streams end between two frames, and their clients go on elsewhere

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    config = Config()
    config.bind = [address]
    await serve(chat, config, shutdown_trigger=stop.wait)  # type: ignore[arg-type]  # it has types of its own


if __name__ == "__main__":
    asyncio.run(serve_until_told(create_app(), os.environ.get("ADDRESS", "127.0.0.1:8000")))
