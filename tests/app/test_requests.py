"""What a request may look like, and the one form of every error."""

from __future__ import annotations

from typing import Any

import pytest
from httpx import Response
from redis import Redis

from app.scripted import ScriptedAgent
from app.serving import Chat, chat_on, code_of, new_thread, served, settings_for
from resumable_stream.app import create_app

JSON = {"Content-Type": "application/json"}


async def post(chat: Chat, content: bytes, **headers: str) -> Response:
    return await chat.http.post("/v1/chat/message", content=content, headers=headers)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"{}",
        b'{"message": 1}',
        b'{"message": ""}',
        b'{"message": " \\n "}',
        b'{"message": "a\\u0000b"}',
        b'{"message": "\\ud800"}',
        b'{"message": "\xff"}',
        b'{"message": "hi", "thread_id": "1"}',
        b'{"message": "hi", "thread_id": 5}',
        b'{"message": "hi", "other": true}',
        b"[" * 5000,
    ],
)
async def test_a_body_of_another_shape_is_422(chat: Chat, body: bytes) -> None:
    response = await post(chat, body, **JSON)
    assert (response.status_code, code_of(response)) == (422, "invalid_request")
    assert all(set(item) == {"loc", "type", "message"} for item in response.json()["error"]["detail"])


@pytest.mark.parametrize(
    "text",
    ["\u2028 and \u0085", "emoji 👩‍👩‍👧", "data: x\n\nevent: end", "\r\n", "<b>&amp;</b>", "' ; DROP TABLE x --"],
)
async def test_any_text_is_a_message(chat: Chat, text: str) -> None:
    sent = await chat.send("x" + text)
    await chat.read(sent["thread_id"])
    assert (await chat.history(sent["thread_id"]))[0]["content"] == "x" + text


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/chat/message"), ("POST", "/v1/chat/stop"), ("PATCH", "/v1/thread")]
)
async def test_only_json_is_taken_so_that_no_form_can_forge_a_request(
    chat: Chat, method: str, path: str, kind: str
) -> None:
    body = b'{"message": "hi"}'
    headers = {"Content-Type": kind} if kind else {}
    response = await chat.http.request(method, path, params={"thread_id": new_thread()}, content=body, headers=headers)
    assert (response.status_code, code_of(response)) == (415, "unsupported_media_type")


async def test_json_with_a_charset_is_json(chat: Chat) -> None:
    response = await post(chat, b'{"message": "hi"}', **{"Content-Type": "Application/JSON; charset=utf-8"})
    assert response.status_code == 200
    await chat.read(response.json()["thread_id"])


async def test_a_body_over_the_limit_is_413_also_when_its_length_is_not_said(
    valkey_url: str, database_url: str, empty_redis: Redis, agent: ScriptedAgent
) -> None:
    settings = settings_for(valkey_url, database_url, max_body_bytes=2048, max_message_chars=100)

    async def chunks() -> Any:
        for _ in range(100):
            yield b"x" * 1024

    async with served(create_app(settings, agent=agent)) as url, chat_on(url) as chat:
        for content in (b"x" * 3000, chunks()):
            response = await chat.http.post("/v1/chat/message", content=content, headers=JSON)
            assert (response.status_code, code_of(response)) == (413, "body_too_large")
        response = await chat.post("x" * 101)
        assert (response.status_code, code_of(response)) == (422, "invalid_request")
        assert "100" in response.json()["error"]["detail"][0]["message"]
        assert agent.turns == []


async def test_unknown_addresses_and_methods_are_told_in_the_one_form(chat: Chat) -> None:
    missing = await chat.http.get("/v1/nothing")
    assert (missing.status_code, code_of(missing)) == (404, "not_found")
    wrong = await chat.http.put("/v1/thread")
    assert (wrong.status_code, code_of(wrong)) == (405, "method_not_allowed")
    assert wrong.headers["allow"] == "DELETE, GET, HEAD, PATCH"
    assert (await chat.http.get("/v1/chat/message")).headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/v1/thread", {}),
        ("/v1/thread", {"thread_id": "x"}),
        ("/v1/thread", {"thread_id": "\x00"}),
        ("/v1/chat/stream", {"thread_id": "1'--"}),
        ("/v1/chat/stream", {"thread_id": new_thread(), "run_id": "x"}),
        ("/v1/chat/stream", {"thread_id": new_thread(), "format": "xml"}),
        ("/v1/threads", {"limit": "0"}),
        ("/v1/threads", {"limit": "101"}),
        ("/v1/threads", {"cursor": "x"}),
        ("/v1/threads", {"cursor": "\u00e9"}),
        ("/v1/threads", {"cursor": "MjAyNi0wMS0wMX4x"}),
        ("/v1/threads", {"cursor": "a" * 201}),
    ],
)
async def test_parameters_of_another_shape_are_422(chat: Chat, path: str, params: dict[str, str]) -> None:
    response = await chat.http.get(path, params=params)
    assert (response.status_code, code_of(response)) == (422, "invalid_request")


async def test_unknown_parameters_are_ignored(chat: Chat) -> None:
    assert (await chat.threads(_="123"))["threads"] == []


@pytest.mark.parametrize("name", ["", "  ", "x" * 201, "a\0b", 5, None])
async def test_a_name_must_be_a_line_of_text(chat: Chat, name: Any) -> None:
    sent = await chat.send("hello")
    response = await chat.rename(sent["thread_id"], name)
    assert (response.status_code, code_of(response)) == (422, "invalid_request")
    await chat.read(sent["thread_id"])


async def test_an_unexpected_error_says_nothing_about_itself(
    chat: Chat, agent: ScriptedAgent, caplog: pytest.LogCaptureFixture
) -> None:
    sent = await chat.send("hello")
    await chat.read(sent["thread_id"])
    agent.down = ZeroDivisionError("a secret of the server")
    response = await chat.thread(sent["thread_id"])
    assert (response.status_code, code_of(response)) == (500, "internal_error")
    assert "secret" not in response.text
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]


async def test_every_response_forbids_sniffing_and_framing(chat: Chat) -> None:
    for path in ("/", "/docs", "/openapi.json", "/v1/threads", "/nothing", "/healthz"):
        response = await chat.http.get(path)
        assert response.headers["x-content-type-options"] == "nosniff", path
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"], path
        assert "access-control-allow-origin" not in response.headers, path


async def test_pages_of_other_origins_are_let_in_only_when_named(
    valkey_url: str, database_url: str, empty_redis: Redis, agent: ScriptedAgent
) -> None:
    settings = settings_for(valkey_url, database_url, cors_origins="https://a.example, https://b.example/")
    async with served(create_app(settings, agent=agent)) as url, chat_on(url) as chat:
        for origin, allowed in (("https://b.example", True), ("https://c.example", False)):
            response = await chat.http.get("/v1/threads", headers={"Origin": origin})
            assert (response.headers.get("access-control-allow-origin") == origin) is allowed
        asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
        asked["Access-Control-Request-Headers"] = "content-type, idempotency-key"
        assert (await chat.http.options("/v1/chat/message", headers=asked)).status_code == 200


async def test_health_and_readiness(chat: Chat) -> None:
    assert (await chat.http.get("/healthz")).json() == {"status": "ok"}
    ready = await chat.http.get("/readyz")
    assert ready.json() == {"status": "ready", "redis": "ok", "postgres": "ok"}
    assert (await chat.http.head("/healthz")).status_code == 200
