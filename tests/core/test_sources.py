"""Sources that do what their author did not think about."""

from __future__ import annotations

import anyio
import pytest
from redis.asyncio import Redis

from core.streams import DEADLINE, ended_as, eventually, read_all, state_key, text_in_log, text_of
from resumable_stream import Status, StreamConsumer, StreamEvent, StreamFailure, StreamProducer
from resumable_stream.testing import Gate, ScriptedSource, Step


async def test_a_failure_made_of_any_objects_is_told_as_text(redis: Redis) -> None:
    """Such as a status code, and the error that was caught."""
    failure = StreamFailure(503, ValueError("too many"))  # type: ignore[arg-type] # callers without types do this
    with pytest.raises(StreamFailure, match=r"too many \[503\]"):
        await StreamProducer(redis).run("s", ScriptedSource(["a", failure]))
    async with StreamConsumer(redis) as consumer:
        info = await consumer.status("s")
    assert (info.status, info.code, info.message) == (Status.FAILED, "503", "too many")


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ([b"\xe2\x82", "", b"\xac"], "€"),
        ([b"\xe2\x82", b"", b"\xac"], "€"),
        (["\ud83d", b"", "\ude00"], "😀"),
        (["\ud83d", "", "\ude00"], "😀"),
        (["\ud83d", StreamEvent("text", ""), "\ude00"], "😀"),
    ],
)
async def test_an_empty_token_inside_a_character_changes_nothing(redis: Redis, tokens: list[Step], text: str) -> None:
    await StreamProducer(redis).run("s", ScriptedSource(tokens))
    async with StreamConsumer(redis) as consumer:
        assert text_of(await read_all(consumer, "s")) == text


async def test_an_event_that_is_refused_leaves_half_a_character_waiting(redis: Redis) -> None:
    async with StreamProducer(redis).open("s") as stream:
        await stream.send("\ud83d")
        with pytest.raises(ValueError, match="written by the library"):
            await stream.send(StreamEvent("end"))
        await stream.send("\ude00")
    assert await text_in_log(redis, "s") == "😀"


async def test_a_stream_that_gathers_for_longer_than_its_lease_stays_alive(redis: Redis) -> None:
    gate = Gate()

    async def lease() -> float:
        return float(await redis.hget(state_key("s"), "l") or 0)

    async def in_log() -> str:
        return await text_in_log(redis, "s")

    with anyio.fail_after(DEADLINE):
        async with StreamProducer(redis, lease=0.2, flush_interval=60) as producer, anyio.create_task_group() as group:
            group.start_soon(producer.run, "s", ScriptedSource(["a", lambda: eventually(in_log), "b", gate, "c"]))
            await gate.reached()
            first = await lease()

            async def renewed() -> bool:
                return await lease() > first + 400

            await eventually(renewed)
            gate.open()
        async with StreamConsumer(redis) as consumer:
            events = await read_all(consumer, "s")
    assert ended_as(events) is Status.COMPLETED
    assert text_of(events) == "abc"
