"""The scripted source plays its script as written, and tells what was done to it."""

from __future__ import annotations

import anyio
import pytest

from resumable_stream import testing
from resumable_stream._events import StreamEvent
from resumable_stream.testing import Gate, ScriptedSource, numbered


class Boom(BaseException):
    """Not an ``Exception``: nobody may catch it by accident."""


async def test_tokens_come_in_the_order_of_the_script() -> None:
    event = StreamEvent("title", {"title": "x"})
    source = ScriptedSource(["a", b"b", event])
    assert [token async for token in source] == ["a", b"b", event]
    assert (source.pulled, source.yielded, source.ended) == (4, 3, True)


async def test_an_endless_script_is_read_one_step_at_a_time() -> None:
    source = ScriptedSource(iter(lambda: "again", None))
    assert [await anext(source) for _ in range(3)] == ["again"] * 3
    assert not source.ended


async def test_a_gate_stops_the_source_until_it_is_opened() -> None:
    gate = Gate()
    source = ScriptedSource(["a", gate, "b"])
    seen: list[object] = []

    async def read() -> None:
        seen.extend([token async for token in source])

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await gate.reached()
            assert source.yielded == 1
            gate.open()
    assert seen == ["a", "b"]


async def test_an_event_and_a_callable_are_steps_too() -> None:
    ready = anyio.Event()
    calls: list[str] = []

    async def hook() -> None:
        calls.append("async")

    source = ScriptedSource([lambda: calls.append("plain"), hook, ready, "a"])
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(source.wait_yielded, 1)
            group.start_soon(source.wait_pulled, 1)
            ready.set()
            assert await anext(source) == "a"
    assert calls == ["plain", "async"]


@pytest.mark.parametrize("error", [ValueError("x"), Boom("x")])
async def test_an_exception_is_raised_and_ends_the_script(error: BaseException) -> None:
    source = ScriptedSource(["a", error, "never"])
    assert await anext(source) == "a"
    with pytest.raises(type(error)):
        await anext(source)
    with pytest.raises(StopAsyncIteration):
        await anext(source)
    assert (source.yielded, source.ended) == (1, False)


async def test_it_tells_that_it_was_cancelled_and_closed() -> None:
    gate = Gate()
    source = ScriptedSource([gate, "never"])
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(anext, source)
            await gate.reached()
            group.cancel_scope.cancel()
        assert source.cancelled
        assert not source.closed
        async with anyio.create_task_group() as group:
            group.start_soon(source.wait_closed)
            await source.aclose()
            await source.aclose()
    assert source.closed
    with pytest.raises(StopAsyncIteration):
        await anext(source)


async def test_two_tasks_cannot_use_it_at_once() -> None:
    gate = Gate()
    source = ScriptedSource([gate])
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(anext, source, None)
            await gate.reached()
            with pytest.raises(RuntimeError):
                await anext(source)
            with pytest.raises(RuntimeError):
                await source.aclose()
            gate.open()


def test_numbered_tokens_all_differ() -> None:
    assert numbered(3) == ["1 ", "2 ", "3 "]
    assert numbered(2, start=9) == ["9 ", "10 "]
    assert len(set(numbered(500))) == 500


def test_the_public_names_exist_and_say_what_they_are() -> None:
    for name in testing.__all__:
        assert hasattr(testing, name)
    assert sorted(testing.__all__) == testing.__all__
