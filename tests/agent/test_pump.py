"""Leaving a run at any moment: it is cancelled, waited for, and nothing of it is lost in silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

import anyio
import pytest

from resumable_stream.agent import _pump as pump_module
from resumable_stream.agent._pump import RunTasks, pumped


async def test_items_come_in_order_and_an_error_after_them() -> None:
    async def source() -> AsyncGenerator[int, None]:
        for number in range(200):
            yield number
        raise KeyError

    seen = []
    with pytest.raises(KeyError):
        async with pumped(source(), RunTasks()) as items:
            seen.extend([item async for item in items])
    async with pumped(source(), RunTasks()) as items:
        async for item in items:
            seen.append(item)
            if item == 150:
                break
    assert seen == list(range(151))


async def test_a_source_under_a_cancelled_scope_may_finish_what_it_does_in_peace(
    no_tasks_left: None,
) -> None:
    steps = []

    async def source() -> AsyncGenerator[int, None]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            for step in range(3):
                await asyncio.sleep(0)
                steps.append(step)

    with anyio.CancelScope() as scope:
        async with pumped(source(), RunTasks()) as items:
            async for _ in items:
                scope.cancel()
    assert steps == [0, 1, 2]


async def test_a_source_that_swallows_the_cancellation_ends_at_its_next_item(
    no_tasks_left: None, caplog: pytest.LogCaptureFixture
) -> None:
    waiting, closed = asyncio.Event(), asyncio.Event()

    async def source() -> AsyncGenerator[int, None]:
        try:
            yield 1
            waiting.set()
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            yield 2
            yield 3
        finally:
            closed.set()

    async with pumped(source(), RunTasks()) as items:
        assert await anext(items) == 1
        await waiting.wait()

    assert closed.is_set()
    assert caplog.records == []


async def test_a_source_that_does_not_end_is_left_and_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, no_tasks_left: None
) -> None:
    monkeypatch.setattr(pump_module, "_GRACE", 0.1)
    over = asyncio.Event()

    async def source() -> AsyncGenerator[int, None]:
        yield 1
        while not over.is_set():
            with suppress(asyncio.CancelledError):
                await over.wait()

    async with pumped(source(), RunTasks()) as items:
        assert await anext(items) == 1

    assert "did not end within 0.1 s" in caplog.text
    over.set()


async def test_an_error_while_stopping_is_told_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def source() -> AsyncGenerator[int, None]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            raise LookupError("a secret")

    async with pumped(source(), RunTasks()) as items:
        assert await anext(items) == 1

    (record,) = caplog.records
    assert record.getMessage().startswith("a run failed while it was being stopped: builtins.LookupError")
    assert "a secret" not in caplog.text
