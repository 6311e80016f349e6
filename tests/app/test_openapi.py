"""The API's document says what the API does, and the page that shows it works without any other server."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from playwright.async_api import Page, Route, async_playwright, expect

from app.scripted import ScriptedAgent
from app.serving import Chat, code_of, new_thread
from resumable_stream.app import ChatApp
from resumable_stream.app._operations import ERROR_STATUS, OPERATIONS
from support import wait_until


@pytest.fixture
async def document(chat: Chat) -> dict[str, Any]:
    found: dict[str, Any] = (await chat.http.get("/openapi.json")).json()
    return found


def references(value: Any) -> Iterator[str]:
    """All that is referred to, at any depth."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


async def test_the_document_has_every_route_of_the_app_and_no_other(app: ChatApp, document: dict[str, Any]) -> None:
    served = {route.path for route in app.routes if re.match(r"/(v1|healthz|readyz)", route.path)}  # type: ignore[attr-defined]
    assert set(document["paths"]) == served
    ids = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert sorted(ids) == sorted(operation.id for operation in OPERATIONS)
    assert document["openapi"] == "3.1.0"
    assert document["servers"] == [{"url": "/"}]


async def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for reference in references(document):
        target: Any = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
        assert isinstance(target, dict)


async def test_every_method_in_the_document_is_answered_as_it_says(chat: Chat, document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            params = {"thread_id": new_thread(), "run_id": new_thread()}
            body = {"message": "hi", "thread_id": params["thread_id"], "chat_name": "x"}
            schema = operation.get("requestBody")
            if schema is not None:
                name = schema["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
                known = document["components"]["schemas"][name]["properties"]
                body = {key: value for key, value in body.items() if key in known}
            response = await chat.http.request(
                method.upper(), path, params=params, json=None if schema is None else body
            )
            assert str(response.status_code) in operation["responses"], (path, method, response.text)
            if response.status_code >= 400:
                described = operation["responses"][str(response.status_code)]["description"]
                assert f"`{code_of(response)}`" in described


async def test_examples_and_answers_fit_their_schemas(chat: Chat, document: dict[str, Any]) -> None:
    sent = await chat.send("tool:search hello")
    await chat.read(sent["thread_id"])
    answers = {
        "MessageAccepted": [sent],
        "Message": await chat.history(sent["thread_id"]),
        "ThreadSummary": (await chat.threads())["threads"],
        "ThreadPage": [await chat.threads()],
        "RunStopped": [(await chat.stop(sent["thread_id"])).json()],
        "Readiness": [(await chat.http.get("/readyz")).json()],
        "ErrorBody": [(await chat.thread(new_thread())).json()],
    }
    for name, values in answers.items():
        schema = document["components"]["schemas"][name]
        for value in values:
            assert set(schema.get("required", [])) <= set(value) <= set(schema["properties"]), name


def test_every_error_code_of_the_table_is_used_by_some_operation() -> None:
    general = {"unauthenticated", "body_too_large", "unsupported_media_type", "invalid_request"}
    general |= {"redis_unavailable", "postgres_unavailable", "shutting_down"}
    general |= {"unknown_host", "cross_site_request", "body_timeout", "uri_too_long", "headers_too_large"}
    assert {code for operation in OPERATIONS for code in operation.errors} | general == set(ERROR_STATUS)


async def test_pages_are_revalidated_and_only_packaged_files_are_served(chat: Chat) -> None:
    page = await chat.http.get("/docs")
    again = await chat.http.get("/docs", headers={"If-None-Match": f'"x", W/{page.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    for path in ("/docs/nothing.js", "/docs/..%2f_app.py", "/docs/%2e%2e%2f_app.py", "/ui/_app.py", "/ui/..%2fx"):
        assert (await chat.http.get(path)).status_code == 404, path


async def test_pages_load_nothing_from_elsewhere_and_nothing_inline(chat: Chat) -> None:
    for name in ("docs.html", "docs.js", "docs-dom.js", "docs.css"):
        path = "/docs" if name == "docs.html" else f"/docs/{name}"
        text = (await chat.http.get(path)).text
        assert not re.search(r"https?://|innerHTML|eval\(|<script>| style=| on[a-z]+=", text), name


_CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture
async def page(url: str) -> AsyncIterator[Page]:
    """A page in a browser that can reach this server alone; an error on the page fails the test."""
    if _CHROMIUM is None:
        pytest.skip("no Chromium found: install it, or set CHROMIUM=/path/to/it")
    problems: list[str] = []

    async def only_here(route: Route) -> None:
        if route.request.url.startswith(url):
            await route.continue_()
        else:
            problems.append(f"asked for {route.request.url}")
            await route.abort()

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        context = await browser.new_context(base_url=url)
        await context.route("**/*", only_here)
        opened = await context.new_page()
        opened.on("pageerror", lambda error: problems.append(str(error)))
        opened.on("console", lambda line: problems.append(line.text) if "Content Security" in line.text else None)
        yield opened
        await browser.close()
    assert problems == []


@pytest.mark.browser
async def test_operations_can_be_tried_on_the_page(page: Page, agent: ScriptedAgent) -> None:
    await page.goto("/docs")
    await expect(page.locator("main details")).to_have_count(len(OPERATIONS))
    await page.locator("header details summary").click()
    await page.locator("#headers").fill("X-User: ann")
    send = page.locator("#send_message")
    await send.locator("summary").click()
    await send.get_by_label("Body, as SendMessage").fill(json.dumps({"message": "one hold two"}))
    await send.get_by_role("button", name="Send").click()
    await expect(send.locator(".status")).to_have_text(re.compile("^200"))
    await wait_until(lambda: bool(agent.turns))
    thread_id = agent.turns[0].thread_id
    follow = page.locator("#read_stream")
    await follow.locator("summary").click()
    assert await follow.locator("#read_stream-thread_id").input_value() == thread_id
    await follow.get_by_role("button", name="Send").click()
    shown = follow.get_by_label("Response")
    await expect(shown).to_contain_text("data: one")
    agent.release.set()
    await expect(shown).to_contain_text("data: end")
    read = page.locator("#read_thread")
    await read.locator("summary").click()
    await read.locator("#read_thread-thread_id").fill(new_thread())
    await read.get_by_role("button", name="Send").click()
    await expect(read.locator(".status")).to_have_text(re.compile("^404"))
    await expect(read.get_by_label("Response")).to_contain_text("thread_not_found")


@pytest.mark.browser
async def test_listening_can_be_stopped_on_the_page(page: Page, agent: ScriptedAgent) -> None:
    await page.goto("/docs")
    await page.locator("header details summary").click()
    await page.locator("#headers").fill("X-User: ann")
    send = page.locator("#send_message")
    await send.locator("summary").click()
    await send.get_by_label("Body, as SendMessage").fill(json.dumps({"message": "one hold two"}))
    await send.get_by_role("button", name="Send").click()
    await expect(send.locator(".status")).to_have_text(re.compile("^200"))
    follow = page.locator("#read_stream")
    await follow.locator("summary").click()
    await follow.get_by_role("button", name="Send").click()
    await expect(follow.get_by_label("Response")).to_contain_text("data: one")
    await follow.get_by_role("button", name="Stop listening").click()
    await expect(follow.get_by_label("Response")).to_contain_text("stopped listening")
    agent.release.set()
