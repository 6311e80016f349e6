"""The list of threads: what can be done to them, also while an answer is being written."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Locator, Route, expect

from browser.chat_page import ChatPage, open_chat, start_run
from browser.chat_server import parts
from browser.pages import PageWatch

pytestmark = pytest.mark.browser


def row(chat: ChatPage, name: str) -> Locator:
    return chat.threads.filter(has_text=name)


async def press(chat: ChatPage, action: str, name: str) -> None:
    """Press one of the buttons that a thread shows when it is pointed at."""
    await row(chat, name).hover()
    await chat.page.get_by_role("button", name=f"{action} “{name}”").click()


async def two_threads(chat: ChatPage) -> None:
    """Threads with the names "Quick older" and "Quick newer", the newer one open."""
    for name in ("older", "newer"):
        await chat.page.get_by_role("link", name="New conversation").first.click()
        await chat.send(f"quick {name}")
        await chat.finished(answers=1)
        await expect(chat.threads.first).to_contain_text(f"Quick {name}")


async def test_the_list_has_the_newest_activity_first(chat: ChatPage) -> None:
    await expect(chat.page.get_by_text("Conversations appear here.")).to_be_visible()
    await two_threads(chat)
    assert [name.split("\n")[0] for name in await chat.threads.all_inner_texts()] == ["Quick newer", "Quick older"]
    await row(chat, "Quick older").get_by_role("link").click()
    await chat.shows("older")
    await chat.send("quick again")
    await chat.finished(answers=2)
    await expect(chat.threads.first).to_contain_text("Quick older")
    await expect(chat.threads.first.get_by_role("link")).to_have_attribute("aria-current", "page")


async def test_a_long_list_comes_in_pages(chat: ChatPage) -> None:
    for first in range(0, 35, 5):
        numbers = range(first, first + 5)
        await asyncio.gather(*(start_run(chat.page.context, chat.url, f"quick number {n}") for n in numbers))
    await chat.reload()
    await expect(chat.threads).to_have_count(30)
    await chat.page.get_by_role("button", name="Show older").click()
    await expect(chat.threads).to_have_count(35)
    await expect(chat.page.get_by_role("button", name="Show older")).to_be_hidden()
    ids = await chat.threads.evaluate_all("(all) => all.map((each) => each.dataset.id)")
    assert len(set(ids)) == 35


async def test_a_thread_gets_another_name_in_every_tab(chat: ChatPage) -> None:
    await two_threads(chat)
    other = await open_chat(chat.page.context, chat.url)
    await press(chat, "Rename", "Quick older")
    box = chat.page.get_by_label("Name of the conversation")
    await expect(box).to_have_value("Quick older")
    await box.fill("  The first one ")
    await box.press("Enter")
    await expect(row(chat, "The first one")).to_be_visible()
    await expect(row(other, "The first one")).to_be_visible()
    await chat.reload()
    await expect(row(chat, "The first one")).to_be_visible()


async def test_a_list_from_before_the_rename_does_not_undo_it(chat: ChatPage) -> None:
    await two_threads(chat)
    fetched, release = asyncio.Event(), asyncio.Event()

    async def come_late(route: Route) -> None:
        response = await route.fetch()
        fetched.set()
        await release.wait()
        await route.fulfill(response=response)

    await chat.page.route("**/v1/threads?*", come_late, times=1)
    await chat.page.evaluate("window.dispatchEvent(new Event('focus'))")
    await fetched.wait()
    await press(chat, "Rename", "Quick older")
    await chat.page.get_by_label("Name of the conversation").fill("Renamed")
    await chat.page.keyboard.press("Enter")
    await expect(chat.page.get_by_role("status")).to_have_text("Renamed to Renamed.")
    async with chat.page.expect_response("**/v1/threads?*"):
        release.set()
    async with chat.page.expect_response("**/v1/threads?*"):
        pass
    await expect(row(chat, "Renamed")).to_be_visible()
    await expect(chat.threads).to_have_count(2)


async def test_a_rename_can_be_given_up(chat: ChatPage) -> None:
    await two_threads(chat)
    await press(chat, "Rename", "Quick older")
    await chat.page.get_by_label("Name of the conversation").fill("Something else")
    await chat.page.keyboard.press("Escape")
    await expect(row(chat, "Quick older")).to_be_visible()
    await expect(chat.page.get_by_role("button", name="Rename “Quick older”")).to_be_focused()


async def test_a_rename_that_fails_is_taken_back_and_can_be_tried_again(chat: ChatPage, watch: PageWatch) -> None:
    watch.network_errors_expected = True
    await two_threads(chat)
    body = {"error": {"code": "postgres_unavailable", "message": "PostgreSQL cannot be reached now."}}
    await chat.page.route("**/v1/thread?*", lambda route: route.fulfill(status=503, json=body), times=1)
    await press(chat, "Rename", "Quick older")
    await chat.page.get_by_label("Name of the conversation").fill("Another")
    await chat.page.keyboard.press("Enter")
    await expect(chat.alert).to_contain_text("Not renamed.")
    await expect(row(chat, "Quick older")).to_be_visible()
    await chat.alert.get_by_role("button", name="Try again").click()
    await expect(row(chat, "Another")).to_be_visible()
    await expect(chat.alert).to_be_hidden()


async def test_a_thread_is_deleted_after_a_question(chat: ChatPage) -> None:
    await two_threads(chat)
    await press(chat, "Delete", "Quick older")
    dialog = chat.page.get_by_role("dialog")
    await expect(dialog).to_contain_text("“Quick older” and everything in it will be gone for good")
    await expect(dialog.get_by_role("button", name="Keep it")).to_be_focused()
    await dialog.get_by_role("button", name="Keep it").click()
    await expect(chat.threads).to_have_count(2)
    await press(chat, "Delete", "Quick older")
    await dialog.get_by_role("button", name="Delete").click()
    await expect(chat.threads).to_have_count(1)
    await expect(row(chat, "Quick newer").get_by_role("link")).to_be_focused()
    await chat.shows("newer")
    await chat.reload()
    await expect(chat.threads).to_have_count(1)


async def test_a_thread_is_deleted_while_its_answer_is_written(chat: ChatPage, watch: PageWatch) -> None:
    prompt = "gate-delete"
    await chat.send(prompt)
    await chat.waits_after(parts(prompt)[0])
    other = await open_chat(chat.page.context, chat.url, f"#thread={chat.thread_id}")
    await other.waits_after(parts(prompt)[0])
    watch.network_errors_expected = True  # the other tab learns from a 404
    await press(chat, "Delete", "Gate-delete")
    await chat.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(chat.threads).to_have_count(0)
    await expect(chat.page.get_by_text("What would you like to know?")).to_be_visible()
    await expect(chat.box).to_be_focused()
    await expect(other.page.get_by_text("It may have been deleted")).to_be_visible()
    await expect(other.threads).to_have_count(0)
    await chat.send("quick Something new.")
    await chat.finished(answers=1)
    await chat.shows("Something new.")


async def test_threads_can_be_switched_while_an_answer_is_written(chat: ChatPage) -> None:
    prompt = "gate-switch"
    first, second, whole = parts(prompt)
    await chat.send("quick elsewhere")
    await chat.finished()
    await chat.page.get_by_role("link", name="New conversation").first.click()
    await chat.send(prompt)
    await chat.waits_after(first)
    await expect(row(chat, "Gate-switch")).to_contain_text("Answering")
    await row(chat, "Quick elsewhere").get_by_role("link").click()
    await chat.finished(answers=1)
    await chat.shows("elsewhere")
    await chat.open_gate("switch")
    await chat.page.go_back()
    await chat.waits_after(second)
    await row(chat, "Quick elsewhere").get_by_role("link").click()
    await chat.shows("elsewhere")
    await chat.open_gate("switch")
    await row(chat, "Gate-switch").get_by_role("link").click()
    await chat.finished(answers=1)
    await chat.shows(whole)
    await expect(row(chat, "Gate-switch")).not_to_contain_text("Answering")


async def test_what_was_not_sent_stays_with_its_thread(chat: ChatPage) -> None:
    await two_threads(chat)
    await chat.box.fill("Half a thought")
    await row(chat, "Quick older").get_by_role("link").click()
    await chat.shows("older")
    await expect(chat.box).to_have_value("")
    await row(chat, "Quick newer").get_by_role("link").click()
    await expect(chat.box).to_have_value("Half a thought")


async def test_a_message_sent_before_the_history_is_there_comes_after_it(chat: ChatPage) -> None:
    await chat.send("quick Before.")
    await chat.finished()
    release = asyncio.Event()

    async def hold(route: Route) -> None:
        await release.wait()
        await route.continue_()

    await chat.page.route("**/v1/thread?*", hold, times=1)
    await chat.reload()
    await chat.box.fill("quick After.")
    await chat.box.press("Enter")
    await expect(chat.box).to_have_value("")
    release.set()
    await chat.finished(answers=2)
    await chat.shows("After.")
    assert await chat.questions.all_inner_texts() == ["You\nquick Before.", "You\nquick After."]


async def test_the_address_leads_to_the_thread(chat: ChatPage) -> None:
    await chat.send("quick Found again.")
    await chat.finished()
    other = await open_chat(chat.page.context, chat.url, f"#thread={chat.thread_id}")
    await other.finished(answers=1)
    await other.shows("Found again.")


async def test_a_thread_that_is_not_there_is_told(chat: ChatPage, watch: PageWatch) -> None:
    watch.network_errors_expected = True
    await chat.load("#thread=00000000-0000-4000-8000-000000000000")
    await expect(chat.page.get_by_text("It may have been deleted")).to_be_visible()
    await expect(chat.box).to_be_disabled()
    await chat.page.get_by_role("link", name="New conversation").first.click()
    await expect(chat.page.get_by_text("What would you like to know?")).to_be_visible()
    await expect(chat.box).to_be_focused()


async def test_a_history_and_a_list_that_cannot_be_read_are_tried_again(chat: ChatPage, watch: PageWatch) -> None:
    await chat.send("quick Still here.")
    await chat.finished()
    watch.network_errors_expected = True
    await chat.page.route("**/v1/thread*", lambda route: route.abort())
    await chat.reload()
    await expect(chat.alert).to_contain_text("be reached. Check your connection")
    await expect(chat.page.get_by_role("navigation")).to_contain_text("be reached. Check your connection")
    await chat.page.unroute("**/v1/thread*")
    await chat.page.get_by_role("navigation").get_by_role("button", name="Try again").click()
    await expect(chat.threads).to_have_count(1)
    await chat.alert.get_by_role("button", name="Try again").click()
    await chat.finished(answers=1)
    await chat.shows("Still here.")
