"""What the assistant asks a person, on the page: allowed, refused, changed or answered; also after a reload."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import Route, expect

from browser.chat_page import ChatPage, open_chat
from browser.pages import PageWatch

pytestmark = pytest.mark.browser


async def test_a_tool_is_approved_and_the_answer_goes_on_in_the_same_place(chat: ChatPage) -> None:
    await chat.send("order tea")
    card = chat.page.get_by_role("group", name="Allow order?")
    await expect(card).to_contain_text('"what": "tea"')
    await expect(chat.answer.locator(".step.tool")).to_contain_text("Waiting for you")
    await expect(chat.page.get_by_role("status")).to_have_text("The assistant asks you something before it goes on.")
    await card.get_by_role("button", name="Approve").click()
    await chat.finished(answers=1)
    await expect(chat.answer).to_contain_text("Ordered: tea.")
    await expect(chat.answer.locator(".step.tool")).to_contain_text("Done")
    await expect(card).to_have_count(0)
    await expect(chat.box).to_be_focused()
    before = await chat.answer.inner_text()
    await chat.reload()
    await chat.finished(answers=1)
    assert await chat.answer.inner_text() == before


async def test_a_question_is_there_again_after_a_reload_and_in_another_tab(chat: ChatPage) -> None:
    await chat.send("order milk")
    card = chat.page.get_by_role("group", name="Allow order?")
    await expect(card).to_be_visible()
    await chat.reload()
    await expect(card).to_contain_text('"what": "milk"')
    await expect(chat.answer.locator(".step.tool")).to_contain_text("Waiting for you")
    other = await open_chat(chat.page.context, chat.url, f"#thread={chat.thread_id}")
    await other.page.get_by_role("button", name="Approve").click()
    await other.finished(answers=1)
    await chat.finished(answers=1)
    for each in (chat, other):
        await expect(each.answer).to_contain_text("Ordered: milk.")
        await expect(each.page.get_by_role("group", name="Allow order?")).to_have_count(0)


async def test_a_tool_is_refused_with_a_reason(chat: ChatPage) -> None:
    await chat.send("order gin")
    card = chat.page.get_by_role("group", name="Allow order?")
    await card.get_by_label("Reason, if you reject (optional)").fill("Too early.")
    await card.get_by_role("button", name="Reject").click()
    await chat.finished(answers=1)
    await expect(chat.answer).to_contain_text("Not ordered.")
    await expect(chat.answer.locator(".step.tool")).to_contain_text("Failed")
    (call,) = (await chat.history())[1]["tool_calls"]
    assert "Too early." in call["result"]


async def test_arguments_are_changed_before_a_tool_is_approved(chat: ChatPage) -> None:
    await chat.send("order coffee")
    card = chat.page.get_by_role("group", name="Allow order?")
    await card.get_by_role("button", name="Edit").click()
    editor = card.get_by_label("Arguments as JSON")
    await expect(editor).to_be_focused()
    for wrong in ('{"what": "tea"', "[]", '"tea"'):
        await editor.fill(wrong)
        await card.get_by_role("button", name="Approve changes").click()
        await expect(card.get_by_role("alert")).to_contain_text("not a JSON object")
        await expect(editor).to_have_attribute("aria-invalid", "true")
    await editor.fill('{"what": "decaf"}')
    await card.get_by_role("button", name="Approve changes").click()
    await chat.finished(answers=1)
    await expect(chat.answer.locator(".markdown").last).to_contain_text("decaf.")


async def test_several_tools_are_decided_one_by_one_with_the_keyboard_alone(chat: ChatPage) -> None:
    await chat.send("order tea and gin")
    cards = chat.page.get_by_role("group", name="Allow order?")
    await expect(cards).to_have_count(2)
    await cards.nth(0).get_by_role("button", name="Approve").focus()
    await chat.page.keyboard.press("Enter")
    await expect(cards.nth(0)).to_contain_text("Approved.")
    await expect(cards.nth(1).get_by_role("button", name="Approve")).to_be_focused()
    await cards.nth(0).get_by_role("button", name="Change").focus()
    await chat.page.keyboard.press("Space")
    await expect(cards.nth(0).get_by_role("button", name="Approve")).to_be_focused()
    await chat.page.keyboard.press("Enter")
    await cards.nth(1).get_by_label("Reason, if you reject (optional)").focus()
    await chat.page.keyboard.type("No gin.")
    await chat.page.keyboard.press("Enter")
    await chat.finished(answers=1)
    states = chat.answer.locator(".step.tool .step-state")
    await expect(states).to_have_text(["Done", "Failed"])


async def test_a_question_in_words_is_answered_in_words(chat: ChatPage) -> None:
    await chat.send("ask Which colour?")
    card = chat.page.get_by_role("group", name="Which colour?")
    await card.get_by_role("button", name="Answer").click()
    await expect(card.get_by_label("Your answer")).to_be_focused()
    await card.get_by_label("Your answer").fill("<b>blue</b>")
    await card.get_by_label("Your answer").press("Enter")
    await chat.finished(answers=1)
    await expect(chat.answer).to_contain_text("You said <b>blue</b>.")


async def test_a_message_instead_of_a_decision_goes_on_without_it(chat: ChatPage) -> None:
    await chat.send("order cake")
    await expect(chat.page.get_by_role("group", name="Allow order?")).to_be_visible()
    await chat.send("quick Never mind.")
    await chat.finished(answers=2)
    await expect(chat.page.get_by_role("group", name="Allow order?")).to_have_count(0)
    await chat.reload()
    await chat.finished(answers=2)
    await expect(chat.answers.first.locator(".step.tool")).to_contain_text("No result")


async def test_an_answer_that_did_not_arrive_is_given_again_with_the_same_key(chat: ChatPage, watch: PageWatch) -> None:
    watch.network_errors_expected = True
    keys: list[str | None] = []

    async def lose(route: Route) -> None:
        keys.append(await route.request.header_value("Idempotency-Key"))
        await route.abort()

    await chat.send("order tea")
    await chat.page.route("**/v1/chat/resume", lose, times=1)
    card = chat.page.get_by_role("group", name="Allow order?")
    await card.get_by_role("button", name="Approve").click()
    await expect(chat.alert).to_contain_text("Not answered.")
    async with chat.page.expect_request("**/v1/chat/resume") as again:
        await card.get_by_role("button", name="Approve").click()
    assert keys == [await (await again.value).header_value("Idempotency-Key")]
    await chat.finished(answers=1)
    await expect(chat.answer).to_contain_text("Ordered: tea.")


async def test_an_answer_that_somebody_else_gave_first_shows_what_became_of_it(
    chat: ChatPage, watch: PageWatch
) -> None:
    watch.network_errors_expected = True
    await chat.send("order tea")
    card = chat.page.get_by_role("group", name="Allow order?")
    await expect(card).to_be_visible()
    ((question,), approve) = (await chat.history())[-1]["interrupts"], {"decisions": [{"type": "approve"}]}
    body = {"thread_id": chat.thread_id, "answers": {question["id"]: approve}}
    assert (await chat.page.request.post(f"{chat.url}v1/chat/resume", data=body)).ok
    await card.get_by_role("button", name="Reject").click()
    await expect(chat.alert).to_contain_text("Not answered.")
    await chat.finished(answers=1)
    await expect(chat.answer).to_contain_text("Ordered: tea.")


async def test_an_approved_tool_that_is_stopped_has_no_result(chat: ChatPage) -> None:
    await chat.send("order slow tea")
    await chat.page.get_by_role("button", name="Approve").click()
    await expect(chat.answer).to_have_attribute("data-status", "streaming")
    await chat.stop.click()
    await chat.finished("cancelled", answers=1)
    await expect(chat.answer.locator(".step.tool")).to_contain_text("No result")


async def test_a_reload_while_an_approved_run_is_active_shows_one_answer(chat: ChatPage) -> None:
    await chat.send("order gate-asked tea")
    await chat.page.get_by_role("button", name="Approve").click()
    await expect(chat.answer).to_contain_text("Ordered:")
    await chat.reload()
    await expect(chat.answer).to_contain_text("Ordered:")
    await expect(chat.answers).to_have_count(1)
    await expect(chat.answer.locator(".step.tool")).to_have_count(1)
    await chat.open_gate("asked")
    await chat.finished(answers=1)
    await expect(chat.answer).to_contain_text("Ordered: gate-asked tea.")
    assert json.dumps(await chat.history()).count("Ordered: gate-asked tea.") == 1


async def test_a_question_fits_a_phone_whatever_it_is_about(chat: ChatPage) -> None:
    await chat.page.set_viewport_size({"width": 390, "height": 780})
    await chat.send(f"order {'x' * 300}")
    card = chat.page.get_by_role("group", name="Allow order?")
    await card.get_by_role("button", name="Edit").click()
    await expect(card.get_by_label("Arguments as JSON")).to_be_visible()
    for place in (card, chat.page.locator("html")):
        assert await place.evaluate("(element) => element.scrollWidth <= element.clientWidth + 1")
