"""Connections that break: the page finds back by itself, and nothing is lost or said twice."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, expect

from browser.chat_page import ChatPage, open_chat, start_run
from browser.chat_server import parts
from browser.pages import PageWatch
from browser.serving import ChatServer, chat_server, database_on
from resumable_stream.testing import FaultProxy
from support import wait_until

pytestmark = pytest.mark.browser

RESUMED = re.compile(r"/v1/chat/stream\?.*last_event_id=")


@pytest.fixture
async def proxy(server: ChatServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy("127.0.0.1", server.port) as proxy:
        yield proxy


@pytest.fixture
async def shaky(proxy: FaultProxy, context: BrowserContext, watch: PageWatch, server: ChatServer) -> ChatPage:
    """The page behind a proxy that fails on command, with a clock that the test can put forward."""
    watch.network_errors_expected = True
    page = await context.new_page()
    await page.clock.install()
    chat = ChatPage(page, f"http://{proxy.host}:{proxy.port}/assistant/", gates=server.root)
    await chat.load()
    return chat


async def lose_what_comes(proxy: FaultProxy, chat: ChatPage, gate: str) -> None:
    """Let the next token get lost on a line that stays open and seems well."""
    before = proxy.to_client.swallowed
    proxy.to_client.swallow = True
    await chat.open_gate(gate)
    await wait_until(lambda: proxy.to_client.swallowed > before)
    proxy.heal()


async def test_a_cut_connection_costs_nothing(shaky: ChatPage, proxy: FaultProxy) -> None:
    prompt = "A long answer, gate-cut"
    first, second, whole = parts(prompt)
    await shaky.send(prompt)
    await shaky.waits_after(first)
    proxy.cut()
    await shaky.open_gate("cut")
    await shaky.waits_after(second)
    proxy.reset_peer()
    await shaky.open_gate("cut")
    await shaky.finished(answers=1)
    await shaky.shows(whole)


async def test_a_server_out_of_reach_is_mentioned_until_it_is_back(shaky: ChatPage, proxy: FaultProxy) -> None:
    prompt = "gate-reach"
    first, _, whole = parts(prompt)
    notice = shaky.page.get_by_text("Reconnecting. The answer goes on meanwhile.")
    await shaky.send(prompt)
    await shaky.waits_after(first)
    await proxy.down()
    await expect(notice).to_be_visible()
    await expect(shaky.page.get_by_role("status")).to_have_text("Connection lost. Reconnecting.")
    async with shaky.page.expect_request(RESUMED, timeout=30_000):
        await shaky.page.get_by_role("button", name="Try now").click()
    await proxy.up()
    await shaky.open_gate("reach")
    await shaky.open_gate("reach")
    await shaky.page.clock.fast_forward(10_000)
    await expect(notice).to_be_hidden()
    await shaky.finished(answers=1)
    await shaky.shows(whole)


async def test_a_line_that_died_in_silence_is_replaced(shaky: ChatPage, proxy: FaultProxy) -> None:
    prompt = "A lump, gate-silence"
    first, second, whole = parts(prompt)
    await shaky.send(prompt)
    await shaky.waits_after(first)
    await lose_what_comes(proxy, shaky, "silence")
    async with shaky.page.expect_request(RESUMED, timeout=30_000):
        await shaky.page.clock.fast_forward(60_000)
    await shaky.waits_after(second)
    await shaky.open_gate("silence")
    await shaky.finished(answers=1)
    await shaky.shows(whole)


async def test_a_hidden_tab_gives_its_connection_back_and_continues_when_it_is_seen(
    shaky: ChatPage,
) -> None:
    prompt = "gate-hidden"
    first, _, whole = parts(prompt)
    await shaky.send(prompt)
    await shaky.waits_after(first)
    async with shaky.page.expect_event("requestfailed", lambda request: "/stream" in request.url):
        await shaky.look_away()
        await shaky.page.clock.fast_forward(6_000)
    await shaky.open_gate("hidden")
    await shaky.open_gate("hidden")
    async with shaky.page.expect_request(RESUMED, timeout=30_000):
        await shaky.look_at()
    await shaky.finished(answers=1)
    await shaky.shows(whole)


async def test_coming_online_replaces_a_connection_that_looks_alive(shaky: ChatPage, proxy: FaultProxy) -> None:
    prompt = "A lump, gate-online"
    first, second, whole = parts(prompt)
    await shaky.send(prompt)
    await shaky.waits_after(first)
    await lose_what_comes(proxy, shaky, "online")
    async with shaky.page.expect_request(RESUMED, timeout=30_000):
        await shaky.page.evaluate("window.dispatchEvent(new Event('online'))")
    await shaky.waits_after(second)
    await shaky.open_gate("online")
    await shaky.finished(answers=1)
    await shaky.shows(whole)


async def test_a_browser_without_a_network_is_told_apart(shaky: ChatPage, proxy: FaultProxy) -> None:
    prompt = "gate-offline"
    first, _, whole = parts(prompt)
    await shaky.send(prompt)
    await shaky.waits_after(first)
    await shaky.page.context.set_offline(True)
    await proxy.down()
    await expect(shaky.page.get_by_text("You are offline.")).to_be_visible()
    await proxy.up()
    await shaky.page.context.set_offline(False)
    await shaky.open_gate("offline")
    await shaky.open_gate("offline")
    await shaky.finished(answers=1)
    await shaky.shows(whole)


async def test_a_run_of_another_device_is_found_before_long(shaky: ChatPage) -> None:
    prompt = "gate-device"
    first, _, whole = parts(prompt)
    await shaky.send("quick First.")
    await shaky.finished()
    await start_run(shaky.page.context, shaky.url, prompt, shaky.thread_id)
    await shaky.page.clock.fast_forward(61_000)
    await shaky.waits_after(first)
    await shaky.open_gate("device")
    await shaky.open_gate("device")
    await shaky.finished(answers=2)
    await shaky.shows(whole)


async def test_seven_tabs_follow_one_answer_though_a_browser_has_six_connections(
    context: BrowserContext, watch: PageWatch, server: ChatServer
) -> None:
    prompt = "gate-seven"
    first, _, whole = parts(prompt)
    tabs: list[ChatPage] = []
    fragment = ""
    for _ in range(7):
        page = await context.new_page()
        await page.clock.install()
        tab = ChatPage(page, server.url)
        await tab.load(fragment)
        if not fragment:
            await tab.send(prompt)
        await tab.waits_after(first)
        fragment = f"#thread={tab.thread_id}"
        await tab.look_away()
        await page.clock.fast_forward(6_000)
        tabs.append(tab)
    await tabs[0].open_gate("seven")
    await tabs[0].open_gate("seven")
    for tab in tabs:
        await tab.look_at()
        await tab.finished(answers=1)
        await tab.shows(whole)


@pytest.fixture
def own_database(postgres_dsn: str) -> Iterator[str]:
    """Another than that of the server for all tests, which would go on with the runs of one that is killed."""
    with database_on(postgres_dsn) as url:
        yield url


async def test_a_killed_servers_answer_is_written_by_the_next_one_and_the_page_drops_the_part(
    context: BrowserContext, watch: PageWatch, valkey_url: str, own_database: str, tmp_path: Path
) -> None:
    watch.network_errors_expected = True
    prompt = "gate-killed"
    first, second, whole = parts(prompt)
    log = tmp_path / "server.log"
    with chat_server(redis_url=valkey_url, database_url=own_database, log=log) as doomed:
        chat = await open_chat(context, doomed.url)
        await chat.send(prompt)
        await chat.waits_after(first)
        await chat.open_gate("killed")
        await chat.waits_after(second)
        doomed.kill()
        with chat_server(redis_url=valkey_url, database_url=own_database, log=log, port=doomed.port):
            await chat.page.evaluate("window.dispatchEvent(new Event('online'))")
            await chat.waits_after(first)
            await chat.open_gate("killed")
            await chat.waits_after(second)
            await chat.open_gate("killed")
            await chat.finished(answers=1)
            await chat.shows(whole)
            await chat.reload()
            await chat.finished(answers=1)
            await chat.shows(whole)
            assert [one["content"] for one in await chat.history()] == [prompt, whole]
            await chat.page.close()


async def test_an_answer_that_nobody_goes_on_with_is_kept_as_far_as_it_came(
    context: BrowserContext, watch: PageWatch, valkey_url: str, own_database: str, tmp_path: Path
) -> None:
    watch.network_errors_expected = True
    prompt = "gate-given-up"
    first, *_ = parts(prompt)
    log = tmp_path / "server.log"
    with chat_server(redis_url=valkey_url, database_url=own_database, log=log, RUN_MAX_ATTEMPTS="1") as doomed:
        chat = await open_chat(context, doomed.url)
        await chat.send(prompt)
        await chat.waits_after(first)
        doomed.kill()
        with chat_server(
            redis_url=valkey_url, database_url=own_database, log=log, port=doomed.port, RUN_MAX_ATTEMPTS="1"
        ):
            await chat.page.evaluate("window.dispatchEvent(new Event('online'))")
            await chat.finished("lost")
            await chat.shows(first)
            await expect(chat.alert).to_contain_text("The answer broke off")
            await chat.reload()
            await chat.finished("cancelled", answers=1)
            await chat.shows(first)
            await chat.send("quick On we go.")
            await chat.finished(answers=2)
            await chat.shows("On we go.")
            await chat.page.close()
