"""What becomes of the embedded servers when the process, thread or task that started them ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from redis import Redis

from resumable_stream.embedded import EmbeddedPostgres, EmbeddedValkey
from support import alive, processes_naming, wait_until_sync

PARENT = """
import sys, time
from resumable_stream.embedded import EmbeddedPostgres, EmbeddedValkey

valkey, postgres = EmbeddedValkey(sys.argv[1] + "/valkey"), EmbeddedPostgres(sys.argv[1] + "/pg")
valkey.start()
postgres.start()
print(valkey.pid, postgres.pid, flush=True)
time.sleep(600)
"""


@contextmanager
def parent(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """A process with both servers as its children."""
    command = [sys.executable, "-c", PARENT, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            valkey, postgres = process.stdout.readline().split()
            yield process, int(valkey), int(postgres)
        finally:
            process.kill()


def test_servers_end_with_a_parent_that_was_killed_and_start_again_at_once(open_folder: Path) -> None:
    with parent(open_folder) as (process, valkey, postgres):
        process.send_signal(signal.SIGKILL)
    with EmbeddedPostgres(open_folder / "pg") as server, EmbeddedValkey(open_folder / "valkey"):
        psycopg.connect(server.dsn).close()
        assert not alive(valkey)
        assert not alive(postgres)
    wait_until_sync(lambda: not processes_naming(str(open_folder)), what="nothing is left")


def test_servers_do_not_see_the_ctrl_c_of_a_terminal(open_folder: Path) -> None:
    with parent(open_folder) as (process, valkey, postgres):
        own = os.getpgid(process.pid)
        assert own not in (os.getpgid(valkey), os.getpgid(postgres))


def test_a_server_outlives_the_thread_that_started_it() -> None:
    server = EmbeddedValkey()
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    try:
        with Redis.from_url(server.url) as redis:
            assert redis.ping()
    finally:
        server.close()


async def test_a_start_that_is_cancelled_leaves_nothing() -> None:
    server = EmbeddedPostgres(durable=False)

    async def use() -> None:
        async with server:
            raise AssertionError("it was cancelled before")

    task = asyncio.create_task(use())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not server.running
    assert processes_naming(str(server.data_dir)) == []
    assert not server.data_dir.exists()
