"""Pages of other origins change nothing, whatever they send; programs and the app's own pages may."""

from __future__ import annotations

from typing import Any

import httpx
from redis import Redis

from app.scripted import ScriptedAgent
from app.serving import Chat, chat_on, code_of, new_thread, served, settings_for
from resumable_stream.app import create_app
from resumable_stream.app._operations import OPERATIONS, Operation

CHANGING = [operation for operation in OPERATIONS if operation.method != "GET"]


async def call(chat: Chat, operation: Operation[Any, Any], **headers: str) -> httpx.Response:
    """A request about a thread that is not there, with a body that no model takes: a 4xx when it is let in."""
    params = {"thread_id": new_thread()}
    return await chat.http.request(operation.method, operation.path, params=params, json={}, headers=headers)


async def test_every_route_that_changes_something_refuses_pages_of_other_origins(chat: Chat, url: str) -> None:
    """Before the caller is asked for, so that it says nothing about who is signed in."""
    foreign: list[dict[str, str]] = [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site", "Origin": url},  # what plain http has to say about https
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "http://["},
        {"Origin": "https://evil.example", "X-Forwarded-Host": "evil.example"},
        {"Origin": "https://evil.example", "Forwarded": "host=evil.example"},
    ]
    for operation in CHANGING:
        for headers in foreign:
            response = await call(chat, operation, **headers)
            assert (response.status_code, code_of(response)) == (403, "cross_site_request"), (operation.id, headers)
    del chat.http.headers["X-User"]
    for operation in CHANGING:
        assert (await call(chat, operation, Origin="https://evil.example")).status_code == 403


async def test_programs_and_own_pages_are_let_in(chat: Chat, url: str) -> None:
    own: list[dict[str, str]] = [
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://the.public.name"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": url},
        {"Origin": "https://chat.example", "Host": "chat.example"},
        {"Origin": "https://Chat.example", "Host": "chat.example:443"},
        {"Origin": "http://chat.example:80", "Host": "chat.example"},
    ]
    for operation in CHANGING:
        for headers in own:
            assert (await call(chat, operation, **headers)).status_code in (404, 422), (operation.id, headers)


async def test_reading_is_left_to_the_browsers_own_rule(chat: Chat) -> None:
    """A page of another origin may ask, and gets to see nothing: there is no CORS header."""
    response = await chat.http.get("/v1/threads", headers={"Origin": "https://evil.example"})
    assert response.status_code == 200
    assert not [name for name in response.headers if name.startswith("access-control")]
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"


async def test_origins_that_are_named_may_change_things(
    valkey_url: str, database_url: str, empty_redis: Redis, agent: ScriptedAgent
) -> None:
    settings = settings_for(
        valkey_url,
        database_url,
        cors_origins="https://a.example",
        trusted_origins="https://b.example, http://c.example",
    )
    async with served(create_app(settings, agent=agent)) as url, chat_on(url) as chat:
        for origin, status in (
            ("https://a.example", 404),
            ("https://B.example", 404),
            ("http://c.example", 404),
            ("https://d.example", 403),
            ("https://c.example", 403),
        ):
            for headers in ({"Origin": origin}, {"Origin": origin, "Sec-Fetch-Site": "cross-site"}):
                response = await chat.http.delete(f"/v1/thread?thread_id={new_thread()}", headers=headers)
                assert response.status_code == status, headers


async def test_a_page_that_gives_its_name_the_apps_address_gets_nothing(
    valkey_url: str, database_url: str, empty_redis: Redis, agent: ScriptedAgent
) -> None:
    """DNS rebinding: the browser takes it for the same origin, and only the name of the host shows it."""
    settings = settings_for(valkey_url, database_url, allowed_hosts="chat.example, 127.0.0.1, [::1]")
    async with served(create_app(settings, agent=agent)) as url, chat_on(url) as chat:
        for host, status in (
            ("chat.example", 200),
            ("Chat.Example:8000", 200),
            ("[::1]:8000", 200),
            ("evil.example", 421),
            ("evil.example:8000", 421),
            ("chat.example.evil.example", 421),
            ("evilchat.example", 421),
        ):
            headers = {"Host": host, "Sec-Fetch-Site": "same-origin", "Origin": f"http://{host}"}
            assert (await chat.http.get("/v1/threads", headers=headers)).status_code == status, host
            response = await chat.post("", None, **headers)
            assert response.status_code == (422 if status == 200 else 421), host
            assert (await chat.http.get("/healthz", headers=headers)).status_code == 200, (
                "load balancers ask by address"
            )


async def test_what_is_refused_has_changed_nothing(chat: Chat, agent: ScriptedAgent) -> None:
    response = await chat.post("hello", None, **{"Sec-Fetch-Site": "cross-site"})
    assert response.status_code == 403
    assert agent.turns == []
    assert (await chat.threads())["threads"] == []
