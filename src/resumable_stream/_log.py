"""The log: the only room that speaks Redis. One stream is one Redis Stream and one small hash.

Ids are explicit, ``<generation>-<sequence>``, so what is missing shows by arithmetic, a repeated append is refused as
a duplicate, and an older claim cannot write after a newer one. `_scripts` holds what must be atomic.
"""

from __future__ import annotations

import json
import secrets
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal, Self

import anyio
from redis.asyncio import Redis, RedisCluster

from . import _scripts
from ._buffer import Entry
from ._cluster import Cluster
from ._counts import Counts
from ._encoding import AppendEncoder, MessageParser, by_name, grouped
from ._entries import Entries
from ._errors import LogUnavailable, StreamExists, StreamNotFound
from ._events import EventID, Status, StreamEvent, unpack
from ._links import CommandLink, Listener, Subscriber
from ._names import Names
from ._replicas import Unconfirmed
from ._scripts import Script
from ._slots import SlotMap
from ._wire import Receiver, ServerError, bulk, pack

QUICK: Final = 0.5
"""Seconds within which a failed call is worth an immediate repetition."""

GRACE: Final = 1.5
"""Seconds between finding a lease run out and burying the stream."""

SWEEP: Final = 5.0
"""Seconds after which a stream that is followed is looked at though nothing was said about it."""

RETENTION: Final = 900.0
"""Seconds that a stream stays after its end, unless its producer says otherwise."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a producer got: the generation that it writes under, and the sequence of the last event before it."""

    generation: int
    head: int
    stop: bool


@dataclass(frozen=True, slots=True)
class Appended:
    """How an append went.

    Attributes:
        outcome: ``behind`` when the log has lost events that came before; nothing was written then.
        stop: whether somebody asked the stream to stop.
        head: with ``behind``, the sequence of the last event that the log has.
    """

    outcome: Literal["ok", "fenced", "lost", "behind"]
    stop: bool = False
    head: int = 0


@dataclass(frozen=True, slots=True)
class Peek:
    """A stream at one moment.

    Attributes:
        generation: of the newest claim; 0 when the state is gone.
        starts: for each generation the sequence number before its first event, oldest first.
        lease_left: seconds; 0 when it has run out, ``None`` when there is no state to say.
        exists: whether the log is there (it can have been evicted alone).
        last: the last event's id; ``None`` when the log is empty.
        end: the terminal event, when there is one.
        stop: whether somebody asked the stream to stop.
        abandoned: whether it has no producer: the lease ran out a while ago, was given back, or was never taken.
    """

    generation: int
    starts: tuple[tuple[int, int], ...]
    lease_left: float | None
    exists: bool
    last: EventID | None
    end: StreamEvent | None
    stop: bool
    abandoned: bool = False

    @property
    def origin(self) -> int:
        """The generation that made this log; 0 when the state is gone. Another one means another stream."""
        return self.starts[0][0] if self.starts else 0

    def places(self, cursor: EventID) -> bool | None:
        """Whether the cursor is an event of this stream, trimmed or not; ``None`` when that cannot be told."""
        if self.last is None or cursor > self.last:
            return False
        if cursor.sequence >= self.last.sequence and cursor != self.last:
            return False  # numbers grow with ids: what was here has gone, and the numbering went on before it
        if not self.starts:
            return None
        ends = [start for _, start in self.starts[1:]] + [self.last.sequence]
        for (generation, start), end in zip(self.starts, ends, strict=True):
            if generation == cursor.generation:
                return start < cursor.sequence <= end
        return False


def _milliseconds(seconds: float) -> bytes:
    return b"%d" % round(seconds * 1000)


