"""Python in the README and the documentation works as it is written."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from textwrap import dedent
from typing import Any

import anyio
import pytest
from redis.asyncio import Redis

from docs.pages import PAGES, ROOT, Block, all_blocks, blocks_of, name_of


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_python_block_says_how_it_is_tested(page: Path) -> None:
    assert [str(block) for block in blocks_of(page, "python") if not block.how] == []


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(b.how == "run" for b in blocks_of(page, "python"))], ids=name_of
)
async def test_the_blocks_of_a_page_run_one_after_the_other(page: Path, redis: Redis) -> None:
    namespace: dict[str, Any] = {"__name__": "docs_page", "redis": redis}
    for block in blocks_of(page, "python"):
        if block.how == "run":
            with anyio.fail_after(20):
                await _execute(block, namespace)


@pytest.mark.parametrize("block", [b for b in all_blocks("python") if b.how == "compile"], ids=str)
def test_blocks_that_cannot_run_compile_and_import_what_exists(block: Block) -> None:
    assert block.what, "a block that is only compiled says why"
    _compiled(block)
    for node in ast.walk(ast.parse(block.code)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"


@pytest.mark.parametrize("block", [b for b in all_blocks("python", "html", "js") if b.how == "from"], ids=str)
def test_blocks_out_of_an_example_are_word_for_word_in_it(block: Block) -> None:
    code = (ROOT / block.what).read_text(encoding="utf-8")
    lines = code.splitlines()
    wanted = block.code.splitlines()
    parts = ("\n".join(lines[start : start + len(wanted)]) for start in range(len(lines)))
    found = any(dedent(part) == "\n".join(wanted) for part in parts)
    assert found, f"{block.what} does not hold this block"


async def _execute(block: Block, namespace: dict[str, Any]) -> None:
    result = eval(_compiled(block), namespace)
    if inspect.iscoroutine(result):
        await result


def _compiled(block: Block) -> Any:
    code = "\n" * (block.line - 1) + block.code  # tracebacks name the line of the page
    return compile(code, block.page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
