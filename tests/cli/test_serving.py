"""The parts that both commands are made of: addresses, folders, an app that does not start."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.types import ASGIApp

from resumable_stream.cli._data_dir import default_data_dir
from resumable_stream.cli._errors import CommandError
from resumable_stream.cli._serving import address_of, listening, serve_until_stopped
from resumable_stream.cli._stopping import StopWish


@asynccontextmanager
async def broken(app: Starlette) -> AsyncIterator[None]:
    raise RuntimeError("no")
    yield


@asynccontextmanager
async def open_broken_app() -> AsyncIterator[ASGIApp]:
    yield Starlette(lifespan=broken)


@asynccontextmanager
async def open_app() -> AsyncIterator[ASGIApp]:
    yield Starlette()


def test_an_app_whose_lifespan_fails_is_told() -> None:
    with (
        listening("127.0.0.1", 0) as listener,
        pytest.raises(CommandError, match="did not start"),
    ):
        serve_until_stopped(open_broken_app, listener=listener, wish=StopWish(), on_started=lambda: None, quiet=True)


def test_nothing_is_served_when_the_end_was_wished_before() -> None:
    wish = StopWish()
    wish.request()
    started: list[bool] = []
    with listening("127.0.0.1", 0) as listener:
        serve_until_stopped(open_app, listener=listener, wish=wish, on_started=lambda: started.append(True), quiet=True)
    assert started == []


def test_a_wish_at_the_moment_of_the_start_ends_it_at_once() -> None:
    wish = StopWish()
    with listening("127.0.0.1", 0) as listener:
        serve_until_stopped(open_app, listener=listener, wish=wish, on_started=wish.request, quiet=True)
    assert wish.requested


def test_the_end_is_told_before_it_is_waited_for() -> None:
    wish = StopWish()
    told: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        told.append("runs have ended")

    @asynccontextmanager
    async def open_slow_app() -> AsyncIterator[ASGIApp]:
        yield Starlette(lifespan=lifespan)

    with listening("127.0.0.1", 0) as listener:
        serve_until_stopped(
            open_slow_app,
            listener=listener,
            wish=wish,
            on_started=wish.request,
            on_stopping=lambda: told.append("stopping"),
            quiet=True,
        )
    assert told == ["stopping", "runs have ended"]


def test_a_token_is_not_held_back_until_the_one_before_has_been_acknowledged() -> None:
    """Nagle's algorithm: on a connection that is used again it costs the first token 40 ms, and each a round trip."""
    with listening("127.0.0.1", 0) as listener:
        client = socket.create_connection(listener.getsockname())
        connection, _ = listener.accept()
        with client, connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_address_for_every_interface_is_told_as_this_machine() -> None:
    with listening("0.0.0.0", 0) as listener:
        port = listener.getsockname()[1]
        assert address_of(listener) == f"http://127.0.0.1:{port}"


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_an_ipv6_address_stands_in_brackets() -> None:
    for host in ("::1", "::"):
        with listening(host, 0) as listener:
            port = listener.getsockname()[1]
            assert address_of(listener) == f"http://[::1]:{port}"


def test_conversations_are_kept_where_the_platform_keeps_such_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert default_data_dir() == Path("/home/someone/.local/share/resumable-stream-demo")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert default_data_dir() == Path("/data/resumable-stream-demo")
    monkeypatch.setenv("XDG_DATA_HOME", "relative/paths/do/not/count")
    assert default_data_dir() == Path("/home/someone/.local/share/resumable-stream-demo")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert default_data_dir() == Path("/home/someone/Library/Application Support/resumable-stream-demo")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_data_dir() == Path("/var/lib/resumable-stream-demo")
