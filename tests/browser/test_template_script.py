"""The script of the original template, as it is written in the HTTP contract, on a plain page."""

from __future__ import annotations

from uuid import uuid4

import pytest
from playwright.async_api import BrowserContext, Page

from browser.pages import PageWatch
from browser.serving import ChatServer
from resumable_stream.demo import script

pytestmark = pytest.mark.browser

PAGE = """<!doctype html><title>plain</title><p id="answer"></p><p id="notes"></p><script src="script.js"></script>"""

SCRIPT = """
async function ask(message, threadId) {
  document.querySelector("#answer").textContent = "";
  document.querySelector("#notes").textContent = "";
  fetch("/v1/chat/message", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ message, thread_id: threadId }),
  });
  const source = new EventSource(`/v1/chat/stream?thread_id=${threadId}`);
  source.addEventListener("chunk", (event) => {
    document.querySelector("#answer").textContent += event.data;
  });
  source.addEventListener("tool_call", (event) => {
    document.querySelector("#notes").textContent += `tool:${event.data} `;
  });
  source.addEventListener("system", (event) => {
    document.querySelector("#notes").textContent += `${event.data} `;
    if (event.data === "end") source.close();
  });
}
"""

TOGETHER = """async ([message, threadId]) => {
  const notes = document.querySelector("#notes");
  const text = document.querySelector("#answer");
  ask(message, threadId);
  await new Promise((resolve) => {
    const look = () => (notes.textContent.endsWith("end ") ? resolve() : requestAnimationFrame(look));
    look();
  });
  return [text.textContent, notes.textContent.trim()];
}"""


@pytest.fixture
async def plain(context: BrowserContext, watch: PageWatch, server: ChatServer) -> Page:
    page = await context.new_page()
    await page.route("**/plain", lambda route: route.fulfill(content_type="text/html", body=PAGE))
    await page.route("**/script.js", lambda route: route.fulfill(content_type="text/javascript", body=SCRIPT))
    await page.goto(f"{server.root}plain")
    return page


async def test_it_works_twenty_times_of_twenty(plain: Page) -> None:
    for number in range(20):
        message = f"Question {number}: how does it work?"
        text, notes = await plain.evaluate(TOGETHER, [message, str(uuid4())])
        assert text == "".join(script(message))
        assert notes == "message_ended end"


async def test_it_works_twenty_times_of_twenty_with_an_answer_that_takes_five_milliseconds(plain: Page) -> None:
    for number in range(20):
        text, notes = await plain.evaluate(TOGETHER, [f"quick answer {number}", str(uuid4())])
        assert text == f"answer {number}"
        assert notes == "message_ended end"


async def test_it_works_again_and_again_in_one_thread(plain: Page) -> None:
    thread_id = str(uuid4())
    for number in range(20):
        text, _ = await plain.evaluate(TOGETHER, [f"quick answer {number}", thread_id])
        assert text == f"answer {number}"


async def test_it_shows_tools(plain: Page) -> None:
    message = "Search the docs for cursor"
    text, notes = await plain.evaluate(TOGETHER, [message, str(uuid4())])
    assert notes == "tool:search message_ended message_ended end"
    assert text.startswith("I have searched the documentation for")
