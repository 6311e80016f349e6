"""Log lines say what they are about, and can be JSON."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from typing import Any, cast

import anyio
import pytest
from redis.asyncio import Redis

from core.streams import DEADLINE, log_key
from resumable_stream import StreamProducer
from resumable_stream.logs import ContextFilter, JsonFormatter, about, get_logger


def line_of(record: logging.LogRecord, **options: Any) -> dict[str, Any]:
    """The object on the one line that the formatter makes."""
    text = JsonFormatter(**options).format(record)
    assert "\n" not in text
    assert text.isascii()
    found: dict[str, Any] = json.loads(text)
    return found


def failure() -> Exception:
    """An error with a place, and a text that is nobody's business."""
    try:
        raise KeyError("a secret")
    except KeyError as error:
        return error


def test_a_line_has_when_who_what_and_the_attributes_that_it_was_given() -> None:
    record = logging.makeLogRecord(
        {"name": "a.b", "levelname": "WARNING", "msg": "%s of\n%s", "args": (1, "zw\udcffei"), "run_id": "r-1",
         "created": 0.25, "share": math.nan, "count": 3, "whole": {"a": 1}, "color_message": "x"}
    )  # fmt: skip
    assert line_of(record) == {
        "time": "1970-01-01T00:00:00.250+00:00",
        "level": "warning",
        "logger": "a.b",
        "message": "1 of\nzw\udcffei",
        "run_id": "r-1",
        "share": "nan",
        "count": 3,
        "whole": "{'a': 1}",
    }


def test_of_an_exception_a_line_has_the_kind_and_the_place_and_no_text() -> None:
    error = failure()
    record = logging.makeLogRecord({"msg": "broken", "exc_info": (type(error), error, error.__traceback__)})
    line = line_of(record)
    assert line["exception"]["type"] == "builtins.KeyError"
    assert line["exception"]["stack"][0].endswith(" failure")
    assert "a secret" not in json.dumps(line)
    assert "a secret" in line_of(record, exception_text=True)["traceback"]


def test_lines_in_a_block_and_in_tasks_that_begin_there_say_what_it_is_about(caplog: pytest.LogCaptureFixture) -> None:
    logger = get_logger("resumable_stream.test")

    async def work() -> None:
        logger.warning("inside", extra={"stream_id": "s-2"})

    async def main() -> None:
        with about(run_id="r-1", stream_id="s-1"), about(thread_id="t-1"):
            task = asyncio.create_task(work())
        logger.warning("outside")
        await task

    anyio.run(main)
    outside, inside = (vars(record) for record in caplog.records)
    assert not {"run_id", "thread_id", "stream_id"} & set(outside)
    assert (inside["run_id"], inside["thread_id"], inside["stream_id"]) == ("r-1", "t-1", "s-2")


def test_a_handler_can_tell_what_lines_of_other_libraries_are_about() -> None:
    foreign, own = (logging.makeLogRecord({"name": name}) for name in ("httpx", "resumable_stream.app"))
    with about(run_id="r-1"):
        assert ContextFilter().filter(foreign)
        assert ContextFilter().filter(own)
    assert vars(foreign)["run_id"] == "r-1"
    assert "run_id" not in vars(own)


async def test_lines_of_a_producer_name_the_stream_and_what_its_task_is_about(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """A log that has lost its newest event, and a source that fails while it is stopped."""

    async def write() -> None:
        async with producer.open("s-1") as stream:
            for token in ("a", "b"):
                await stream.send(token)
                await stream.flush()
            (first, fields), _ = cast("Any", await redis.xrange(log_key("s-1")))
            async with redis.pipeline() as pipeline:
                pipeline.delete(log_key("s-1"))
                pipeline.xadd(log_key("s-1"), fields, first)
                pipeline.expire(log_key("s-1"), 60)
                await pipeline.execute()
            await stream.send("c")
            await stream.flush()
            await producer.cancel("s-1")
            try:
                await anyio.sleep_forever()
            finally:
                raise ValueError("a secret")

    async with StreamProducer(redis) as producer:
        with anyio.fail_after(DEADLINE), about(run_id="r-1"), pytest.raises(ValueError, match="a secret"):
            await write()
    lost, stopped = (vars(record) for record in caplog.records if record.name == "resumable_stream")
    assert "Redis has lost 1 events" in lost["message"]
    assert (lost["stream_id"], lost["run_id"]) == ("s-1", "r-1")
    assert "failed while it was stopped: ValueError" in stopped["message"]
    assert stopped["stream_id"] == "s-1"
    assert "a secret" not in caplog.text
