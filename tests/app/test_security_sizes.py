"""What is too large, too deep or too slow is refused before it costs anything, and never breaks the server."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import httpx
from redis import Redis

from app.scripted import ScriptedAgent
from app.serving import DEADLINE, Chat, chat_on, code_of, new_thread, served, settings_for
from resumable_stream.app import create_app
from resumable_stream.app._operations import OPERATIONS

JSON = {"Content-Type": "application/json"}


def told(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, code_of(response)


async def test_long_queries_and_large_headers_are_refused_on_every_path(chat: Chat) -> None:
    for path in {operation.path for operation in OPERATIONS} | {"/", "/ui/main.js", "/docs", "/openapi.json"}:
        assert told(await chat.http.get(path, params={"x": "y" * 16_383})) == (414, "uri_too_long"), path
        for headers in ({"X-Large": "y" * 32_768}, {f"X-{number}": "" for number in range(128)}):
            assert told(await chat.http.get(path, headers=headers)) == (431, "headers_too_large"), path


async def test_what_browsers_and_proxies_send_is_not_too_large(chat: Chat) -> None:
    headers = {f"X-Forwarded-{number}": "y" * 100 for number in range(100)} | {"Cookie": "z" * 8192}
    response = await chat.http.get("/v1/threads", params={"_": "y" * 16_000}, headers=headers)
    assert response.status_code == 200


async def test_a_malformed_event_id_is_refused_wherever_it_is_sent(chat: Chat) -> None:
    sent = await chat.send("hello")
    await chat.read(sent["thread_id"])
    for cursor in ("x", "1-1" + "0" * 128, "$", "-1"):
        headers = {"Last-Event-ID": cursor}
        answers = [
            await chat.http.get("/v1/chat/stream", params={"thread_id": sent["thread_id"]}, headers=headers),
            await chat.stream_status(sent["thread_id"], last_event_id=cursor),
            await chat.post("hello", sent["thread_id"], **headers),
        ]
        assert [told(answer) for answer in answers] == [(400, "invalid_event_id")] * 3, cursor


async def test_json_that_is_deep_or_strange_is_422(
    valkey_url: str, database_url: str, empty_redis: Redis, agent: ScriptedAgent
) -> None:
    settings = settings_for(valkey_url, database_url, max_body_bytes=1024**2)
    bodies = {
        "brackets": b"[" * 200_000,
        "a deep list": b'{"message": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        "deep objects": b'{"a":' * 40_000 + b"1" + b"}" * 40_000,
        "a long number": b'{"message": ' + b"1" * 200_000 + b"}",
        "a huge number": b'{"message": 1e' + b"9" * 200_000 + b"}",
        "half a pair": b'{"message": "\\ud800"}',
        "a name of half a pair": b'{"\\ud800": 1}',
        "the same name twice": b'{"message": "x", "message": 1}',
    }
    async with served(create_app(settings, agent=agent)) as url, chat_on(url) as chat:
        for name, body in bodies.items():
            response = await chat.http.post("/v1/chat/message", content=body, headers=JSON)
            assert told(response) == (422, "invalid_request"), name


async def test_a_refusal_is_small_however_much_is_wrong(chat: Chat) -> None:
    fields = ",".join(f'"{"x" * 1000}{number}": 1' for number in range(200))
    response = await chat.http.post("/v1/chat/message", content=f"{{{fields}}}", headers=JSON)
    assert told(response) == (422, "invalid_request")
    assert len(response.json()["error"]["detail"]) == 20
    assert len(response.content) < 8_000


async def test_a_body_that_comes_too_slowly_is_408_and_its_connection_is_closed(
    valkey_url: str, database_url: str, empty_redis: Redis, agent: ScriptedAgent
) -> None:
    settings = settings_for(valkey_url, database_url, body_timeout_seconds=0.2)
    async with served(create_app(settings, agent=agent)) as url, asyncio.timeout(DEADLINE):
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        writer.write(
            b"POST /v1/chat/message HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b'Content-Length: 100\r\n\r\n{"message":'
        )
        answer = await reader.read()  # to the end: the server hangs up
        writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408")
        assert b"connection: close" in head.lower()
        assert b"body_timeout" in body
        async with chat_on(url) as chat:
            assert (await chat.thread(new_thread())).status_code == 404, "others are served"
    assert agent.turns == []
