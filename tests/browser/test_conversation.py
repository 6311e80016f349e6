"""Talking to the agent in a real browser: what is on the page is what the model said, whatever happens on the way."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import BrowserContext, Request, Route, expect

from browser.chat_page import ChatPage, open_chat, start_run
from browser.chat_server import THOUGHT, parts
from browser.hostile import HOSTILE
from browser.pages import PageWatch
from browser.serving import ChatServer
from resumable_stream.demo import script

pytestmark = pytest.mark.browser


def said(prompt: str) -> str:
    return "".join(script(prompt))


async def test_the_answer_on_the_page_is_the_models_text(chat: ChatPage) -> None:
    await chat.send("A long answer: how does resuming work?")
    await chat.finished()
    await chat.shows(said("A long answer: how does resuming work?"))
    assert await chat.copied() == said("A long answer: how does resuming work?")
    assert chat.thread_id
    title = "A long answer how does resuming"
    await expect(chat.page.get_by_role("heading", level=1)).to_have_text(title)
    await expect(chat.threads.first).to_contain_text(title)


async def test_the_answer_grows_while_it_is_written(chat: ChatPage) -> None:
    prompt = "A long answer, gate-grow"
    first, second, whole = parts(prompt)
    await chat.send(prompt)
    await chat.waits_after(first)
    await chat.open_gate("grow")
    await chat.waits_after(second)
    await chat.open_gate("grow")
    await chat.finished()
    await chat.shows(whole)


async def test_reloading_in_the_middle_continues_where_it_was(chat: ChatPage) -> None:
    prompt = "A long answer, gate-reload"
    first, second, whole = parts(prompt)
    await chat.send(prompt)
    await chat.waits_after(first)
    await chat.reload()
    await chat.waits_after(first)
    await expect(chat.questions).to_have_count(1)
    await chat.open_gate("reload")
    await chat.waits_after(second)
    await chat.reload()
    await chat.waits_after(second)
    await chat.open_gate("reload")
    await chat.finished(answers=1)
    await chat.shows(whole)
    await chat.reload()
    await chat.finished(answers=1)
    await chat.shows(whole)


async def test_a_second_tab_shows_the_same_answer_growing(chat: ChatPage) -> None:
    prompt = "gate-second"
    first, second, whole = parts(prompt)
    await chat.send(prompt)
    await chat.waits_after(first)
    other = await open_chat(chat.page.context, chat.url, f"#thread={chat.thread_id}")
    await other.waits_after(first)
    await chat.open_gate("second")
    for each in (chat, other):
        await each.waits_after(second)
    await chat.open_gate("second")
    for each in (chat, other):
        await each.finished(answers=1)
        await each.shows(whole)


async def test_a_tab_learns_of_a_run_that_another_tab_has_started(chat: ChatPage) -> None:
    prompt = "gate-learn"
    first, _, whole = parts(prompt)
    await chat.send("quick first")
    await chat.finished()
    other = await open_chat(chat.page.context, chat.url, f"#thread={chat.thread_id}")
    await other.finished(answers=1)
    await other.send(prompt)
    await chat.waits_after(first)
    await chat.open_gate("learn")
    await chat.open_gate("learn")
    for each in (chat, other):
        await expect(each.questions).to_have_count(2)
        await each.finished(answers=2)
        await each.shows(whole)


async def test_stopping_keeps_what_was_said_and_the_next_message_works(chat: ChatPage) -> None:
    prompt = "gate-stop"
    first, *_ = parts(prompt)
    await chat.send(prompt)
    await chat.waits_after(first)
    await chat.stop.click()
    await chat.finished("cancelled")
    await expect(chat.answer).to_contain_text("Stopped before the end")
    assert await chat.copied() == first
    await chat.reload()
    await chat.finished("cancelled", answers=1)
    await chat.shows(first)
    await chat.send("quick On we go.")
    await chat.finished(answers=2)
    await chat.shows("On we go.")


async def test_stopping_works_while_the_model_is_silent(chat: ChatPage) -> None:
    await chat.send("Be silent")
    await expect(chat.answer).to_have_attribute("data-status", "streaming")
    await chat.stop.click()
    await chat.finished("cancelled")
    await chat.send("quick Hello.")
    await chat.finished(answers=2)
    await chat.shows("Hello.")


async def test_a_tools_work_is_shown_folded(chat: ChatPage) -> None:
    await chat.send("Search the docs for cursor")
    await chat.finished()
    tool = chat.answer.locator("details.tool")
    await expect(tool.locator("summary")).to_contain_text("search")
    await expect(tool.locator("summary")).to_contain_text("Done")
    await expect(tool.get_by_label("Result")).not_to_be_visible()
    await tool.locator("summary").press("Enter")
    await expect(tool.get_by_label("Arguments")).to_have_text('{ "query": "cursor" }')
    await expect(tool.get_by_label("Result")).to_be_visible()
    result = await tool.get_by_label("Result").text_content()
    assert json.loads(result or "")[0]["title"], f"the server found {result!r}"
    live = await chat.answer.locator(".parts").inner_text()
    await chat.reload()
    await chat.finished(answers=1)
    await tool.locator("summary").press("Enter")
    assert await chat.answer.locator(".parts").inner_text() == live


async def test_thoughts_are_shown_folded(chat: ChatPage) -> None:
    await chat.send("think The answer.")
    await chat.finished()
    thoughts = chat.answer.locator("details.reasoning")
    await expect(thoughts.get_by_text(THOUGHT)).not_to_be_visible()
    await thoughts.locator("summary").click()
    await expect(thoughts.get_by_text(THOUGHT)).to_be_visible()
    await chat.shows("The answer.")


async def test_an_error_says_so_and_offers_to_ask_again(chat: ChatPage) -> None:
    await chat.send("Please fail")
    await chat.finished("failed")
    await expect(chat.alert).to_be_visible()
    assert "scripted" not in (await chat.alert.inner_text()).lower()
    await expect(chat.answer).to_contain_text("Stopped before the end")
    await chat.alert.get_by_role("button", name="Ask again").click()
    await expect(chat.questions).to_have_count(2)
    await chat.finished("failed", answers=2)
    await chat.alert.get_by_role("button", name="Dismiss").click()
    await expect(chat.alert).to_be_hidden()
    await expect(chat.box).to_be_focused()
    await chat.send("quick Better now.")
    await chat.finished(answers=3)


async def test_a_message_that_was_not_sent_is_kept(chat: ChatPage, watch: PageWatch) -> None:
    watch.network_errors_expected = True
    body = {"error": {"code": "redis_unavailable", "message": "Redis cannot be reached now."}}
    await chat.page.route("**/v1/chat/message", lambda route: route.fulfill(status=503, json=body))
    await chat.box.fill("quick Here I am.")
    await chat.box.press("Enter")
    await expect(chat.alert).to_contain_text("Not sent. Redis cannot be reached now.")
    await expect(chat.box).to_have_value("quick Here I am.")
    await expect(chat.questions).to_have_count(0)
    await chat.reload()
    await expect(chat.box).to_have_value("quick Here I am.")
    await chat.box.press("Enter")
    await expect(chat.alert).to_be_visible()
    await chat.page.unroute("**/v1/chat/message")
    await chat.alert.get_by_role("button", name="Send again").click()
    await chat.finished(answers=1)
    await chat.shows("Here I am.")
    await expect(chat.box).to_have_value("")


async def test_a_message_whose_confirmation_was_lost_is_answered_once(chat: ChatPage, watch: PageWatch) -> None:
    watch.network_errors_expected = True
    keys: list[str | None] = []

    async def lose_the_reply(route: Route, request: Request) -> None:
        keys.append(await request.header_value("Idempotency-Key"))
        await route.fetch()
        await route.abort()

    await chat.page.route("**/v1/chat/message", lose_the_reply, times=1)
    await chat.box.fill("quick Only once.")
    await chat.box.press("Enter")
    await expect(chat.alert).to_contain_text("be reached. Check your connection")
    async with chat.page.expect_request("**/v1/chat/message") as again:
        await chat.alert.get_by_role("button", name="Send again").click()
    assert keys == [await (await again.value).header_value("Idempotency-Key")]
    await chat.finished(answers=1)
    await expect(chat.questions).to_have_count(1)
    await chat.shows("Only once.")
    assert [one["type"] for one in await chat.history()] == ["human", "ai"]


async def test_a_message_into_a_busy_thread_is_kept_and_the_running_answer_shown(
    chat: ChatPage, watch: PageWatch
) -> None:
    watch.network_errors_expected = True
    await chat.send("quick First.")
    await chat.finished()
    prompt = "gate-busy"
    first, _, whole = parts(prompt)
    await start_run(chat.page.context, chat.url, prompt, chat.thread_id)
    await chat.box.fill("Me too")
    await chat.box.press("Enter")
    await expect(chat.alert).to_contain_text("already being written")
    await expect(chat.box).to_have_value("Me too")
    await chat.waits_after(first)
    await expect(chat.questions).to_have_count(2)
    await chat.open_gate("busy")
    await chat.open_gate("busy")
    await chat.finished(answers=2)
    await chat.shows(whole)


async def test_hostile_markdown_stays_inert_on_the_page(chat: ChatPage) -> None:
    text = "\n\n".join(line.replace("\0", "").replace("\ud800", "") for line in HOSTILE)
    await chat.box.fill(f"echo {text}")
    await chat.box.press("Enter")
    await chat.finished()
    await chat.shows(text)
    links = await chat.answer.locator("a").evaluate_all("(all) => all.map((each) => each.protocol)")
    assert set(links) == {"https:"}
    assert (
        await chat.page.locator("script, iframe, img, form, object, embed, style, base").evaluate_all(
            "(all) => all.filter((each) => each.closest('.turns')).length"
        )
        == 0
    )
    assert await chat.page.evaluate("window.hit") is None


async def test_code_is_copied_as_it_was_written(chat: ChatPage) -> None:
    code = "def f(x):\n\n    return x  # <b>&amp;</b>"
    await chat.box.fill(f"echo Some code:\n\n```python\n{code}\n```")
    await chat.box.press("Enter")
    await chat.finished()
    await chat.answer.get_by_role("button", name="Copy code").click()
    await expect(chat.answer.get_by_text("Copied")).to_be_visible()
    assert await chat.page.evaluate("navigator.clipboard.readText()") == code


async def test_the_page_works_at_the_root_as_well(
    context: BrowserContext, watch: PageWatch, server: ChatServer
) -> None:
    chat = await open_chat(context, server.root)
    await chat.send("quick At the root.")
    await chat.finished()
    await chat.shows("At the root.")
