"""``create_app``: the sub-app, stand-alone or mounted under any path of another app."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

import resumable_stream

from . import _operations as operations
from ._agents import plan_agent
from ._endpoints import Call, Checks, PathEndpoint, Serve
from ._errors import EXPECTED, ErrorAnswers
from ._headers import SecurityHeaders
from ._identity import Identify, anonymous
from ._lifespan import SharedLifespan
from ._limits import owner_limits
from ._openapi import build_document
from ._operations import Operation
from ._origins import HostCheck, OriginCheck
from ._pages import Pages
from ._schemas import Health, NoBody, NoQuery
from ._services import Services, open_services, work
from ._settings import Settings, load_settings

if TYPE_CHECKING:
    from resumable_stream.telemetry import Telemetry

QueryT = TypeVar("QueryT", bound=BaseModel)
BodyT = TypeVar("BodyT", bound=BaseModel)
Bound = tuple[Operation[Any, Any], Serve]


class ChatApp(Starlette):
    """The sub-app; ``create_app`` makes it.

    It is a Starlette app, so anything that can mount one can mount it. Its host must enter
    ``lifespan``.

    Attributes:
        settings: what it runs with.
    """

    def __init__(
        self, *, settings: Settings, agent: Any, identify: Identify, ui: bool, telemetry: Telemetry | None
    ) -> None:
        self.settings = settings
        self._telemetry = telemetry
        answers = ErrorAnswers()
        plan = plan_agent(agent, settings)
        limits = owner_limits(settings, identified=identify is not anonymous)
        self._plan = plan
        self._shared = SharedLifespan(
            lambda: open_services(settings, plan, limits, telemetry=telemetry, refused=answers.refused)
        )
        self._checks = Checks(
            enter=self._get_services,
            identify=identify,
            hosts=HostCheck(settings.allowed_hosts),
            origins=OriginCheck((*settings.cors_origins, *settings.trusted_origins)),
            body_timeout=settings.body_timeout_seconds,
            max_body_bytes=settings.max_body_bytes,
            max_message_chars=settings.max_message_chars,
        )
        self._ui = Pages("ui") if ui else None
        self._docs = Pages("static")
        super().__init__(
            routes=self._build_routes(),
            middleware=_middleware(settings),
            exception_handlers={
                **dict.fromkeys(EXPECTED, answers.on_expected),
                Exception: answers.on_unexpected,
            },
            lifespan=self.lifespan,
        )

    @asynccontextmanager
    async def lifespan(self, host: Any = None) -> AsyncIterator[None]:
        """Open and close what the sub-app needs; to be entered by the app that it is mounted in.

        Either ``FastAPI(lifespan=chat.lifespan)``, or ``async with chat.lifespan(): yield`` inside
        a lifespan of your own. Entering it more than once is harmless. On the way out streams are
        closed, and active runs get the grace period of the settings.

        Args:
            host: the app that enters it; not used.
        """
        async with self._shared.enter():
            yield

    def drain(self) -> None:
        """Close all streams for their clients to resume elsewhere, and take no new runs.

        For hosts that stop in a way of their own; on SIGTERM and SIGINT it happens by itself.
        Active runs go on until the lifespan ends.

        Raises:
            LifespanNotEntered: nobody has entered ``lifespan``.
        """
        self._get_services().closing.set()

    async def work(self, *, concurrency: int = 100) -> None:
        """Answer the messages that web processes take with ``RUN_EXECUTOR=worker``, until SIGTERM or SIGINT.

        For worker processes, without ``lifespan``. Neither Redis nor Postgres has to be up at the start. At the end, or
        when the call is cancelled, active runs get the grace period of the settings and are handed over to other
        workers.

        Args:
            concurrency: how many messages are answered at once.

        Raises:
            ModuleNotFoundError: docket is not installed; the text says how to.
        """
        await work(self.settings, self._plan, concurrency=concurrency, telemetry=self._telemetry)

    def _get_services(self) -> Services:
        return self._shared.value

    def _build_routes(self) -> list[Route]:
        paths: dict[str, dict[str, Serve]] = defaultdict(dict)
        for operation, serve in self._bound():
            paths[operation.path][operation.method] = serve
            if operation.method == "GET":
                paths[operation.path]["HEAD"] = serve
        pages: dict[str, Serve] = {
            "/openapi.json": self._document,
            "/docs": self._page_of(self._docs, "docs.html"),
            "/docs/{name}": self._files_of(self._docs),
        }
        if self._ui is not None:
            pages["/"] = self._page_of(self._ui, "index.html")
            pages["/ui/{name}"] = self._files_of(self._ui)
        for path, serve in pages.items():
            paths[path] = {"GET": serve, "HEAD": serve}
        return [Route(path, PathEndpoint(methods)) for path, methods in paths.items()]

    def _bound(self) -> list[Bound]:
        """Every operation with what serves it."""

        def bind(
            operation: Operation[QueryT, BodyT],
            handler: Callable[[Call[QueryT, BodyT]], Awaitable[ASGIApp]],
        ) -> Bound:
            return operation, self._checks.serve(operation, handler)

        services = self._get_services
        return [
            bind(operations.SEND_MESSAGE, lambda call: services().chat.send_message(call)),
            bind(operations.READ_STREAM, lambda call: services().stream.read(call)),
            bind(operations.RESUME_RUN, lambda call: services().chat.resume_run(call)),
            bind(operations.STOP_RUN, lambda call: services().chat.stop_run(call)),
            bind(operations.READ_THREAD, lambda call: services().chat.read_thread(call)),
            bind(operations.RENAME_THREAD, lambda call: services().chat.rename_thread(call)),
            bind(operations.DELETE_THREAD, lambda call: services().chat.delete_thread(call)),
            bind(operations.LIST_THREADS, lambda call: services().chat.list_threads(call)),
            bind(operations.HEALTHZ, _healthz),
            bind(operations.READYZ, self._readyz),
        ]

    async def _readyz(self, call: Call[NoQuery, NoBody]) -> ASGIApp:
        found = await self._get_services().readiness.find()
        headers = {"Cache-Control": "no-store"}
        return JSONResponse(
            found.model_dump(exclude_none=True), 200 if found.status == "ready" else 503, headers=headers
        )

    async def _document(self, request: Request) -> ASGIApp:
        server = str(request.scope.get("root_path", "")).rstrip("/")
        document = build_document(server=server, version=resumable_stream.__version__)
        return JSONResponse(document, headers={"Cache-Control": "no-cache"})

    def _page_of(self, pages: Pages, name: str) -> Serve:
        async def serve(request: Request) -> ASGIApp:
            self._get_services()
            return pages.get(name).response(request)

        return serve

    def _files_of(self, pages: Pages) -> Serve:
        async def serve(request: Request) -> ASGIApp:
            return pages.get(request.path_params["name"]).response(request)

        return serve


async def _healthz(call: Call[NoQuery, NoBody]) -> Response:
    return JSONResponse(Health().model_dump())


def _middleware(settings: Settings) -> list[Middleware]:
    middleware = [Middleware(SecurityHeaders)]
    if settings.cors_origins:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_credentials=settings.cors_credentials,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Content-Type", "Idempotency-Key", "Last-Event-ID", "Authorization"],
            expose_headers=["X-Active-Run-Id", "X-Run-Id", "Retry-After"],
        )
        middleware.append(cors)
    return middleware


def create_app(
    settings: Settings | None = None,
    *,
    agent: Any = None,
    identify: Identify | None = None,
    ui: bool = True,
    telemetry: Telemetry | None = None,
) -> ChatApp:
    """Make the chat sub-app: routes for messages, streams and threads, and the bundled page.

    Stand-alone: ``uvicorn "resumable_stream.app:create_app" --factory``. Mounted::

        chat = create_app()
        app = FastAPI(lifespan=chat.lifespan)
        app.mount("/assistant", chat)

    Nothing is opened before the lifespan is entered, and neither Redis nor Postgres has to be up
    then.

    Args:
        settings: by default they are read from the environment and ``.env``.
        agent: what answers: a compiled LangGraph graph with ``messages`` in its state, or any
            object with the methods of ``resumable_stream.agent.Agent``. By default an agent with
            the model that the settings name, and web search.
        identify: called with each request, names its owner: 1 to 255 characters, or an ``Identity`` that can
            also say until when. It may be async. ``None`` or an exception is answered with 401. By
            default everybody is one owner.
        ui: whether the bundled page is served.
        telemetry: measures it; by default that of OpenTelemetry's global providers, where some are set up.

    Raises:
        SettingsError: something is missing or wrong; the text says what to write where.
        TypeError: ``agent`` is none of what it may be.
    """
    return ChatApp(
        settings=load_settings() if settings is None else settings,
        agent=agent,
        identify=identify or anonymous,
        ui=ui,
        telemetry=telemetry,
    )
