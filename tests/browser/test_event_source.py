"""The browser's own `EventSource` judges our streams: any text, silence, and connections that end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from itertools import count, cycle
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from playwright.async_api import Browser, Page
from redis.asyncio import Redis

from core.http_server import Served, StreamApp, served
from core.sse_parser import Message
from core.streams import DEADLINE, eventually, state_key
from resumable_stream import StreamConsumer, StreamProducer
from resumable_stream.asgi import Receive, Scope, Send
from resumable_stream.testing import Gate, ScriptedSource
from sse.judging import json_runs_of, runs_of
from sse.resuming import TOKENS, restless_stream
from sse.texts import HOSTILE, Conversation, Run, as_text, conversations, joined
from sse.wire import KEEP_ALIVE

pytestmark = pytest.mark.browser

LISTEN = """async ([urls, patience]) => {
  const names = ["message", "chunk", "tool_call", "system", "forged"];
  const hear = (url) =>
    new Promise((resolve) => {
      const source = new EventSource(url);
      const heard = [];
      const end = (how) => {
        source.close();
        resolve({ heard, how });
      };
      for (const name of names) {
        source.addEventListener(name, ({ data, lastEventId }) => {
          // What JSON.parse makes of it, if it is JSON; JSON.stringify writes halves of pairs as escapes.
          heard.push([name, name === "message" ? JSON.stringify(JSON.parse(data)) : data, lastEventId]);
          if (!url.includes("follow") && (data === "end" || data.includes('"type":"end"'))) end("end");
        });
      }
      setTimeout(() => end("overdue"), patience);
      source.onerror = () => {
        if (source.readyState === EventSource.CLOSED) end("refused");
        else if (!url.includes("follow")) end("cut");
      };
    });
  return JSON.stringify(await Promise.all(urls.map(hear)));
}"""

names = (f"s{number}" for number in count())


class TearingApp(StreamApp):
    """Sends its bytes in pieces of 1, 2, 3, 7 and 50 bytes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sizes = cycle((1, 2, 3, 7, 50))

        async def send_torn(message: Any) -> None:
            body = message.get("body", b"")
            while len(body) > 1:
                size = next(sizes)
                await send({"type": "http.response.body", "body": body[:size], "more_body": True})
                body = body[size:]
            await send({**message, "body": body} if "body" in message else message)

        await super().__call__(scope, receive, send_torn)


@pytest.fixture(scope="module")
async def page(browser: Browser) -> AsyncIterator[Page]:
    page = await browser.new_page()
    yield page
    await page.close()


async def hear(page: Page, server: Served, paths: Sequence[str]) -> list[tuple[list[Message], str]]:
    """What the page hears on these paths, and how each ended."""
    if not page.url.startswith(server.url):
        await page.goto(f"{server.url}/{{no stream}}")  # any page of the server's will do
    urls = [server.url + path for path in paths]
    answers = json.loads(await page.evaluate(LISTEN, [urls, DEADLINE * 1000]))
    return [([Message(*message) for message in answer["heard"]], answer["how"]) for answer in answers]


@settings(
    max_examples=6,
    deadline=None,
    phases=[Phase.reuse, Phase.generate],  # a smaller example of a failure is easier found in tests/sse
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(st.lists(conversations(), min_size=12, max_size=12))
async def test_any_conversation_is_exact_as_json_and_as_documented_as_text(
    redis: Redis, page: Page, said: list[Conversation]
) -> None:
    async with (
        StreamProducer(redis) as producer,
        StreamConsumer(redis) as consumer,
        served(TearingApp(consumer)) as server,
    ):
        paths = []
        for conversation in said:
            stream_id = next(names)
            await producer.run(stream_id, ScriptedSource(conversation.steps))
            paths += [f"/{stream_id}?format=json", f"/{stream_id}"]
        answers = await hear(page, server, paths)
    for conversation, exact, text in zip(said, answers[::2], answers[1::2], strict=True):
        for messages, how in (exact, text):
            assert how == "end"
            sequences = [int(message.last_event_id.partition("-")[2]) for message in messages]
            assert sequences == list(range(1, len(messages) + 1))
        assert json_runs_of(exact[0]) == conversation.runs
        assert runs_of(text[0]) == joined([Run(run.kind, as_text(run.text)) for run in conversation.runs])


async def test_silence_before_every_event_is_nothing(redis: Redis, page: Page) -> None:
    """The source goes on only when a keep-alive was sent."""
    gates = [Gate() for _ in HOSTILE]
    closed = iter(gates)

    class QuietApp(StreamApp):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            async def send_and_go_on(message: Any) -> None:
                await send(message)
                if message.get("body") == KEEP_ALIVE and (gate := next(closed, None)):
                    gate.open()

            await super().__call__(scope, receive, send_and_go_on)

    async with (
        StreamConsumer(redis) as consumer,
        served(QuietApp(consumer, keep_alive=0.003)) as server,
        anyio.create_task_group() as group,
    ):
        script = [part for gate, token in zip(gates, HOSTILE, strict=True) for part in (gate, token)]
        group.start_soon(StreamProducer(redis).run, "s", ScriptedSource(script))
        await eventually(lambda: redis.exists(state_key("s")))
        ((messages, how),) = await hear(page, server, ["/s"])
        group.cancel_scope.cancel()  # a page that has not read to the end leaves gates closed
    assert how == "end"
    assert runs_of(messages) == joined([Run("chunk", as_text("".join(HOSTILE)))])
    assert len({message.last_event_id for message in messages}) == len(messages)


async def test_tokens_of_a_megabyte_are_whole(redis: Redis, page: Page) -> None:
    tokens = ["x" * 2**20, " 😀" * 2**18, "a\r\n" * 2**14]
    text = "".join(tokens)
    async with StreamConsumer(redis) as consumer, served(StreamApp(consumer)) as server:
        await StreamProducer(redis).run("s", ScriptedSource(tokens))
        (exact, _), (shown, _) = await hear(page, server, ["/s?format=json", "/s"])
    assert json_runs_of(exact) == (Run("chunk", text),)
    assert runs_of(shown) == (Run("chunk", as_text(text)),)


async def test_it_is_cut_again_and_again_gets_everything_once_and_stops(
    redis: Redis, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with restless_stream(redis, monkeypatch) as (server, app):
        ((messages, how),) = await hear(page, server, ["/s?follow"])
    assert how == "refused"
    assert runs_of(messages) == (Run("chunk", as_text("".join(TOKENS))),)
    assert len({message.last_event_id for message in messages}) == len(messages)
    assert app.connections > len(TOKENS)
