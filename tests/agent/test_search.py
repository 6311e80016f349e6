"""The web-search tool answers or says that it cannot; it never ends a run."""

from __future__ import annotations

import sys
import threading
from typing import Any

import ddgs
import pytest
from ddgs.exceptions import DDGSException
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool

from agent.conftest import SECRET, make_model
from agent.helpers import answer, new_turn, of_type, text
from agent.provider_wire import Call, ProviderWire, Reply
from resumable_stream.agent import LangGraphAgent, build_graph, web_search_tool
from resumable_stream.agent._checkpoint import Pool
from support import free_port

HITS = [
    {"title": f"Title {n}", "url": f"https://example.org/{n}", "content": f"Cats\n\n {n} " + "x" * 5000}
    for n in range(9)
]


async def ask(tool: BaseTool, query: str) -> ToolMessage:
    found = await tool.ainvoke({"type": "tool_call", "id": "call_a", "name": tool.name, "args": {"query": query}})
    assert isinstance(found, ToolMessage)
    return found


async def test_tavily_gives_bounded_results(wire: ProviderWire) -> None:
    tool = web_search_tool(tavily_api_key=SECRET, tavily_base_url=wire.url, max_results=3, max_chars=1500)
    wire.search = (200, {"results": HITS})

    found = await ask(tool, "  cats \n dogs " + "z" * 1000)

    assert found.status == "success"
    lines = str(found.content).splitlines()
    assert lines[:2] == ["1. Title 0", "https://example.org/0"]
    assert lines[2].startswith("Cats 0 xxx")
    assert "3. Title 2" in lines
    assert "4. Title 3" not in lines
    assert len(str(found.content)) <= 1500
    (request,) = wire.requests
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert request.body["max_results"] == 3
    assert request.body["query"].startswith("cats dogs zzz")
    assert len(request.body["query"]) == 400


async def test_a_search_without_results_says_so(wire: ProviderWire) -> None:
    tool = web_search_tool(tavily_api_key=SECRET, tavily_base_url=wire.url)
    wire.search = (200, {"results": []})

    assert (await ask(tool, "cats")).content == "Nothing was found."


@pytest.mark.parametrize("status", [401, 500])
async def test_a_search_that_fails_is_told_to_the_model_and_the_run_goes_on(
    wire: ProviderWire, pool: Pool, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    tool = web_search_tool(tavily_api_key=SECRET, tavily_base_url=wire.url)
    agent = LangGraphAgent(build_graph(make_model(wire.url), [tool]), pool)
    wire.search = (status, {"detail": {"error": f"bad key {SECRET}"}})
    wire.script(Reply(calls=[Call("call_a", "web_search", {"query": "cats"})]), Reply(text=["Without, then."]))

    events = await answer(agent, new_turn())

    assert text(events) == "Without, then."
    (result,) = of_type(events, "tool_result")
    assert result["status"] == "error"
    assert result["content"] == "The web search failed. Answer without it."
    assert "web search failed: " in caplog.text
    assert SECRET not in caplog.text
    assert wire.url not in caplog.text


async def test_a_search_engine_that_is_not_there_fails_the_same_way() -> None:
    tool = web_search_tool(tavily_api_key=SECRET, tavily_base_url=f"http://127.0.0.1:{free_port()}")

    found = await ask(tool, "cats")

    assert (found.status, found.content) == ("error", "The web search failed. Answer without it.")


async def test_an_empty_query_is_not_sent(wire: ProviderWire) -> None:
    tool = web_search_tool(tavily_api_key=SECRET, tavily_base_url=wire.url)

    found = await ask(tool, " \n ")

    assert (found.status, found.content) == ("error", "The query is empty. Say what to look for.")
    assert wire.requests == []


class Engine:
    """In the place of the class that asks real search engines, which tests cannot."""

    answer: Any = ()
    calls: list[tuple[Any, ...]]

    def __init__(self, **options: Any) -> None:
        self.options = options

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def text(self, query: str, *, max_results: int) -> Any:
        type(self).calls.append((query, max_results, self.options, threading.current_thread()))
        answer = type(self).answer
        if isinstance(answer, Exception):
            raise answer
        return answer() if callable(answer) else answer


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> type[Engine]:
    Engine.calls = []
    monkeypatch.setattr(ddgs, "DDGS", Engine)
    return Engine


async def test_without_a_key_ddgs_is_asked_in_a_thread(engine: type[Engine]) -> None:
    engine.answer = [{"title": "T", "href": "https://example.org", "body": "About cats"}]

    found = await ask(web_search_tool(max_results=2, timeout=7.5), "cats")

    assert found.content == "1. T\nhttps://example.org\nAbout cats"
    ((query, max_results, options, thread),) = engine.calls
    assert (query, max_results, options) == ("cats", 2, {"timeout": 7})
    assert thread is not threading.main_thread()


@pytest.mark.parametrize(
    ("said", "content"),
    [
        (DDGSException("No results found."), "Nothing was found."),
        (DDGSException("DNSError"), "The web search failed. Answer without it."),
    ],
)
async def test_ddgs_may_find_nothing_or_fail(engine: type[Engine], said: Exception, content: str) -> None:
    engine.answer = said

    assert (await ask(web_search_tool(), "cats")).content == content


async def test_a_search_is_limited_in_time(engine: type[Engine], caplog: pytest.LogCaptureFixture) -> None:
    done = threading.Event()
    engine.answer = lambda: done.wait(20) and []

    found = await ask(web_search_tool(timeout=0.2), "cats")
    done.set()

    assert (found.status, found.content) == ("error", "The web search took too long. Answer without it.")
    assert "no answer within 0.2 s" in caplog.text


@pytest.mark.parametrize(("package", "key"), [("langchain_tavily", SECRET), ("ddgs", None)])
def test_a_missing_package_is_told_when_the_tool_is_made(
    monkeypatch: pytest.MonkeyPatch, package: str, key: str | None
) -> None:
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(ModuleNotFoundError) as caught:
        web_search_tool(tavily_api_key=key)

    assert "pip install 'resumable-stream-redis[search]'" in str(caught.value)
