"""The page without a mouse, without eyes, on a phone, in the dark."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Literal

import pytest
from playwright.async_api import Browser, expect

from browser.chat_page import ChatPage, open_chat
from browser.chat_server import parts
from browser.pages import PageWatch
from browser.serving import ChatServer

pytestmark = pytest.mark.browser

# What a person hears: each text that the live regions have had, while the page was open.
LISTEN = """() => {
    window.heard = [];
    for (const region of document.querySelectorAll("[aria-live], [role=status], [role=alert], [role=log]")) {
        new MutationObserver(() => region.textContent && window.heard.push(region.textContent))
            .observe(region, { childList: true, characterData: true, subtree: true });
    }
}"""

COLOURS = """(names) => {
    const style = getComputedStyle(document.documentElement);
    return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}"""


@pytest.fixture
async def phone(browser: Browser, watch: PageWatch, server: ChatServer) -> AsyncIterator[ChatPage]:
    """The page on a small screen that is touched, in the dark."""
    device = await browser.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, color_scheme="dark"
    )
    with watch.following(device):
        yield await open_chat(device, server.url)
        await watch.look()
    await device.close()


async def to_the_start(chat: ChatPage) -> None:
    """Put the focus on the first thing of the page."""
    await chat.page.get_by_role("link", name="New conversation").focus()
    await chat.page.keyboard.press("Shift+Tab")


async def test_everything_can_be_done_with_the_keyboard(chat: ChatPage) -> None:
    page, keys = chat.page, chat.page.keyboard
    await expect(chat.box).to_be_focused()
    await keys.type("quick one")
    await keys.press("Shift+Enter")
    await keys.type("two")
    await keys.press("Enter")
    await expect(chat.questions.last).to_have_text("Youquick one\ntwo")
    await chat.finished(answers=1)
    await chat.shows("one\ntwo")
    await expect(chat.box).to_be_focused()

    prompt = "gate-keys"
    await keys.type(prompt)
    await keys.press("Enter")
    await chat.waits_after(parts(prompt)[0])
    await keys.type("Next: ")
    await keys.press("Enter")
    await expect(chat.box).to_have_value("Next: ")
    await keys.press("Escape")
    await chat.finished("cancelled", answers=2)
    await expect(chat.box).to_be_focused()

    await keys.press("Control+Shift+O")
    await expect(page.get_by_text("What would you like to know?")).to_be_visible()
    await expect(chat.box).to_be_focused()
    await keys.press("Control+/")
    await expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    await keys.press("Escape")
    await expect(page.get_by_role("dialog")).to_be_hidden()
    await expect(chat.box).to_be_focused()


async def test_the_list_can_be_used_with_the_keyboard(chat: ChatPage) -> None:
    page, keys = chat.page, chat.page.keyboard
    await chat.send("quick words")
    await chat.finished()
    await expect(chat.threads.first).to_contain_text("Quick words")
    await chat.reload()
    await to_the_start(chat)
    await expect(page.get_by_role("link", name="Skip to the message box")).to_be_focused()
    await expect(page.get_by_role("link", name="Skip to the message box")).to_be_in_viewport()
    for _ in range(2):
        await keys.press("Tab")
    await expect(chat.threads.first.get_by_role("link")).to_be_focused()
    await keys.press("Tab")
    await expect(page.get_by_role("button", name="Rename “Quick words”")).to_be_focused()
    await keys.press("Enter")
    await keys.type("Better words")
    await keys.press("Enter")
    await expect(page.get_by_role("button", name="Rename “Better words”")).to_be_focused()
    await keys.press("Tab")
    await keys.press("Enter")
    await expect(page.get_by_role("dialog")).to_be_visible()
    await keys.press("Tab")
    await expect(page.get_by_role("button", name="Delete", exact=True)).to_be_focused()
    await keys.press("Enter")
    await expect(chat.threads).to_have_count(0)
    await expect(chat.box).to_be_focused()


async def test_the_skip_link_leads_to_the_message_and_typing_into_nothing_too(chat: ChatPage) -> None:
    await to_the_start(chat)
    await chat.page.keyboard.press("Enter")
    await expect(chat.box).to_be_focused()
    await chat.page.evaluate("document.activeElement.blur()")
    await chat.page.keyboard.type("hello")
    await expect(chat.box).to_have_value("hello")


async def test_enter_that_chooses_a_word_of_an_input_method_sends_nothing(chat: ChatPage) -> None:
    await chat.box.fill("にほん")
    await chat.box.dispatch_event("keydown", {"key": "Enter", "isComposing": True, "bubbles": True})
    await expect(chat.box).to_have_value("にほん")
    await expect(chat.questions).to_have_count(0)


async def test_the_focus_is_seen(chat: ChatPage) -> None:
    await to_the_start(chat)
    for _ in range(3):
        await chat.page.keyboard.press("Tab")
        assert await chat.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    form = chat.page.locator("#composer")
    border = "(each) => getComputedStyle(each).borderColor"
    before = await form.evaluate(border)
    await chat.page.keyboard.press("Tab")
    await expect(chat.box).to_be_focused()
    assert await form.evaluate(border) != before


async def test_a_screen_reader_hears_of_the_answer_but_not_of_each_token(chat: ChatPage) -> None:
    await chat.page.evaluate(LISTEN)
    prompt = "A long answer, gate-hear"
    first, _, whole = parts(prompt)
    await chat.send(prompt)
    await chat.waits_after(first)
    await expect(chat.answer).to_have_attribute("aria-busy", "true")
    await chat.open_gate("hear")
    await chat.open_gate("hear")
    await chat.finished()
    await expect(chat.answer).to_have_attribute("aria-busy", "false")
    await expect(chat.page.locator("#announcer")).to_contain_text("Answer finished.")
    heard = await chat.page.evaluate("window.heard")
    assert heard == ["Sent. The assistant is answering.", f"Answer finished. {whole[:600]} … and more."]


async def test_everything_that_can_be_pressed_has_a_name(chat: ChatPage) -> None:
    await chat.send("Search the docs for cursor")
    await chat.finished()
    unnamed = await chat.page.evaluate(
        """() => [...document.querySelectorAll(
            "button, a, input, textarea, summary, [role=region], nav, aside, dialog")]
            .filter((each) => !(each.getAttribute("aria-label") || each.getAttribute("aria-labelledby")
                || each.labels?.length || each.textContent.trim()))
            .map((each) => each.outerHTML)"""
    )
    assert unnamed == []
    snapshot = await chat.page.locator("body").aria_snapshot()
    for part in ("complementary", "main", "navigation", "heading", "article", 'textbox "Message"', 'region "Messages"'):
        assert part in snapshot


async def test_headings_are_in_order(chat: ChatPage) -> None:
    await chat.send("A long answer")
    await chat.finished()
    levels = await chat.page.evaluate(
        """() => [...document.querySelectorAll("main :is(h1, h2, h3, h4, h5, h6)")]
            .map((each) => Number(each.localName[1]))"""
    )
    assert levels[0] == 1
    assert max(levels) <= 4
    assert all(after - before <= 2 for before, after in pairwise(levels))


async def test_the_view_follows_the_answer_until_the_reader_scrolls_away(chat: ChatPage) -> None:
    prompt = "A long answer, gate-follow"
    await chat.page.set_viewport_size({"width": 1280, "height": 500})
    first, second, whole = parts(prompt)
    scroller = chat.page.get_by_role("region", name="Messages")
    distance = "(each) => each.scrollHeight - each.scrollTop - each.clientHeight"
    await chat.send(prompt)
    await chat.waits_after(first)
    await chat.open_gate("follow")
    await chat.waits_after(second)
    await chat.page.wait_for_function(f"() => Math.abs(({distance})(document.querySelector('#scroller'))) < 2")
    await scroller.hover()
    await chat.page.mouse.wheel(0, -300)
    jump = chat.page.get_by_role("button", name="Go to the newest message")
    await expect(jump).to_be_visible()
    top = await scroller.evaluate("(each) => each.scrollTop")
    await chat.open_gate("follow")
    await chat.finished()
    await chat.shows(whole)
    assert await scroller.evaluate("(each) => each.scrollTop") == top
    await jump.click()
    await expect(jump).to_be_hidden()
    assert abs(await scroller.evaluate(distance)) < 2


async def test_the_phone_has_the_list_in_a_drawer(phone: ChatPage) -> None:
    page = phone.page
    await phone.box.fill("quick On a phone.")
    await phone.box.press("Enter")
    await expect(phone.box).to_have_value("quick On a phone.\n")  # there, Enter is a new line
    await page.get_by_role("button", name="Send").tap()
    await phone.finished()
    await phone.shows("On a phone.")
    await expect(page.get_by_role("complementary")).not_to_be_visible()
    await page.get_by_role("button", name="Open the list of conversations").tap()
    await expect(page.get_by_role("button", name="Close the list of conversations")).to_be_focused()
    await expect(page.get_by_role("complementary")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("button", name="Open the list of conversations")).to_be_focused()
    await page.get_by_role("button", name="Open the list of conversations").tap()
    await page.get_by_role("link", name="New conversation").tap()
    await expect(page.get_by_text("What would you like to know?")).to_be_visible()
    await expect(page.get_by_role("complementary")).not_to_be_visible()


async def test_nothing_is_wider_than_the_phone(phone: ChatPage) -> None:
    await phone.page.set_viewport_size({"width": 320, "height": 700})
    await phone.box.fill(
        "echo " + "wide" * 100 + "\n\n```\n" + "x" * 300 + "\n```\n\n" + "| a " * 20 + "|\n" + "|--" * 20 + "|"
    )
    await phone.page.get_by_role("button", name="Send").tap()
    await phone.finished()
    assert await phone.page.evaluate("document.documentElement.scrollWidth") == 320
    assert await phone.page.locator("#scroller").evaluate("(each) => each.scrollWidth - each.clientWidth") == 0
    small = await phone.page.evaluate(
        """() => [...document.querySelectorAll("main button")].filter((each) => {
            const box = each.getBoundingClientRect();
            return box.width && Math.min(box.width, box.height) < 24;
        }).map((each) => each.outerHTML)"""
    )
    assert small == []


async def test_text_stands_out_from_its_background(chat: ChatPage) -> None:
    pairs = [("text", one) for one in ("page", "panel", "raised", "bubble", "hover", "danger-page")]
    pairs += [("soft", one) for one in ("page", "panel", "raised", "hover")]
    pairs += [
        ("accent", "page"),
        ("accent", "raised"),
        ("on-accent", "accent"),
        ("danger", "raised"),
        ("page", "danger"),
    ]
    weak: dict[tuple[str, str, str], float] = {}
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        await chat.page.emulate_media(color_scheme=scheme)
        colours = await chat.page.evaluate(COLOURS, sorted({name for pair in pairs for name in pair}))
        ratios = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs}
        weak |= {(scheme, *pair): ratio for pair, ratio in ratios.items() if ratio < 4.5}
    assert weak == {}


async def test_nothing_moves_for_those_who_do_not_want_it(chat: ChatPage) -> None:
    await chat.page.emulate_media(reduced_motion="reduce")
    prompt = "gate-still"
    await chat.send(prompt)
    await chat.waits_after(parts(prompt)[0])
    await chat.page.wait_for_function("() => document.getAnimations().every((each) => each.playState === 'finished')")


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, as WCAG 2 defines it."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    digits = colour.removeprefix("#")
    digits = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits
    assert re.fullmatch("[0-9a-f]{6}", digits), colour
    channels = [int(digits[start : start + 2], 16) / 255 for start in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
