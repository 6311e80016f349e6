"""What a real browser makes of the headers: scripts that get into the page do not run, other pages cannot act."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Page, Route

from browser.serving import ChatServer

pytestmark = pytest.mark.browser

# Everything that makes a script of text. Each line must change nothing; those that throw are refused even earlier.
# In a task of its own, since a debugger's may use eval.
INJECT = """() => setTimeout(() => {
    window.ran = [];
    window.refused = [];
    document.addEventListener("securitypolicyviolation", (event) => window.refused.push(event.effectiveDirective));
    const attempt = (action) => { try { action(); } catch (error) { window.refused.push(error.name); } };
    const element = (name, attributes) => {
        const made = document.createElement(name);
        for (const [key, value] of Object.entries(attributes)) attempt(() => made.setAttribute(key, value));
        return document.body.appendChild(made);
    };
    attempt(() => { document.body.appendChild(document.createElement("script")).append("window.ran.push('inline')"); });
    attempt(() => { element("div", {}).innerHTML = "<img src=x onerror='window.ran.push(`markup`)'>"; });
    element("img", { src: "x", onerror: "window.ran.push('handler')" });
    element("iframe", { srcdoc: "<script>parent.ran.push('srcdoc')</script>" });
    element("script", { src: "data:text/javascript,window.ran.push('data')" });
    element("a", { href: "javascript:window.ran.push('link')" }).click();
    attempt(() => window.eval("window.ran.push('eval')"));
    attempt(() => new Function("window.ran.push('function')")());
}, 0)"""

ATTACK = """<!doctype html><title>Win a prize</title>
<form method="post" enctype="text/plain" action="{target}">
<input name='{{"message": "sent by a form", "x": "' value='"}}'></form>"""


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A tab that nobody watches for errors: they are what these tests want."""
    context = await browser.new_context(extra_http_headers={"X-User": "victim"})
    yield await context.new_page()
    await context.close()


@pytest.mark.parametrize("path", ["", "docs"], ids=["the chat", "the API's page"])
async def test_text_that_gets_into_the_page_never_becomes_a_script(page: Page, server: ChatServer, path: str) -> None:
    await page.goto(server.url + path)
    await page.evaluate(INJECT)
    await page.wait_for_function("window.refused?.length >= 8")
    assert await page.evaluate("window.ran") == []
    assert "script-src-elem" in await page.evaluate("window.refused")


async def test_a_page_of_another_site_cannot_send_messages(page: Page, server: ChatServer) -> None:
    """The browser sends along what says who is calling, and says itself that another site asks."""
    target = f"{server.root}v1/chat/message"
    foreign = f"http://localhost:{urlsplit(target).port}/prize"  # another site than 127.0.0.1, for a browser

    async def prize(route: Route) -> None:
        await route.fulfill(content_type="text/html", body=ATTACK.format(target=target))

    await page.route(foreign, prize)
    await page.goto(foreign)
    await page.unroute(foreign)  # what the browser sends is not all seen while requests are looked through
    async with page.expect_response(target) as sent:
        await page.evaluate("document.querySelector('form').submit()")
    response = await sent.value
    headers = await response.request.all_headers()
    assert headers["x-user"] == "victim"
    assert headers["sec-fetch-site"] == "cross-site"
    assert response.status == 403
    listed = await page.request.get(f"{server.root}v1/threads")
    assert (await listed.json())["threads"] == []
