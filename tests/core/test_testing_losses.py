"""The fault proxy loses exactly the Redis command, or the reply, that the test names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from resumable_stream.testing import FaultProxy
from resumable_stream.testing._resp import Head, HeadFinder


@pytest.fixture
async def proxy(valkey_url: str, redis: Redis) -> AsyncIterator[FaultProxy]:
    server = urlsplit(valkey_url)
    assert server.hostname is not None
    assert server.port is not None
    async with asyncio.timeout(30), FaultProxy(server.hostname, server.port, seed=3) as proxy:
        yield proxy


@asynccontextmanager
async def client(proxy: FaultProxy, *, protocol: int = 3) -> AsyncIterator[Redis]:
    """A client that never retries, so that a loss shows as an error."""
    redis = Redis(host=proxy.host, port=proxy.port, protocol=protocol, retry=Retry(NoBackoff(), 0))
    try:
        yield redis
    finally:
        await redis.aclose()


async def test_a_dropped_reply_leaves_the_command_executed(proxy: FaultProxy, redis: Redis) -> None:
    loss = proxy.drop_reply("incrby", nth=2)
    async with client(proxy) as victim:
        assert await victim.incr("n") == 1
        with pytest.raises(RedisConnectionError):
            await victim.incr("n")
        assert await victim.incr("n") == 3
    await loss.wait()
    assert loss.struck == 1
    assert proxy.commands["INCRBY"] == 3
    await redis.delete("n")


async def test_a_dropped_request_never_reaches_the_server(proxy: FaultProxy, redis: Redis) -> None:
    for keep in (0, 5, 12):
        loss = proxy.drop_request("INCRBY", keep=keep)
        async with client(proxy) as victim:
            with pytest.raises(RedisConnectionError):
                await victim.incr("n")
        assert loss.struck == 1
    assert await redis.exists("n") == 0


async def test_a_loss_can_be_narrowed_to_a_first_argument(proxy: FaultProxy, redis: Redis) -> None:
    loss = proxy.drop_reply("INCRBY", argument="b", nth=2)
    async with client(proxy) as victim:
        for name in "aaba":
            await victim.incr(name)
        with pytest.raises(RedisConnectionError):
            await victim.incr("b")
    assert loss.struck == 1
    await redis.delete("a", "b")


async def test_in_a_pipeline_only_the_replies_before_the_lost_one_arrive(proxy: FaultProxy, redis: Redis) -> None:
    loss = proxy.drop_reply("INCRBY", nth=2, keep=1)
    async with client(proxy) as victim:
        pipeline = victim.pipeline(transaction=False)
        pipeline.set("a", "x" * 100_000, ex=60)
        for _ in range(2):
            pipeline.incrby("n", 1)
            pipeline.get("a")
        with pytest.raises(RedisConnectionError):
            await pipeline.execute()
    assert loss.struck == 1
    assert await redis.incrby("n", 1) == 3
    await redis.delete("n")


async def test_odds_and_seed_make_the_same_losses_again(valkey_url: str, redis: Redis) -> None:
    server = urlsplit(valkey_url)
    runs: list[list[bool]] = []
    for _ in range(2):
        async with FaultProxy(server.hostname or "", server.port or 0, seed=11) as proxy:
            loss = proxy.drop_replies("ECHO", odds=0.3)
            async with client(proxy) as victim:
                runs.append([])
                for _ in range(40):
                    try:
                        await victim.echo("x")
                    except RedisConnectionError:
                        runs[-1].append(True)
                    else:
                        runs[-1].append(False)
                assert loss.struck == sum(runs[-1])
                proxy.heal()
                for _ in range(40):
                    await victim.echo("x")
    assert runs[0] == runs[1]
    assert 0 < sum(runs[0]) < 40


async def test_messages_of_a_subscription_are_not_taken_for_replies(proxy: FaultProxy, redis: Redis) -> None:
    async with client(proxy) as victim, victim.pubsub() as pubsub:
        await pubsub.subscribe("news")
        assert (await pubsub.get_message(timeout=5) or {})["type"] == "subscribe"
        loss = proxy.drop_reply("PING")
        await redis.publish("news", "one")
        message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=5)
        assert message is not None
        assert message["data"] == b"one"
        assert loss.struck == 0
        await pubsub.ping()
        await loss.wait()


async def test_a_subscription_in_the_old_protocol_is_left_alone(proxy: FaultProxy, redis: Redis) -> None:
    loss = proxy.drop_reply("PING")
    async with client(proxy, protocol=2) as victim, victim.pubsub() as pubsub:
        await pubsub.subscribe("news")
        await redis.publish("news", "one")
        await pubsub.ping()
        types: set[str] = set()
        while types != {"subscribe", "message", "pong"}:
            message = await pubsub.get_message(timeout=5)
            assert message is not None
            types.add(message["type"])
    assert loss.struck == 0


async def test_what_is_not_redis_passes_untouched() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with asyncio.timeout(5), FaultProxy("127.0.0.1", port) as proxy:
            proxy.drop_reply("GET")
            reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 204")
            writer.close()


COMMANDS = b"*1\r\n$4\r\nping\r\n*3\r\n$3\r\nSET\r\n$1\r\n*\r\n$9\r\n+OK\r\n$1\r\n\r\n*2\r\n$4\r\nECHO\r\n$0\r\n\r\n"
REPLIES = (
    b"+OK\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"$3\r\n*1\n\r\n",
    b"*2\r\n:1\r\n*1\r\n_\r\n",
    b"%1\r\n+a\r\n~1\r\n#t\r\n",
    b"|1\r\n+ttl\r\n:3\r\n$1\r\nx\r\n",
    b">2\r\n+a\r\n,1.5\r\n",
    b"=7\r\ntxt:abc\r\n",
    b"!3\r\nERR\r\n",
    b"*0\r\n",
    b"-ERR x\r\n",
    b"(123\r\n",
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_heads_are_found_in_pieces_of_any_size(size: int) -> None:
    finder = HeadFinder(commands=True)
    heads = [head for at in range(0, len(COMMANDS), size) for head in finder.feed(COMMANDS[at : at + size])]
    second, third = COMMANDS.index(b"*3"), COMMANDS.index(b"*2")
    assert heads == [
        Head(0, b"*", "PING", b""),
        Head(second, b"*", "SET", b"*"),
        Head(third, b"*", "ECHO", b""),
    ]

    finder, stream = HeadFinder(commands=False), b"".join(REPLIES)
    heads = [head for at in range(0, len(stream), size) for head in finder.feed(stream[at : at + size])]
    assert [stream[head.start : head.start + 1] for head in heads] == [reply[:1] for reply in REPLIES]
    assert [head.start for head in heads] == [sum(map(len, REPLIES[:index])) for index in range(len(REPLIES))]
