"""Text of every kind goes through Redis and arrives equal. What parsers make of it is in ``tests/sse``."""

from __future__ import annotations

from itertools import count, pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from core.streams import read_all, text_of
from resumable_stream import StreamConsumer, StreamProducer
from resumable_stream.testing import ScriptedSource

AWKWARD = [
    "\r", "\n", "\r\n", "\n\n", "\0", "\x85", "\u2028", "\u2029", "\ufeff", " ", "  x", ":", "data: x", "id: 1\n",
    "\ud83d", "\ude00", "😀", "é", "e\u0301", "\x1b[31m", "\x7f", "\uffff", "\U0010ffff", "</script>",
    "[DONE]", '"', "\\",
]  # fmt: skip
PATIENT = settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
names = (f"s{number}" for number in count())


def joined(tokens: list[str]) -> str:
    """The whole text: halves of a pair that meet are the character that they stand for."""
    return "".join(tokens).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


@PATIENT
@given(text=st.text(max_size=40), cuts=st.lists(st.integers(0, 160), max_size=12))
async def test_bytes_cut_anywhere_arrive_as_the_text(redis: Redis, text: str, cuts: list[int]) -> None:
    """A provider's packets end inside characters."""
    raw = text.encode()
    places = sorted({0, len(raw), *[cut for cut in cuts if cut < len(raw)]})
    tokens = [raw[start:end] for start, end in pairwise(places)]
    stream_id = next(names)
    await StreamProducer(redis).run(stream_id, ScriptedSource(tokens))
    async with StreamConsumer(redis) as consumer:
        assert text_of(await read_all(consumer, stream_id)) == text


@pytest.mark.parametrize("interval", [0.0, 0.01])
@pytest.mark.parametrize("decode", [True, False])
async def test_awkward_text_is_exact_whatever_the_settings(
    redis: Redis, valkey_url: str, interval: float, decode: bool
) -> None:
    async with Redis.from_url(valkey_url, decode_responses=decode) as client:
        await StreamProducer(client, flush_interval=interval).run("s", ScriptedSource(AWKWARD * 3))
        async with StreamConsumer(client) as consumer:
            assert text_of(await read_all(consumer, "s")) == joined(AWKWARD * 3)


LINE_ENDS = st.lists(
    st.sampled_from(["\r", "\n", "a\r", "\r\n", "\nb", "é", b"\r", b"\n", b"\r\nb", b"", "", "\ud83d"])
)


@PATIENT
@given(LINE_ENDS)
async def test_a_crlf_that_is_cut_over_tokens_comes_in_one_event(redis: Redis, tokens: list[str | bytes]) -> None:
    """The text format would make two line feeds of its halves. Nothing is lost or moved for it."""
    stream_id = next(names)
    await StreamProducer(redis).run(stream_id, ScriptedSource(tokens))
    async with StreamConsumer(redis) as consumer:
        texts = [str(event.data) for event in await read_all(consumer, stream_id) if event.type == "text"]
    assert "".join(texts) == "".join(token if isinstance(token, str) else token.decode() for token in tokens)
    assert not [pair for pair in pairwise(texts) if pair[0].endswith("\r") and pair[1].startswith("\n")]


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ([b"\r", b"\xc3", "x"], "\r\ufffdx"),
        ([b"\r", b"\xc3"], "\r\ufffd"),
        ([b"\xc3", "\r", b"\xa9"], "\ufffd\r\ufffd"),
        (["\ud83d", b"\xc3", "\ude00"], "\ud83d\ufffd\ude00"),
        (["\ud83d", b"", "\ude00\r"], "\U0001f600\r"),
        (["\ud83d\r", "\n"], "\ud83d\r\n"),
    ],
)
async def test_halves_that_never_become_whole_keep_their_places(
    redis: Redis, tokens: list[str | bytes], text: str
) -> None:
    await StreamProducer(redis).run("s", ScriptedSource(tokens))
    async with StreamConsumer(redis) as consumer:
        assert text_of(await read_all(consumer, "s")) == text
