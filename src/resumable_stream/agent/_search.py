"""The web-search tool: Tavily with a key, DuckDuckGo and others through `ddgs` without one.

A search that fails tells the model so, and the run goes on. What it tells names neither keys nor hosts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import anyio
import anyio.to_thread
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, Field, SecretStr

from ..logs import get_logger
from ._extras import require

logger = get_logger(__name__)

Hit = Mapping[str, Any]
Search = Callable[[str], Awaitable[Sequence[Hit]]]
"""Takes a query; a result has ``title``, ``url`` and ``content``."""

_MAX_QUERY: Final = 400
_MAX_TITLE: Final = 200
_MAX_URL: Final = 500
_PARALLEL: Final = 8
"""Searches in threads at one time; one that was given up keeps its thread until its own timeout."""


class _Query(BaseModel):
    query: str = Field(description="What to look for, in a few words.")


def web_search_tool(
    *,
    tavily_api_key: SecretStr | str | None = None,
    tavily_base_url: str | None = None,
    max_results: int = 5,
    max_chars: int = 6000,
    timeout: float = 10.0,
) -> BaseTool:
    """Make the tool ``web_search``. Nothing is sent before it is used.

    Args:
        tavily_api_key: search with Tavily; without it, with `ddgs`, which needs no key.
        tavily_base_url: another server that speaks Tavily's protocol.
        max_results: the most results of one search.
        max_chars: the most characters that one search gives to the model.
        timeout: seconds for one search.

    Raises:
        ModuleNotFoundError: the package for it is missing; the message has the line that installs it.
    """
    if tavily_api_key:
        require("langchain_tavily", "search")
        key = tavily_api_key if isinstance(tavily_api_key, SecretStr) else SecretStr(tavily_api_key)
        search = _tavily(key, tavily_base_url, max_results)
    else:
        require("ddgs", "search")
        search = _ddgs(max_results, timeout)

    async def web_search(query: str) -> str:
        query = " ".join(query.split())[:_MAX_QUERY]
        if not query:
            raise ToolException("The query is empty. Say what to look for.")
        try:
            with anyio.fail_after(timeout):
                hits = await search(query)
        except TimeoutError:
            logger.warning("web search gave no answer within %s s", timeout)
            raise ToolException("The web search took too long. Answer without it.") from None
        except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on
            # Its text may hold a key or a host; and the model needs no more than that there is no result.
            logger.warning("web search failed: %s", type(error).__name__)
            raise ToolException("The web search failed. Answer without it.") from None
        return _render(hits[:max_results], max_chars)

    return StructuredTool.from_function(
        coroutine=web_search,
        name="web_search",
        description="Search the web. Returns titles, addresses and excerpts of pages.",
        args_schema=_Query,
        handle_tool_error=True,
    )


def _tavily(key: SecretStr, base_url: str | None, max_results: int) -> Search:
    async def search(query: str) -> Sequence[Hit]:
        # Imported at the first search: it takes a second.
        from langchain_tavily import TavilySearch

        options = {} if base_url is None else {"api_base_url": base_url}
        # As plain text: made a str of, which happens inside, a SecretStr is asterisks.
        tool = TavilySearch(tavily_api_key=key.get_secret_value(), max_results=max_results, **options)
        found = await tool.ainvoke({"query": query})
        hits = found if isinstance(found, dict) else {}  # else it is advice, for there is nothing
        if "error" in hits:
            raise hits["error"]
        return list(hits.get("results", ()))

    return search


def _ddgs(max_results: int, timeout: float) -> Search:
    limiter = anyio.CapacityLimiter(_PARALLEL)

    def blocking(query: str) -> Sequence[Hit]:
        from ddgs import DDGS
        from ddgs.exceptions import DDGSException

        try:
            with DDGS(timeout=max(1, int(timeout))) as engine:
                found = engine.text(query, max_results=max_results)
        except DDGSException as error:
            if str(error) == "No results found.":
                return []
            raise
        return [{"title": hit.get("title"), "url": hit.get("href"), "content": hit.get("body")} for hit in found]

    async def search(query: str) -> Sequence[Hit]:
        return await anyio.to_thread.run_sync(partial(blocking, query), abandon_on_cancel=True, limiter=limiter)

    return search


def _render(hits: Sequence[Hit], max_chars: int) -> str:
    """Results as text, the first ones whole as far as the room goes."""
    if not hits:
        return "Nothing was found."
    room = max(200, max_chars // len(hits))
    parts = []
    for number, hit in enumerate(hits, 1):
        title = _line(hit.get("title"), _MAX_TITLE)
        url = _line(hit.get("url"), _MAX_URL)
        parts.append(f"{number}. {title}\n{url}\n{_line(hit.get('content'), room)}")
    return "\n\n".join(parts)[:max_chars]


def _line(value: object, limit: int) -> str:
    text = " ".join(str(value or "").split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
