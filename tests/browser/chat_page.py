"""The bundled page as a test uses it."""

from __future__ import annotations

from typing import Any

from playwright.async_api import BrowserContext, Locator, Page, expect
from playwright.async_api import TimeoutError as PlaywrightTimeout

_RENDERED = """async ([text, open]) => {
    const { MarkdownView } = await import(new URL("ui/markdown.js", document.baseURI).href);
    const place = document.createElement("div");
    new MarkdownView(place).update(text, open);
    return place.innerHTML;
}"""
_SHOWS = """(html) => {
    const texts = [...document.querySelectorAll(".turn.ai:last-child .markdown")];
    return texts.map((each) => each.innerHTML).join("") === html;
}"""


class ChatPage:
    """One tab with the chat.

    Attributes:
        page: the tab.
        url: the address that the sub-app is mounted at.
        gates: the address of the server itself, also where ``url`` goes through a proxy.
    """

    def __init__(self, page: Page, url: str, *, gates: str = "") -> None:
        self.page = page
        self.url = url
        self.gates = gates or url.removesuffix("assistant/")
        self.box = page.get_by_label("Message", exact=True)
        self.answers = page.locator(".turn.ai")
        self.questions = page.locator(".turn.human")
        self.threads = page.locator(".threads li")
        self.alert = page.get_by_role("alert")
        self.stop = page.get_by_role("button", name="Stop the answer")

    @property
    def answer(self) -> Locator:
        """The last answer."""
        return self.answers.last

    @property
    def thread_id(self) -> str:
        """The thread that the address names; "" for a new one."""
        return self.page.url.partition("#thread=")[2]

    async def load(self, fragment: str = "") -> None:
        """Open the page, or open it again."""
        await self.page.goto(self.url + fragment)
        await self.page.wait_for_selector("html[data-ready]")

    async def reload(self) -> None:
        await self.page.reload()
        await self.page.wait_for_selector("html[data-ready]")

    async def send(self, text: str) -> None:
        await self.box.fill(text)
        await self.box.press("Enter")
        await expect(self.questions.last).to_have_text(f"You{text}")

    async def waits_after(self, text: str) -> None:
        """Wait until an answer is under way that says exactly this so far."""
        await self._shows(text, growing=True)
        await expect(self.answer).to_have_attribute("data-status", "streaming")

    async def finished(self, status: str = "completed", *, answers: int | None = None) -> None:
        """Wait until the last answer has ended, and there are so many of them."""
        if answers is not None:
            await expect(self.answers).to_have_count(answers)
        await expect(self.answer).to_have_attribute("data-status", status)

    async def shows(self, text: str) -> None:
        """The last answer is exactly this text, as it is rendered when it comes in one piece."""
        await self._shows(text, growing=False)

    async def copied(self) -> str:
        """What the copy button of the last answer puts on the clipboard."""
        await self.answer.get_by_role("button", name="Copy answer").click()
        await expect(self.answer.get_by_text("Copied")).to_be_visible()
        return str(await self.page.evaluate("navigator.clipboard.readText()"))

    async def open_gate(self, name: str) -> None:
        """Let the answer that waits at this gate go on."""
        assert (await self.page.request.post(f"{self.gates}gates/{name}")).ok

    async def look_away(self) -> None:
        """The tab goes into the background, as far as its scripts can tell."""
        await self._visible("hidden")

    async def look_at(self) -> None:
        await self._visible("visible")

    async def _visible(self, state: str) -> None:
        await self.page.evaluate(
            """(state) => {
                Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
                document.dispatchEvent(new Event("visibilitychange"));
            }""",
            state,
        )

    async def history(self) -> list[dict[str, Any]]:
        """What the server has of this thread."""
        response = await self.page.request.get(f"{self.url}v1/thread?thread_id={self.thread_id}")
        assert response.ok, await response.text()
        messages: list[dict[str, Any]] = await response.json()
        return messages

    async def _shows(self, text: str, *, growing: bool) -> None:
        html = await self.page.evaluate(_RENDERED, [text, growing])
        try:
            await self.page.wait_for_function(_SHOWS, arg=html)
        except PlaywrightTimeout as error:
            shown = await self.page.locator(".turn.ai:last-child .markdown").all_inner_texts()
            raise AssertionError(f"the page shows {shown!r} instead of {text!r}") from error


async def open_chat(context: BrowserContext, url: str, fragment: str = "") -> ChatPage:
    """A new tab with the chat in it."""
    chat = ChatPage(await context.new_page(), url)
    await chat.load(fragment)
    return chat


async def start_run(context: BrowserContext, url: str, message: str, thread_id: str | None = None) -> dict[str, str]:
    """Send a message as another device would."""
    body = {"message": message} | ({} if thread_id is None else {"thread_id": thread_id})
    response = await context.request.post(f"{url}v1/chat/message", data=body)
    assert response.ok, await response.text()
    accepted: dict[str, str] = await response.json()
    return accepted
