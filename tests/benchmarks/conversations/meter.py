"""What the processes, Redis and PostgreSQL take, looked at again and again."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, NoReturn

import psutil  # type: ignore[import-untyped]  # it has no types of its own
import psycopg
from redis.asyncio import Redis

from benchmarks.conversations.stack import Stack

_MB = 1024 * 1024


@dataclass(slots=True)
class Process:
    """One process: its samples, as seconds since the beginning, and megabytes; its processor time since the first look.

    ``child``: of a server that the test has started.
    """

    name: str
    child: bool
    before: float
    samples: list[tuple[float, float]] = field(default_factory=list)
    cpu: float = 0.0


@dataclass(frozen=True, slots=True)
class Storage:
    """One look at Redis and PostgreSQL."""

    after: float
    redis_mb: float
    redis_keys: int
    redis_clients: int
    postgres_connections: int


class Meter:
    """Looks at everything that the stack has started.

    Attributes:
        processes: by pid.
        storage: the looks at the servers.
        busy: the share of all cores that anything on this machine has used, look by look.
    """

    def __init__(self, stack: Stack, extra: dict[int, str]) -> None:
        self._stack = stack
        self._extra = extra
        self._start = time.monotonic()
        self._handles: dict[int, Any] = {}
        self.processes: dict[int, Process] = {}
        self.storage: list[Storage] = []
        self.busy: list[float] = []

    async def work(self, interval: float) -> NoReturn:
        """Look until cancelled."""
        psutil.cpu_percent()
        async with (
            Redis.from_url(self._stack.valkey.url) as redis,
            await psycopg.AsyncConnection.connect(self._stack.postgres.dsn, autocommit=True) as database,
        ):
            while True:
                await self.look(redis, database)
                await asyncio.sleep(interval)

    async def look(self, redis: Redis, database: psycopg.AsyncConnection[Any]) -> None:
        """Look once."""
        after = time.monotonic() - self._start
        self.busy.append(psutil.cpu_percent())
        for pid, name in {**self._stack.pids, **self._extra}.items():
            self._sample(pid, name, after)
        for child in psutil.Process(self._stack.postgres.pid).children():
            self._sample(child.pid, "PostgreSQL", after, child=True)
        info = await redis.info()
        cursor = await database.execute("SELECT count(*) FROM pg_stat_activity WHERE datname IS NOT NULL")
        row = await cursor.fetchone()
        keys = int(info.get("db0", {}).get("keys", 0))
        self.storage.append(
            Storage(after, info["used_memory"] / _MB, keys, info["connected_clients"], 0 if row is None else row[0])
        )

    def _sample(self, pid: int, name: str, after: float, *, child: bool = False) -> None:
        try:
            handle = self._handles.setdefault(pid, psutil.Process(pid))
            times, rss = handle.cpu_times(), handle.memory_info().rss / _MB
        except psutil.NoSuchProcess:
            return
        cpu = times.user + times.system
        process = self.processes.setdefault(pid, Process(name, child, 0.0 if self.storage else cpu))
        process.cpu = cpu - process.before
        process.samples.append((after, rss))

    def cpu_by_name(self) -> dict[str, float]:
        """Seconds of processor time of each place, all processes that filled it together."""
        sums: defaultdict[str, float] = defaultdict(float)
        for process in self.processes.values():
            sums[process.name] += process.cpu
        return dict(sums)


def slope(samples: list[tuple[float, float]]) -> float:
    """Growth in megabytes a minute: the straight line through the samples."""
    if len(samples) < 3:
        return 0.0
    mean_x = sum(x for x, _ in samples) / len(samples)
    mean_y = sum(y for _, y in samples) / len(samples)
    spread = sum((x - mean_x) ** 2 for x, _ in samples)
    return 60 * sum((x - mean_x) * (y - mean_y) for x, y in samples) / spread if spread else 0.0
