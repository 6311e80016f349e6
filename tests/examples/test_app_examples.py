"""The examples of the chat app do what they say, with a provider's wire served from here."""

from __future__ import annotations

import subprocess

import anyio
import httpx
import pytest
from anyio.streams.text import TextReceiveStream
from httpx_sse import ServerSentEvent, aconnect_sse
from playwright.async_api import Page, expect

from agent.provider_wire import Gate, ProviderWire, Reply
from examples.programs import ROOT, constant, serve

ANSWER = ["A lease ", "is proof ", "of life.\n", "It is renewed."]


async def test_fastapi_serves_the_chat_below_its_path_and_poems_beside_it(
    environment: dict[str, str], wire: ProviderWire
) -> None:
    async with serve("examples.mounted_fastapi:app", environment) as client:
        assert "<html" in (await client.get("/assistant/")).text
        wire.script(Reply(text=ANSWER), Reply(text=ANSWER))  # an answer and a title, in any order
        await chat(client, "/assistant", "What is a lease?")

        assert (await client.post("/poems/1")).status_code == 202
        poem = constant("examples/mounted_fastapi.py", "POEM")
        assert text_of(await read(client, "/poems/1")).split() == poem.split()
        assert (await client.post("/poems/1")).status_code == 409
        assert (await client.get("/poems/2")).status_code == 404
        assert (await client.get("/openapi.json")).status_code == 200


async def test_a_graph_of_ones_own_streams_the_text_of_its_model(
    environment: dict[str, str], wire: ProviderWire
) -> None:
    async with serve("examples.custom_graph:app", environment) as client:
        wire.script(Reply(text=ANSWER))
        thread_id = await chat(client, "", "When do you open on Saturday?")
        assert "10 to 16" in str(wire.requests[0].body)
        history = (await client.get("/v1/thread", params={"thread_id": thread_id})).json()
        assert [(one["type"], one["content"]) for one in history] == [
            ("human", "When do you open on Saturday?"),
            ("ai", "".join(ANSWER)),
        ]


@pytest.mark.browser
async def test_the_page_of_the_template_shows_answer_after_answer(
    environment: dict[str, str], wire: ProviderWire, page: Page
) -> None:
    async with serve("examples.template_page.app:app", environment) as client:
        wire.script(*[Reply(text=ANSWER)] * 3)  # two answers and a title
        await page.goto(str(client.base_url))
        for number in (1, 2):
            await page.get_by_label("Message").fill("What is a lease?")
            await page.get_by_role("button", name="Send").click()
            await expect(page.get_by_text("".join(ANSWER))).to_have_count(number)
            await expect(page.get_by_role("button", name="Send")).to_be_enabled()
        assert await page.get_by_text("What is a lease?").count() == 2


async def test_curl_resumes_after_the_frame_that_it_had(environment: dict[str, str], wire: ProviderWire) -> None:
    gate = Gate()
    wire.script(Reply(text=ANSWER, gate=gate))
    async with serve("examples.custom_graph:app", environment) as client:
        command = ["sh", "examples/curl.sh", str(client.base_url).rstrip("/"), "What is a lease?"]
        async with await anyio.open_process(command, cwd=ROOT, stderr=subprocess.STDOUT) as process:
            assert process.stdout is not None
            output = ""
            with anyio.fail_after(30):
                async for text in TextReceiveStream(process.stdout):
                    output += text
                    if "--- resumed after" in output and not wire.left and gate.reached.is_set():
                        gate.open()
                assert await process.wait() == 0, output

    before, _, after = output.partition("--- resumed after ")
    cursor = after.splitlines()[0]
    assert before.rstrip().splitlines()[-3:] == [f"id: {cursor}", "event: chunk", f"data: {ANSWER[1].rstrip()}"]
    ids = [line for line in output.splitlines() if line.startswith("id: ")]
    assert len(ids) == len(set(ids))
    assert output.rstrip().endswith("event: system\ndata: end")


async def chat(client: httpx.AsyncClient, base: str, message: str) -> str:
    """Ask and read the answer; returns the thread."""
    accepted = await client.post(f"{base}/v1/chat/message", json={"message": message})
    assert accepted.status_code == 200, accepted.text
    thread_id: str = accepted.json()["thread_id"]
    events = await read(client, f"{base}/v1/chat/stream?thread_id={thread_id}")
    assert text_of(events) == "".join(ANSWER)
    assert events[-1].data == "end"
    return thread_id


async def read(client: httpx.AsyncClient, path: str) -> list[ServerSentEvent]:
    """The events of a stream, to its end."""
    async with aconnect_sse(client, "GET", path) as source:
        source.response.raise_for_status()
        return [event async for event in source.aiter_sse()]


def text_of(events: list[ServerSentEvent]) -> str:
    """The text of the answer."""
    return "".join(event.data for event in events if event.event == "chunk")
