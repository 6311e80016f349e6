"""The example's lines around the tests' app: ``hypercorn_process.py ADDRESS``."""

from __future__ import annotations

import asyncio
import sys

from examples.hypercorn_drain import serve_until_told

from app.server_process import app

if __name__ == "__main__":
    asyncio.run(serve_until_told(app(), *sys.argv[1:]))
