"""Secrets stay where they belong: none is in a log, an answer, a stream, a row or a key, whatever goes wrong.

Each place that knows a secret, and each error text that could carry one, gets a word of its own; afterwards all that
was written anywhere is searched for these words.
"""

from __future__ import annotations

import io
import logging
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from psycopg import sql
from redis import Redis
from starlette.requests import Request

from agent.provider_wire import Call, Failure, ProviderWire, Reply, provider_wire
from app.serving import DEADLINE, Chat, code_of, eventually, served, settings_for
from resumable_stream.agent import build_graph, chat_model, web_search_tool
from resumable_stream.app import Settings, create_app
from telemetry.collected import Collected, collecting

Log: TypeAlias = "logging.StreamHandler[io.StringIO]"


class Words:
    """Words that occur nowhere else, by what they stand for."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        return self.known.setdefault(name, f"{name}-{secrets.token_hex(8)}")

    def found_in(self, text: str) -> list[str]:
        return [name for name, word in self.known.items() if word in text]


@pytest.fixture
def words() -> Words:
    return Words()


@pytest.fixture
def wire() -> Iterator[ProviderWire]:
    with provider_wire() as server:
        yield server


@pytest.fixture
def told() -> Iterator[Collected]:
    """What OpenTelemetry is told."""
    with collecting() as found:
        yield found


@pytest.fixture
def redis_with_password(valkey_url: str, empty_redis: Redis, words: Words) -> Iterator[str]:
    """The address of the server for a user that needs a password."""
    empty_redis.acl_setuser(
        "keeper", enabled=True, passwords=[f"+{words['redis-password']}"], keys="*", channels="*", commands=["+@all"]
    )
    yield f"redis://keeper:{words['redis-password']}@{urlsplit(valkey_url).netloc}/0"
    empty_redis.acl_deluser("keeper")


@pytest.fixture
def database_with_password(database_url: str, words: Words) -> Iterator[str]:
    """The address of the database for a role that has a password."""
    role = f"keeper_{secrets.token_hex(4)}"
    parts = urlsplit(database_url)
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(
            sql.SQL("CREATE ROLE {} SUPERUSER LOGIN PASSWORD {}").format(
                sql.Identifier(role), sql.Literal(words["database-password"])
            )
        )
        host = parts.netloc.rpartition("@")[2]
        yield parts._replace(netloc=f"{role}:{words['database-password']}@{host}").geturl()
        admin.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(sql.Identifier(role)))
        admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[Log]:
    """What everybody logs, at every level, with the tracebacks."""
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
    caplog.set_level(logging.DEBUG)
    with heard_by(handler, logging.getLogger()):
        yield handler


@contextmanager
def heard_by(handler: Log, *loggers: logging.Logger) -> Iterator[None]:
    """Everything that the loggers log goes there too."""
    before = [(logger, logger.level) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    yield
    for logger, level in before:
        logger.removeHandler(handler)
        logger.setLevel(level)


class Heard:
    """A client that keeps everything that it was told."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.chat = Chat(http)
        self.text = ""
        http.event_hooks["response"].append(self._keep)

    async def _keep(self, response: httpx.Response) -> None:
        await response.aread()
        self.text += f"{response.status_code} {response.headers}\n{response.text}\n"


@asynccontextmanager
async def heard(
    settings: Settings, wire: ProviderWire, words: Words, log: Log, told: Collected
) -> AsyncIterator[Heard]:
    """The app with a real client of a provider and a real search tool, and a client whose proofs are secrets too."""

    def identify(request: Request) -> str:
        if request.headers["authorization"] != f"Bearer {words['token']}":
            raise PermissionError(f"{words['wrong-token']} is not known, nor is {request.headers['authorization']}")
        return "ann"

    model = chat_model("openai", "scripted", api_key=settings.api_key, base_url=f"{wire.url}/v1", max_retries=0)
    search = web_search_tool(tavily_api_key=settings.tavily_api_key, tavily_base_url=wire.url)
    app = create_app(settings, agent=build_graph(model, [search]), identify=identify, telemetry=told.telemetry)
    async with served(app) as url:
        proofs = {"Authorization": f"Bearer {words['token']}", "Cookie": f"session={words['cookie']}"}
        uvicorn = [logging.getLogger(f"uvicorn.{name}") for name in ("access", "error")]  # it has set them up by now
        async with httpx.AsyncClient(base_url=url, headers=proofs, timeout=DEADLINE) as http:
            with heard_by(log, *uvicorn):
                yield Heard(http)


def everything_in_redis(admin: Redis) -> str:
    """All keys with what is in them."""
    read: dict[Any, Any] = {b"stream": admin.xrange, b"hash": admin.hgetall, b"string": admin.get}
    return "\n".join(f"{key!r} {read[admin.type(key)](key)}" for key in admin.scan_iter())