class Log:
    """Streams in one Redis. Its connections live while somebody is inside ``async with``; entering nests.

    Attributes:
        messages: reads what a subscription hears.
        counts: what was done.
    """

    def __init__(self, redis: Redis | RedisCluster) -> None:
        if not isinstance(redis, Redis | RedisCluster):
            raise TypeError("expected a redis.asyncio.Redis or RedisCluster client")
        self._redis = redis
        if isinstance(redis, RedisCluster):
            self._slots = SlotMap(redis.nodes_manager.remap_host_port)
        self.messages = MessageParser()
        self.counts = Counts(owner=weakref.ref(self))
        self._users = 0
        self._cluster: Cluster | None = None
        self._link: CommandLink
        self._subscriber: Subscriber | Cluster

    async def __aenter__(self) -> Self:
        if self._users == 0:
            if isinstance(self._redis, RedisCluster):
                self._cluster = self._subscriber = Cluster(self._redis, self._slots, self.counts)
            else:
                self._subscriber = subscriber = Subscriber(self._redis, self.counts)
                self._link = CommandLink(self._redis, subscriber)
        self._users += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._users -= 1
        if self._users == 0:
            cluster, subscriber = self._cluster, self._subscriber
            link = self._link if cluster is None else None
            with anyio.CancelScope(shield=True):
                await subscriber.aclose()
                if link is not None:
                    await link.aclose()

    def open(self) -> None:
        """Begin to connect, for whoever comes first. In a cluster that waits until it is known where to."""
        if isinstance(self._subscriber, Subscriber):
            self._link.open()
            self._subscriber.open()

    def subscribe(self, channel: bytes, listener: Listener) -> Callable[[], None]:
        """Listen to a channel until the function that is returned is called."""
        subscriber = self._subscriber
        subscriber.subscribe(channel, listener)
        return lambda: subscriber.unsubscribe(channel, listener)

    async def claim(
        self,
        names: Names,
        *,
        stream_id: str,
        lease: float,
        retention: float,
        takeover: float = 0.0,
        existing: bool | None = None,
    ) -> Claim:
        """Take a stream: a new one, or one whose producer's lease ran out without an end.

        A reply that is lost is asked for again; the token keeps the repetition from meeting its own claim. Without a
        lease the stream waits for somebody else's claim. ``existing`` says whether it must be there, or must not.

        Raises:
            StreamExists: its producer is alive, or it has ended; with ``existing=False``, when it is there at all.
            StreamNotFound: with ``existing``, when it is not there.
            LogUnavailable: nothing is known; a claim that did go through runs out with its lease.
        """
        token = secrets.token_hex(8).encode()
        times = _milliseconds(lease), _milliseconds(retention), token, _milliseconds(takeover)
        which = {None: b"0", True: b"1", False: b"2"}[existing]
        reply = await self._run(_scripts.CLAIM, names, names.channel, *times, which)
        if reply[0] == b"live":
            raise StreamExists(stream_id, "the stream has a producer")
        if reply[0] == b"ended":
            raise StreamExists(stream_id, "the stream has ended")
        if reply[0] == b"missing":
            raise StreamNotFound(stream_id, "there is no such stream")
        return Claim(int(reply[1]), int(reply[2]), bool(reply[3]))

    async def append(
        self,
        names: Names,
        first: EventID,
        entries: Sequence[Entry],
        *,
        max_events: int = 0,
        renew: bool = False,
        mend: bool = False,
        end: bool = False,
        replicas: int = 0,
    ) -> Appended:
        """Write entries with dense ids from ``first`` and tell the readers, in one step; repeating it is harmless.

        With no entries it only renews the lease. ``mend`` takes a log as it is that has lost what was before ``first``.
        ``end`` says that the last entry is the terminal event. With ``replicas``, so many must have the entries before
        this returns. (A repetition, perhaps on another connection, has something to wait for: what it publishes again.)

        Raises:
            LogUnavailable: the outcome is unknown, or Redis refused for now; the same call may be made again.
            Unconfirmed: it is there, but fewer replicas have it.
        """
        mode = 2 if mend else int(renew)
        encoder = AppendEncoder(names, first.generation, max_events)
        count, arguments = encoder.arguments(first.sequence, entries, mode=mode, end=end)
        reply = await self._evaluate(_scripts.APPEND, names, [names.channel], count, arguments, replicas)
        outcome = reply[0].decode()
        if outcome == "behind":
            return Appended(outcome, head=int(reply[1]))
        return Appended(outcome, stop=bool(reply[1]) if outcome == "ok" else False)

    def launch(
        self,
        receiver: Receiver,
        names: Names,
        encoder: AppendEncoder,
        first: int,
        entries: Sequence[Entry],
        *,
        renew: bool = False,
        end: bool = False,
    ) -> bool:
        """`append` without waiting, for an append that will most likely succeed. The reply is for `launched`.

        Returns:
            Whether it was sent; ``False`` when there is no connection now.
        """
        link = self._link if self._cluster is None else self._cluster.link(names.slot)
        if link is None or not link.connected:
            return False
        count, arguments = encoder.arguments(first, entries, mode=renew, end=end)
        return link.launch(by_name(_scripts.APPEND, count, arguments), receiver)

    @staticmethod
    def launched(reply: Any) -> bool | None:
        """Whether the stream is asked to stop; ``None`` when only `append` can tell how it went, or do it."""
        return bool(reply[1]) if isinstance(reply, list) and reply[0] == b"ok" else None

    async def read(self, names: Names, *, after: EventID | None, count: int) -> list[Entries]:
        """The next events after a cursor, at most ``count``; from the first event there is when it is ``None``.

        Raises:
            LogUnavailable: Redis cannot be reached.
            ValueError: what is there was not written by this library.
        """
        start = b"-" if after is None else b"(" + str(after).encode()
        reply = await self._call(names, pack(b"XRANGE", names.log, start, b"+", b"COUNT", b"%d" % count))
        page = grouped(reply)
        self.counts.reads += 1
        self.counts.events_read += sum(map(len, page))
        return page

    async def holds(self, names: Names, event_id: EventID) -> bool:
        """Whether the log has the very entry."""
        text = str(event_id).encode()
        return bool(await self._call(names, pack(b"XRANGE", names.log, text, text, b"COUNT", b"1")))

    async def peek(self, names: Names) -> Peek | None:
        """The stream as it is now, in one step; ``None`` when there is nothing of it."""
        reply = await self._run(_scripts.PEEK, names)
        if reply is None:
            return None
        generation, starts, left, exists, last_id, field, value, stop, abandoned = reply
        last = EventID.parse(last_id)
        known = last if last.sequence > 0 else None
        return Peek(
            generation=int(generation or 0),
            starts=_parse_starts(starts),
            lease_left=None if left == b"-1" else int(left) / 1000,
            exists=exists == b"1",
            last=known,
            end=unpack(field, value, last) if field == b"end/json" else None,
            stop=bool(stop),
            abandoned=abandoned == 1,
        )

    async def bury(self, names: Names, status: Status = Status.LOST, *, at_once: bool = False) -> float | None:
        """End a stream without its producer, when its lease has run out and has still `GRACE` seconds later.

        One that may be taken over waits for that, unless ``at_once``.

        Returns:
            Seconds after which to ask again; ``None`` when the stream has an end, or no log.
        """
        terminal = json.dumps({"status": status.value}, separators=(",", ":")).encode()
        reply = await self._run(
            _scripts.BURY,
            names,
            names.channel,
            _milliseconds(GRACE),
            _milliseconds(RETENTION),
            terminal,
            b"%d" % at_once,
        )
        self.counts.buried += status is Status.LOST and reply[0] == b"buried"
        return int(reply[1]) / 1000 if reply[0] == b"live" else None

    async def release(self, names: Names, generation: int) -> None:
        """Let a stream go without an end; nothing happens where it has changed hands already."""
        await self._run(_scripts.RELEASE, names, names.channel, b"%d" % generation)

    async def cancel(self, names: Names) -> bool:
        """Ask the producer to stop, durably. Returns whether there was something to stop."""
        asked = bool(await self._run(_scripts.CANCEL, names, names.control) == b"asked")
        self.counts.stops += asked
        return asked

    async def delete(self, names: Names) -> bool:
        """Remove a stream; its producer and readers are told. Returns whether there was one."""
        return bool(await self._run(_scripts.DELETE, names, names.channel, names.control))

    async def _run(self, script: Script, names: Names, *args: bytes) -> Any:
        parts = [names.log, names.state, *args]
        channels = [arg for arg in args if arg in (names.channel, names.control)]
        return await self._evaluate(script, names, channels, len(parts), b"".join([bulk(part) for part in parts]))

    async def _evaluate(
        self, script: Script, names: Names, channels: list[bytes], count: int, arguments: bytes, replicas: int = 0
    ) -> Any:
        if self._cluster is not None:
            return _checked(await self._cluster.evaluate(script, names.slot, count, arguments, channels, replicas))
        reply = await self._send(by_name(script, count, arguments), replicas)
        if isinstance(reply, ServerError) and str(reply).startswith("NOSCRIPT"):
            head = b"*%d\r\n$4\r\nEVAL\r\n" % (count + 3) + bulk(script.source)
            reply = await self._send(b"%b$1\r\n2\r\n%b" % (head, arguments), replicas)
        return _checked(reply)

    async def _call(self, names: Names, command: bytes) -> Any:
        if self._cluster is not None:
            return _checked(await self._cluster.call(names.slot, command))
        return _checked(await self._send(command))

    async def _send(self, command: bytes, replicas: int = 0) -> Any:
        """Call, and once more when a connection that looked alive was not. Every command here may be repeated."""
        started = time.monotonic()
        try:
            return await self._link.call(command, replicas)
        except LogUnavailable as exc:
            if isinstance(exc, Unconfirmed) or time.monotonic() - started > QUICK:
                raise
        return await self._link.call(command, replicas)


def _checked(reply: Any) -> Any:
    """The reply, unless it is an error: what passes by itself and what does not are one error to callers."""
    if isinstance(reply, ServerError):
        hint = ": it is a node of a cluster, pass a RedisCluster client" if str(reply).startswith("MOVED") else ""
        raise LogUnavailable(f"Redis refused a command{hint}") from reply
    return reply


def _parse_starts(text: bytes) -> tuple[tuple[int, int], ...]:
    pairs = (part.split(b":") for part in text.split(b";") if part)
    return tuple((int(generation), int(start)) for generation, start in pairs)
