"""The connections themselves: who dials, what counts as silence, and what a refusal leads to."""

from __future__ import annotations

import logging

import anyio
import pytest
from redis.asyncio import Redis
from redis.credentials import CredentialProvider

from core.streams import DEADLINE, ended_as, faulty, read_all, text_in_log, text_of
from resumable_stream import (
    LogUnavailable,
    Status,
    StreamConsumer,
    StreamEvent,
    StreamNotFound,
    StreamProducer,
    _committer,
    _fanout,
    _links,
    _wire,
)
from resumable_stream.embedded import EmbeddedValkey
from resumable_stream.testing import ScriptedSource
from support import free_port, wait_until


class Provider(CredentialProvider):
    """Has no password to give, or fails as a token service does."""

    def __init__(self) -> None:
        self.broken = False

    def get_credentials(self) -> tuple[str, ...]:  # type: ignore[override] # an empty one is: no AUTH
        if self.broken:
            raise RuntimeError("token service: secret-token refused")
        return ()


async def test_a_credential_provider_that_raises_is_redis_away(
    redis: Redis, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_fanout, "ATTACH_TIMEOUT", 0.2)
    provider = Provider()
    provider.broken = True
    source = ScriptedSource(["a"])
    async with faulty(valkey_url, credential_provider=provider) as (_, client), StreamConsumer(client) as consumer:
        with pytest.raises(LogUnavailable) as failed:
            await consumer.status("s")
        with pytest.raises(LogUnavailable):
            await read_all(consumer, "s")
        with pytest.raises(LogUnavailable):
            await StreamProducer(client).run("s", source)
    assert "secret" not in str(failed.value)
    assert source.closed


async def test_a_credential_provider_that_raises_later_does_not_leave_a_writer_hanging(
    redis: Redis, valkey_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_committer, "LAST_WORDS", 0.1)
    provider = Provider()
    with anyio.fail_after(DEADLINE):
        async with (
            faulty(valkey_url, credential_provider=provider) as (proxy, client),
            StreamProducer(client, outage_timeout=0) as producer,
        ):

            async def body() -> None:
                async with producer.open("s") as stream:
                    await stream.send("a")
                    await stream.flush()
                    provider.broken = True
                    proxy.cut()
                    await stream.send("b")
                    await stream.flush()

            with pytest.raises(LogUnavailable):
                await body()
    assert "secret" not in caplog.text


async def test_callers_that_find_no_connection_share_one_dial(redis: Redis, valkey_url: str) -> None:
    found: list[StreamNotFound] = []

    async def ask(consumer: StreamConsumer, number: int) -> None:
        with pytest.raises(StreamNotFound) as absent:
            await consumer.status(f"s{number}")
        found.append(absent.value)

    with anyio.fail_after(DEADLINE):
        async with faulty(valkey_url) as (proxy, client):
            consumer = StreamConsumer(client)  # not entered: it would connect by itself, and listen
            proxy.to_client.hold()
            async with anyio.create_task_group() as group:
                for number in range(20):
                    group.start_soon(ask, consumer, number)
                await wait_until(lambda: proxy.accepted)
                proxy.to_client.release()
            assert proxy.accepted == 1
    assert sorted(error.stream_id for error in found) == sorted(f"s{number}" for number in range(20))


async def test_callers_that_share_a_dial_share_its_failure(
    redis: Redis, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other, the last of many would wait for minutes."""
    monkeypatch.setattr(_wire, "CONNECT_TIMEOUT", 0.6)
    failed: list[LogUnavailable] = []

    async def ask(consumer: StreamConsumer) -> None:
        with pytest.raises(LogUnavailable) as away:
            await consumer.status("s")
        failed.append(away.value)

    with anyio.fail_after(DEADLINE):
        async with faulty(valkey_url) as (proxy, client):
            consumer = StreamConsumer(client)  # not entered: it would connect by itself, and listen
            proxy.blackhole()
            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(ask, consumer)
            assert proxy.accepted == 1
    assert len({id(error) for error in failed}) == 20


async def test_a_server_that_may_not_write_any_more_is_connected_to_again(
    tmp_path_factory: pytest.TempPathFactory, no_tasks_left: None
) -> None:
    """After a failover the same address leads to another server, but the old one keeps its connections."""
    with EmbeddedValkey(tmp_path_factory.mktemp("link")) as server:
        async with faulty(server.url) as (proxy, client), Redis.from_url(server.url) as admin:
            with anyio.fail_after(DEADLINE):
                async with StreamProducer(client) as producer, producer.open("s") as stream:
                    await stream.send("1")
                    await stream.flush()
                    await admin.replicaof("127.0.0.1", str(free_port()))
                    before = proxy.accepted
                    await stream.send("2")
                    await wait_until(lambda: proxy.accepted > before + 1)
                    await admin.replicaof("NO", "ONE")
                    await stream.flush()
                assert await text_in_log(admin, "s") == "12"


async def test_a_long_reply_that_keeps_arriving_is_no_silence(
    redis: Redis, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes much longer than the server may be silent, on the connection that it was asked for on."""
    monkeypatch.setattr(_links, "REPLY_TIMEOUT", 0.4)
    await StreamProducer(redis).run("s", ScriptedSource([StreamEvent("text", "x" * 250_000)]))
    async with faulty(valkey_url) as (proxy, client), StreamConsumer(client) as consumer:
        await consumer.status("s")
        proxy.to_client.bandwidth = 300_000
        events = await read_all(consumer, "s")
        assert proxy.accepted == 2
    assert ended_as(events) is Status.COMPLETED
    assert len(text_of(events)) == 250_000


async def test_a_subscription_that_is_refused_is_asked_for_more_and_more_rarely(
    redis: Redis, valkey_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With one line in the log for people, which does not repeat what Redis said."""
    attempts: list[int] = []

    def soon(attempt: int) -> float:
        attempts.append(attempt)
        return 0.005

    monkeypatch.setattr(_links, "backoff", soon)
    monkeypatch.setattr(_fanout, "ATTACH_TIMEOUT", 0.2)  # half of it goes by before a feed reads without a channel
    await StreamProducer(redis).run("s", ScriptedSource(["a"]))
    await redis.acl_setuser(
        "unheard", enabled=True, passwords=["+secret"], categories=["+@all"], keys=["*"], reset_channels=True
    )
    try:
        async with (
            faulty(valkey_url, username="unheard", password="secret") as (_, client),
            StreamConsumer(client) as consumer,
        ):
            assert text_of(await read_all(consumer, "s")) == "a"
            await wait_until(lambda: len(attempts) >= 5)
    finally:
        await redis.acl_deluser("unheard")
    assert attempts[:5] == [1, 2, 3, 4, 5]
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1
    assert "refuses sharded subscriptions" in caplog.text
    assert "NOPERM" not in caplog.text
    assert "secret" not in caplog.text