def everything_in_postgres(database_url: str) -> str:
    """All rows of all tables."""
    found: list[str] = []
    with psycopg.connect(database_url) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        tables = {name for (name,) in names}
        assert {"checkpoints", "checkpoint_blobs", "checkpoint_writes", "resumable_stream_runs"} <= tables
        for table in tables:
            rows = connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table)))
            found.extend(f"{table} {row}" for row in rows)
    return "\n".join(found)


async def test_no_secret_is_written_or_told_anywhere(
    redis_with_password: str,
    database_with_password: str,
    database_url: str,
    empty_redis: Redis,
    wire: ProviderWire,
    words: Words,
    log: Log,
    told: Collected,
    no_tasks_left: None,
) -> None:
    settings = settings_for(
        redis_with_password,
        database_with_password,
        openai_api_key=words["provider-key"],
        tavily_api_key=words["search-key"],
        anthropic_api_key=words["other-key"],
    )
    async with heard(settings, wire, words, log, told) as client:
        chat = client.chat

        async def say(message: str, *steps: Reply | Failure) -> str:
            wire.script(*steps)
            sent = await chat.send(message, thread_id)
            await chat.read(sent["thread_id"], run_id=sent["run_id"], format="json")
            return sent["thread_id"]

        thread_id: str | None = None
        thread_id = await say("hello", Reply(text=["Hello ", "there."]))
        wire.search = (200, {"results": [{"title": "A page", "url": "https://a.example", "content": "words"}]})
        searching = Reply(calls=[Call("call_a", "web_search", {"query": "cats"})])
        await say("search", searching, Reply(text=["Found."]))
        wire.search = (401, {"detail": {"error": f"bad key {words['search-error']} {words['search-key']}"}})
        await say("search again", searching, Reply(text=["Not found."]))
        quoting = f"{words['provider-error']}: incorrect key {words['provider-key']}"
        await say("be refused", Failure(401, "invalid_api_key", quoting))
        await say("break", Failure(200, "server_error", quoting))
        assert {code for code in ("provider_auth", "provider_unavailable") if code not in client.text} == set()
        answered = [path for path in (request.path for request in wire.requests) if path == "/search"]
        assert len(answered) == 2, "the keys were used"

        for path in ("/", "/docs", "/openapi.json", "/healthz", "/readyz", "/v1/threads", "/nothing"):
            await chat.http.get(path)
        asked = await chat.http.get("/v1/threads", headers={"Authorization": words["wrong-proof"]})
        assert asked.status_code == 401
        body = {"message": 1, "thread_id": words["not-an-id"], "stop": words["no-field"]}
        assert (await chat.http.post("/v1/chat/message", json=body)).status_code == 422

        await broken_postgres(chat, database_url, words)
        await broken_redis(chat, empty_redis)
        said = client.text

    for place, text in {
        "answers and streams": said,
        "logs": log.stream.getvalue(),
        "OpenTelemetry": "".join(span.to_json() for span in told.spans()) + repr(told.metrics()),
        "Redis": everything_in_redis(empty_redis),
        "Postgres": everything_in_postgres(database_url),
        "the settings": f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}",
    }.items():
        assert words.found_in(text) == [], place
    assert "NOPERM" not in said
    assert told.spans(), "runs were traced"
    assert "POST /v1/chat/message HTTP/1.1" in log.stream.getvalue(), "requests were logged"


async def broken_postgres(chat: Chat, database_url: str, words: Words) -> None:
    """A database that refuses with a text that quotes data; and one that lets nobody in."""
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(
            sql.SQL(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN RAISE EXCEPTION '%', {} USING DETAIL = {}; END $$"
            ).format(sql.Literal(words["postgres-error"]), sql.Literal(words["postgres-detail"]))
        )
        admin.execute("CREATE TRIGGER refuse BEFORE INSERT ON resumable_stream_runs EXECUTE FUNCTION refuse()")
        response = await chat.post("hello")
        assert (response.status_code, code_of(response)) == (500, "internal_error")
        admin.execute("DROP TRIGGER refuse ON resumable_stream_runs")
        admin.execute("DROP FUNCTION refuse")  # which holds the words
        (role,) = admin.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'keeper_%'").fetchone() or ("",)
        name = sql.Identifier(role)
        admin.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(name))
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (role,))
        response = await chat.http.get("/v1/threads")
        assert (response.status_code, code_of(response)) == (503, "postgres_unavailable")
        admin.execute(sql.SQL("ALTER ROLE {} LOGIN").format(name))

        async def back() -> bool:
            return (await chat.http.get("/v1/threads")).status_code == 200

        await eventually(back)


async def broken_redis(chat: Chat, admin: Redis) -> None:
    """A server that permits nothing any more, and says to whom it does not."""
    admin.acl_setuser("keeper", enabled=True, commands=["-evalsha", "-eval", "-xrange", "-hmget"])
    response = await chat.post("hello")
    assert response.status_code >= 500
    admin.acl_setuser("keeper", enabled=True, commands=["+@all"])
