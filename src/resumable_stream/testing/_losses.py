"""Which Redis commands lose their request or their reply on the way."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque

from ._conditions import Direction
from ._resp import Head, HeadFinder


class Loss:
    """One rule of the proxy: when it strikes, and how often it did.

    Attributes:
        keep: how many bytes of what is lost still pass.
        struck: how often it has struck.
    """

    def __init__(self, command: str, argument: str | None, direction: Direction, *, keep: int = 0) -> None:
        self._command = command.upper()
        self._argument = None if argument is None else argument.encode()
        self._direction = direction
        self.keep = keep
        self._nth: int | None = None
        self._odds = 0.0
        self._rng: random.Random | None = None
        self._happened = asyncio.Event()
        self._active = True
        self.struck = 0

    @classmethod
    def once(cls, command: str, argument: str | None, direction: Direction, *, nth: int, keep: int) -> Loss:
        """Make a rule that strikes the ``nth`` such command from now, then never again."""
        loss = cls(command, argument, direction, keep=keep)
        loss._nth = nth
        return loss

    @classmethod
    def often(
        cls,
        command: str,
        argument: str | None,
        direction: Direction,
        *,
        odds: float,
        rng: random.Random,
    ) -> Loss:
        """Make a rule that strikes each such command with the given odds."""
        loss = cls(command, argument, direction)
        loss._odds, loss._rng = odds, rng
        return loss

    def stop(self) -> None:
        """Strike no more."""
        self._active = False

    async def wait(self) -> None:
        """Wait until it has struck."""
        await self._happened.wait()

    def strikes(self, command: Head, direction: Direction) -> bool:
        """Decide about one command on its way, or about its reply."""
        if (
            not self._active
            or direction != self._direction
            or command.name != self._command
            or (self._argument is not None and command.argument != self._argument)
        ):
            return False
        if self._nth is not None:
            self._nth -= 1
            if self._nth > 0:
                return False
            self._active = False
        elif self._rng is None or self._rng.random() >= self._odds:
            return False
        self.struck += 1
        self._happened.set()
        return True


class Tracker:
    """Follows the commands and replies of one connection; blind where it is not a Redis connection.

    It matches replies with commands by their order, so it stops looking at a connection that
    subscribes in the old protocol (RESP2), where messages and replies cannot be told apart.
    """

    def __init__(self, losses: list[Loss], commands: Counter[str]) -> None:
        self._losses = losses
        self._counts = commands
        self._waiting: deque[Head] = deque()
        self._finders: dict[Direction, HeadFinder] = {
            "to_server": HeadFinder(commands=True),
            "to_client": HeadFinder(commands=False),
        }
        self._passed: dict[Direction, int] = {"to_server": 0, "to_client": 0}
        self._pushes = False
        self._blind = False

    def stop(self) -> None:
        """Look no more: bytes were lost, so that commands and replies no longer match."""
        self._blind = True

    def cut_in(self, data: bytes, direction: Direction) -> int | None:
        """Return how many bytes of ``data`` pass before a rule cuts; ``None`` when all do."""
        if self._blind:
            return None
        before = self._passed[direction]
        self._passed[direction] += len(data)
        try:
            heads = self._finders[direction].feed(data)
        except ValueError:
            self.stop()
            return None
        for head in heads:
            cut = self._meet(head, direction)
            if cut is not None:
                return max(0, cut - before)
        return None

    def _meet(self, head: Head, direction: Direction) -> int | None:
        if direction == "to_server":
            command = head
            self._note(command)
        elif head.kind == b">" or not self._waiting:
            return None
        else:
            command = self._waiting.popleft()
        for loss in self._losses:
            if loss.strikes(command, direction):
                return head.start + loss.keep
        return None

    def _note(self, command: Head) -> None:
        self._counts[command.name] += 1
        if command.name == "HELLO":
            self._pushes = command.argument == b"3"
        if not command.name.endswith("SUBSCRIBE"):
            self._waiting.append(command)
        elif not self._pushes:
            self.stop()
