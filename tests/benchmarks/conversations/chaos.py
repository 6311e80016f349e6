"""Kills processes at moments that a seed decides; of each kind, one always lives, but for the workers once."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle

from benchmarks.conversations.stack import Member, Role, Stack

_LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Blow:
    """One process that was ended. ``after``: seconds since the beginning."""

    after: float
    name: str
    signal: str


async def rage(stack: Stack, *, seed: int, count: int, begin: float, seconds: float, both: bool) -> list[Blow]:
    """End so many processes, spread over the time, and wait until all places are filled again.

    Args:
        begin: seconds before the first.
        seconds: until the last.
        both: in the middle both workers are killed at once; they count as two.
    """
    chance = random.Random(seed)
    start = time.monotonic()
    moments = sorted(chance.uniform(begin, seconds) for _ in range(count - both))
    done: list[Blow] = []
    async with asyncio.TaskGroup() as replacing:

        def hit(member: Member, end: signal.Signals) -> None:
            done.append(Blow(time.monotonic() - start, member.name, end.name))
            member.ready = False
            replacing.create_task(stack.replace(member, end))

        turns: Iterator[Role] = cycle(("web", "worker"))
        for number, moment in enumerate(moments):
            await asyncio.sleep(max(0.0, start + moment - time.monotonic()))
            if both and number == len(moments) // 2:
                for member in await _pair(stack, "worker"):
                    hit(member, signal.SIGKILL)
                continue
            victim = chance.choice(await _pair(stack, next(turns)))
            hit(victim, chance.choice([signal.SIGKILL, signal.SIGTERM]))
    return done


async def _pair(stack: Stack, role: Role) -> list[Member]:
    """Wait until both processes of a kind work."""
    members = [member for member in stack.members if member.role == role]
    while not all(member.ready for member in members):  # noqa: ASYNC110 - they become ready in several ways
        await asyncio.sleep(_LOOK_SECONDS)
    return members
