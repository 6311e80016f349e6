"""Every answer tells browsers and caches what must not be done with it."""

from __future__ import annotations

import httpx
from starlette.types import Message, Scope

from app.scripted import ScriptedAgent
from app.serving import Chat, new_thread
from resumable_stream.app._headers import SecurityHeaders

PAGES = ("/", "/docs")


async def answers(chat: Chat) -> dict[str, httpx.Response]:
    """Answers of every kind with a user's data, or without any."""
    sent = await chat.send("hello")
    thread_id = sent["thread_id"]
    await chat.read(thread_id)
    return {
        "200": await chat.thread(thread_id),
        "a list": await chat.http.get("/v1/threads"),
        "204": await chat.rename(thread_id, "name"),
        "204 of a stream": await chat.stream_status(thread_id, run_id=new_thread()),
        "400": await chat.stream_status(thread_id, last_event_id="x"),
        "403": await chat.post("hello", None, Origin="https://evil.example"),
        "404": await chat.thread(new_thread()),
        "404 of no route": await chat.http.get("/nothing"),
        "405": await chat.http.put("/v1/thread"),
        "415": await chat.http.post("/v1/chat/message", content=b"x"),
        "422": await chat.post(""),
        "431": await chat.http.get("/v1/threads", headers={"X": "y" * 33_000}),
        "health": await chat.http.get("/healthz"),
        "the end of a run": await chat.stop(thread_id),
    }


async def test_no_answer_with_data_is_kept_by_a_cache(chat: Chat, agent: ScriptedAgent) -> None:
    found = await answers(chat)
    del chat.http.headers["X-User"]
    found["401"] = await chat.http.get("/v1/threads")
    chat.http.headers["X-User"] = "ann"
    agent.down = ZeroDivisionError()
    thread_id = (await chat.threads())["threads"][0]["id"]
    found["500"] = await chat.thread(thread_id)
    assert found["500"].status_code == 500
    for kind, response in found.items():
        assert response.headers.get_list("Cache-Control") == ["no-store"], kind
        assert response.headers["X-Content-Type-Options"] == "nosniff", kind
        assert response.headers["X-Frame-Options"] == "DENY", kind
        assert response.headers["Referrer-Policy"] == "no-referrer", kind
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin", kind
        assert response.headers["Content-Security-Policy"].startswith("default-src 'none';"), kind


async def test_streams_keep_the_cache_rule_of_their_own(chat: Chat) -> None:
    sent = await chat.send("hello")
    async with chat.http.stream("GET", "/v1/chat/stream", params={"thread_id": sent["thread_id"]}) as response:
        assert response.headers.get_list("Cache-Control") == ["no-cache, no-transform"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        await response.aread()


async def test_pages_may_load_their_own_files_and_use_nothing_of_the_device(chat: Chat) -> None:
    for path in PAGES:
        page = await chat.http.get(path)
        again = await chat.http.get(path, headers={"If-None-Match": page.headers["ETag"]})
        for response in (page, again):
            policy = response.headers["Content-Security-Policy"].split("; ")
            assert "default-src 'none'" in policy
            assert "script-src 'self'" in policy
            assert "require-trusted-types-for 'script'" in policy
            assert not any("unsafe" in rule for rule in policy)
            assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
            assert response.headers["X-Frame-Options"] == "DENY"
            for feature in ("camera", "geolocation", "microphone"):
                assert f"{feature}=()" in response.headers["Permissions-Policy"]


async def test_headers_of_a_connection_are_not_sent_where_there_is_none() -> None:
    """HTTP/2 forbids ``Connection``, and its servers break the answer off that has it."""

    async def app(scope: Scope, receive: object, send: object) -> None:
        assert callable(send)
        await send({"type": "http.response.start", "status": 503, "headers": [(b"connection", b"close")]})

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    for version, names in (("1.1", [b"connection"]), ("2", []), ("3", [])):
        sent.clear()
        await SecurityHeaders(app)({"type": "http", "http_version": version}, receive, send)
        assert [name for name, _ in sent[0]["headers"] if name == b"connection"] == names
