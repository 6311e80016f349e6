"""A viewer: follows a run by the rules of EventSource, and drops what a broken-off attempt had not finished."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain, repeat

from benchmarks.conversations.exchange import Exchange
from core.sse_parser import Message, SSEParser

_RETRY = 3.0
"""What browsers wait where the server has not said anything."""
_WITHOUT_ID = {"cancelled", "lost", "error", "gap", "reset"}
"""Words that a parser gives the id of the event before, for they have none."""


class Servers:
    """The addresses that a load balancer would choose from."""

    def __init__(self, ports: list[int], chance: random.Random) -> None:
        self._ports = ports
        self._chance = chance

    def pick(self) -> int:
        return self._chance.choice(self._ports)


class Viewer:
    """Follows one answer to its end, over as many connections as that takes.

    Args:
        target: the stream's address.
        drops: after how many events its connections are cut, one after the other.
        counts: what happens is counted there, with other viewers'.

    Attributes:
        events: how many have come.
        words: of the ``system`` events, how often each.
        disorder: events whose ids were not above the one before.
        first: when the first text came.
        empty: the server had nothing to send, or nothing any more.
    """

    def __init__(self, target: str, servers: Servers, counts: Counter[str], drops: tuple[int, ...] = ()) -> None:
        self._target = target
        self._servers = servers
        self._counts = counts
        self._drops: Iterator[int | None] = chain(drops, repeat(None))
        self._until_drop: int | None = None
        self._cursor = ""
        self._place = (0, 0)
        self._retry = _RETRY
        self._parser = SSEParser()
        self._kept: list[str] = []
        self._begun: list[str] = []
        self._told: list[tuple[int, Callable[[], object]]] = []
        self.events = 0
        self.words: Counter[str] = Counter()
        self.disorder: list[str] = []
        self.first: float | None = None
        self.empty = False

    @property
    def text(self) -> str:
        """What the viewer shows."""
        return "".join(self._kept + self._begun)

    @property
    def ended(self) -> bool:
        """Whether the server said that this was all."""
        return self.words["end"] > 0

    def after(self, events: int, do: Callable[[], object]) -> None:
        """Do something once so many events have come."""
        self._told.append((events, do))

    async def follow(self) -> None:
        """Follow to the end. Cancelling it is closing the tab."""
        while not self.ended and not self.empty:  # noqa: ASYNC110 - what is slept is told by the server
            await asyncio.sleep(await self._connect())

    async def _connect(self) -> float:
        """One connection. Returns the seconds to wait before the next."""
        headers = {"Last-Event-ID": self._cursor} if self._cursor else {}
        self._parser = SSEParser()
        self._until_drop = next(self._drops)
        self._counts["connections"] += 1
        try:
            exchange = await Exchange.begin(self._servers.pick(), "GET", self._target, self._take, headers=headers)
        except OSError:
            self._counts["streams refused"] += 1
            return self._wait()
        try:
            if exchange.status == 204:
                self.empty = True
                return 0.0
            if exchange.status != 200:
                self._counts[f"stream {exchange.status}"] += 1
                return self._wait()
            self._counts["open"] += 1
            self._counts["most open"] = max(self._counts["most open"], self._counts["open"])
            try:
                whole = await exchange.end
            finally:
                self._counts["open"] -= 1
        finally:
            exchange.cut()
        if self.ended:
            return 0.0
        self._counts["streams ended early" if whole else "streams cut"] += 1
        return self._wait() if self._until_drop != 0 else 0.0

    def _wait(self) -> float:
        if self._parser.retry is not None:
            self._retry = self._parser.retry / 1000
        return self._retry

    def _take(self, exchange: Exchange, data: bytes) -> None:
        if exchange.status != 200:
            return
        for message in self._parser.feed(data):
            if self._until_drop == 0:
                return  # the line is cut: what is still on it does not arrive
            self._on_event(message)
            if self._until_drop is not None:
                self._until_drop -= 1
                if self._until_drop == 0:
                    self._counts["dropped by viewers"] += 1
                    exchange.cut()

    def _on_event(self, message: Message) -> None:
        self.events += 1
        self._counts["events"] += 1
        if message.last_event_id:
            generation, _, sequence = message.last_event_id.partition("-")
            place = (int(generation), int(sequence))
            known = place == self._place and message.type == "system" and message.data in _WITHOUT_ID
            if place <= self._place and not known:
                self.disorder.append(f"{message.last_event_id} {message.data!r} after {self._cursor}")
            self._place, self._cursor = place, message.last_event_id
        if message.type == "chunk":
            self._counts["tokens"] += 1
            if self.first is None:
                self.first = time.monotonic()
            self._begun.append(message.data)
        elif message.type == "system":
            self._on_word(message.data)
        for one in [one for one in self._told if one[0] <= self.events]:
            self._told.remove(one)
            one[1]()

    def _on_word(self, word: str) -> None:
        self.words[word] += 1
        if word == "message_ended":
            self._kept += self._begun
            self._begun = []
        elif word == "message_restarted":
            self._begun = []
        elif word == "reset":
            self._kept, self._begun, self._place = [], [], (0, 0)
