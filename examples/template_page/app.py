"""A page of your own in place of the bundled one.

    export REDIS_URL=redis://localhost:6379 DATABASE_URL=postgresql://localhost/chat
    export OPENAI_API_KEY=... LLM_MODEL=...
    uvicorn examples.template_page.app:app

The page and its script are in index.html.
"""

from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Mount, Route

from resumable_stream.app import create_app

chat = create_app(ui=False)


async def page(request: Request) -> FileResponse:
    return FileResponse(Path(__file__).with_name("index.html"))


app = Starlette(routes=[Route("/", page), Mount("/", chat)], lifespan=chat.lifespan)
