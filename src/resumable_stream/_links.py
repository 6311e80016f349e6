"""Connections to Redis of our own, made from a borrowed client's settings: what is said on them, and when they end.

* `CommandLink`: any number of callers on one connection. What they write goes out in order; replies come back
  in order. It fails all that is under way when the connection is lost, and dials again on the next call.
* `Subscriber`: any number of sharded channels on one connection; it reconnects by itself for as long as it lives.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

import anyio
from redis.asyncio import Redis

from ._counts import Counts
from ._errors import LogUnavailable
from ._eviction import look
from ._outbox import Outbox
from ._primary import is_replica, moved
from ._replicas import Replicas, Unconfirmed
from ._wire import Receiver, ServerError, Wire, dial, pack

logger: Final = logging.getLogger("resumable_stream")

REPLY_TIMEOUT: Final = 5.0
CHECK_INTERVAL: Final = 2.0
"""Seconds between two questions to a server, whether it is there and still the primary."""
SENTINEL_INTERVAL: Final = 5.0
"""Seconds between two questions to Sentinel, whether it names another primary."""
_ALONE: Final = "NOREPLICAS"
_ELSEWHERE: Final = ("READONLY", "LOADING", "MASTERDOWN", _ALONE)
_ASKING: Final = pack(b"ASKING")


def backoff(attempt: int) -> float:
    """Seconds to wait before the attempt after this one (from 0): 25 ms doubling to 0.8 s, with jitter downwards."""
    return min(0.8, 0.025 * 2.0 ** min(attempt, 10)) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing


def _ignore(future: asyncio.Future[Any]) -> None:
    """Look at an outcome that nobody needs, so that it is not reported as forgotten."""
    if not future.cancelled():
        future.exception()


async def _watch(redis: Redis, wire: Wire, ask: Callable[[], asyncio.Future[Any]], leave: Callable[[], object]) -> None:
    """Leave a server that falls silent, is a replica by now, or is not who Sentinel names any more."""
    loop = asyncio.get_running_loop()
    ask_sentinel = loop.time() + SENTINEL_INTERVAL
    while True:
        await asyncio.sleep(CHECK_INTERVAL)
        asked, answer = loop.time(), ask()
        answer.add_done_callback(_ignore)
        while not answer.done() and (left := max(asked, wire.heard) + REPLY_TIMEOUT - loop.time()) > 0:
            await asyncio.wait([answer], timeout=left)
        if not answer.done() or is_replica(answer.result()):
            break
        if loop.time() >= ask_sentinel:
            if await moved(redis, wire.address):
                break
            ask_sentinel = loop.time() + SENTINEL_INTERVAL
    leave()


class CommandLink:
    """One connection on which many callers pipeline their commands. Its companion listens to the same server."""

    def __init__(self, redis: Redis, companion: Subscriber) -> None:
        self._redis = redis
        self._companion = companion
        self._wire: Wire | None = None
        self._outbox: Outbox
        self._replicas: Replicas
        self._dialling: asyncio.Task[None] | None = None
        self._dialled = 0.0
        self._waiting: deque[tuple[Receiver, float]] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._closed = False

    async def call(self, command: bytes, replicas: int = 0) -> Any:
        """Send one packed command and return its reply; an error reply is returned as a `ServerError`.

        Cancelling the caller does not take the command back. With ``replicas``, so many must have what it wrote, when
        its reply is a list that begins with ``ok``.

        Raises:
            LogUnavailable: the connection could not be made, or was lost before the reply came, or the server
                was silent for `REPLY_TIMEOUT` seconds. The command may have been executed.
            Unconfirmed: it was executed, but fewer replicas have it.
        """
        while self._wire is None:
            await self._connected()
        return await self._send(command) if not replicas else await self._written(command, replicas)

    async def call_asking(self, command: bytes, replicas: int = 0) -> Any:
        """`call`, behind an ``ASKING``: a cluster's server takes the command for a slot that is being moved to it."""
        while self._wire is None:
            await self._connected()
        self._send(_ASKING).add_done_callback(_ignore)  # nothing may come between the two
        return await self._send(command) if not replicas else await self._written(command, replicas)

    async def _written(self, command: bytes, replicas: int) -> Any:
        answer, confirmed = self._send(command), self._replicas.have(replicas)
        reply = await answer
        if isinstance(reply, list) and reply[0] == b"ok":
            try:
                await asyncio.shield(confirmed)
            except LogUnavailable as exc:
                raise Unconfirmed(reply) from exc
        return reply

    def post(self, command: bytes) -> None:
        """Send a command, if there is a connection, and do not wait for its reply."""
        if self._wire is not None:
            self._send(command).add_done_callback(_ignore)

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._wire is not None

    @property
    def silence(self) -> float:
        """Seconds for which somebody has been waiting for a connection or a reply, and nothing came."""
        if self._dialling is not None:
            since = self._dialled
        elif self._wire is not None and self._waiting:
            since = max(self._waiting[0][1] - REPLY_TIMEOUT, self._wire.heard)
        else:
            return 0.0
        return asyncio.get_running_loop().time() - since

    def launch(self, command: bytes, receiver: Receiver) -> bool:
        """Send one packed command for which somebody else takes the reply. Returns whether there is a connection."""
        if self._wire is None:
            return False
        loop = asyncio.get_running_loop()
        self._waiting.append((receiver, loop.time() + REPLY_TIMEOUT))
        if self._watch is None:
            self._watch = loop.call_later(REPLY_TIMEOUT, self._check_silence)
        self._outbox.write(command)
        return True

    def _send(self, command: bytes) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.launch(command, future)
        return future

    def _send_on(self, wire: Wire, command: bytes) -> asyncio.Future[Any]:
        """Send on this connection and no other; where it has ended, the reply is that."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if wire is not self._wire or not self.launch(command, future):
            future.set_exception(LogUnavailable("the connection to Redis was lost"))
        return future

    def open(self) -> asyncio.Task[None]:
        """Begin to connect, where that is not under way already."""
        if self._dialling is None:
            self._dialled = asyncio.get_running_loop().time()
            self._dialling = asyncio.create_task(self._connect(), name="resumable_stream dial")
            self._dialling.add_done_callback(_ignore)  # whoever waited may be gone
        return self._dialling

    async def _connected(self) -> None:
        """Wait for the one attempt to connect that is under way; all who wait share its outcome."""
        if self._closed:
            raise LogUnavailable("the connection is closed")
        dialling = self.open()
        await asyncio.wait([dialling])
        if dialling.cancelled():
            raise LogUnavailable("the connection is closed")
        if (error := dialling.exception()) is not None:
            raise LogUnavailable("Redis cannot be reached") from error

    async def _connect(self) -> None:
        wire = Wire(self._on_reply, self._on_lost, self._companion.counts)
        try:
            await dial(self._redis, wire)
            self._wire, self._outbox = wire, Outbox(wire.transport)
            self._replicas = Replicas(partial(self._send_on, wire))
            look(wire.address, self._send)
            watch = _watch(self._redis, wire, partial(self._send, wire.question), self._leave)
            self._watcher = asyncio.create_task(watch, name="resumable_stream watch")
            self._watcher.add_done_callback(_ignore)
        finally:
            self._dialling = None

    def _on_reply(self, reply: Any) -> None:
        if self._waiting:
            receiver, _ = self._waiting.popleft()
            if not receiver.done():
                receiver.set_result(reply)
            self._outbox.answered()
        if isinstance(reply, ServerError) and str(reply).startswith(_ELSEWHERE):
            # Perhaps not the server to talk to any more: connecting again may find the right one. One that has merely
            # lost its replicas is still good to read from, and not left at once again.
            since = asyncio.get_running_loop().time() - self._dialled
            if since >= CHECK_INTERVAL or not str(reply).startswith(_ALONE):
                self._leave()

    def _leave(self) -> None:
        if self._wire is not None:
            self._wire.transport.abort()
            self._companion.leave()

    def _on_lost(self, exc: BaseException | None) -> None:
        if self._wire is not None:
            self._wire = None
            self._outbox.close()
        waiting, self._waiting = self._waiting, deque()
        for receiver, _ in waiting:
            if not receiver.done():
                error = LogUnavailable("the connection to Redis was lost")
                error.__cause__ = exc
                receiver.set_exception(error)
        for pending in (self._watch, self._watcher):
            if pending is not None:
                pending.cancel()
        self._watch = None
        if not self._closed:
            self._companion.look_again()

    def _check_silence(self) -> None:
        """Give the connection up when the oldest call has waited too long; else look again when it would have."""
        self._watch = None
        if self._waiting and self._wire is not None:
            loop = asyncio.get_running_loop()
            # A long reply that is still arriving is no silence, nor is an answer to somebody else.
            left = max(self._waiting[0][1], self._wire.heard + REPLY_TIMEOUT) - loop.time()
            if left <= 0:
                self._wire.transport.abort()
            else:
                self._watch = loop.call_later(left, self._check_silence)

    async def aclose(self) -> None:
        """Close the connection; calls under way fail."""
        self._closed = True
        if (dialling := self._dialling) is not None:
            dialling.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait([dialling])
        wire = self._wire
        self._on_lost(None)
        if wire is not None:
            wire.transport.abort()
        if self._watcher is not None:
            with anyio.CancelScope(shield=True):
                await asyncio.wait([self._watcher])


class Listener(Protocol):
    """What a subscription calls, on the event loop, and never concurrently."""

    def on_subscribed(self) -> None:
        """The channel is being listened to, for the first time or again: what was said before may be missed."""

    def on_message(self, payload: bytes) -> None:
        """Something was published."""


class Subscriber:
    """Sharded channels on one connection. A lost connection is made again, without end."""

    def __init__(self, redis: Redis, counts: Counts) -> None:
        self.counts = counts
        self._redis = redis
        self._listeners: dict[bytes, list[Listener]] = {}
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self._answer: asyncio.Future[Any] | None = None
        self._refused = False
        self._warned = False

    def subscribe(self, channel: bytes, listener: Listener) -> None:
        """Begin to listen. ``on_subscribed`` tells when it is so."""
        self._listeners.setdefault(channel, []).append(listener)
        self._order(b"SSUBSCRIBE", channel)
        self.open()

    def open(self) -> None:
        """Connect, and stay connected."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="resumable_stream subscriber")

    def look_again(self) -> None:
        """Have all who listen look for themselves: the other connection was lost, perhaps with its server."""
        for listeners in tuple(self._listeners.values()):
            for listener in tuple(listeners):
                listener.on_subscribed()

    def leave(self) -> None:
        """Connect anew: the server is not the one to talk to any more."""
        if self._transport is not None:
            self._transport.abort()

    def unsubscribe(self, channel: bytes, listener: Listener) -> None:
        """Stop listening; a listener that is unknown, or gone already, is ignored."""
        listeners = self._listeners.get(channel, [])
        if listener in listeners:
            listeners.remove(listener)
            if not listeners:
                del self._listeners[channel]
                self._order(b"SUNSUBSCRIBE", channel)

    def _order(self, verb: bytes, channel: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(pack(verb, channel))

    async def _run(self) -> None:
        attempt = 0
        while True:
            lost = self._lost = asyncio.Event()
            wire = Wire(self._on_reply, lambda _, lost=lost: lost.set(), self.counts)  # type: ignore[misc] # an event
            try:
                await dial(self._redis, wire, "3")  # where subscriptions and questions go together
            except LogUnavailable:
                await anyio.sleep(backoff(attempt))
                attempt += 1
                continue
            self._refused = False
            try:
                self._transport = wire.transport
                self._on_connected()
                async with anyio.create_task_group() as group:
                    group.start_soon(_watch, self._redis, wire, partial(self._ask, wire), wire.transport.abort)
                    await self._lost.wait()
                    group.cancel_scope.cancel()
            finally:
                self._transport = None
                wire.transport.abort()
            attempt = attempt + 1 if self._refused else 0
            await anyio.sleep(backoff(attempt))

    def _ask(self, wire: Wire) -> asyncio.Future[Any]:
        self._answer = asyncio.get_running_loop().create_future()
        wire.transport.write(wire.question)
        return self._answer

    def _on_reply(self, reply: Any) -> None:
        if isinstance(reply, ServerError):
            if self._transport is not None:
                self._on_error(reply)
            return
        if not isinstance(reply, list) or reply[0] == b"pong":
            if self._answer is not None and not self._answer.done():
                self._answer.set_result(reply)
            return
        kind = reply[0]
        if kind == b"smessage":
            for listener in tuple(self._listeners.get(reply[1], ())):
                listener.on_message(reply[2])
        elif kind == b"ssubscribe":
            self._on_confirmed(reply[1])
        elif kind == b"sunsubscribe":
            self._on_dropped(reply[1])

    # What differs in a cluster.

    def _on_connected(self) -> None:
        for channel in self._listeners:
            self._order(b"SSUBSCRIBE", channel)

    def _on_confirmed(self, channel: bytes) -> None:
        self._warned = False
        for listener in tuple(self._listeners.get(channel, ())):
            listener.on_subscribed()

    def _on_dropped(self, channel: bytes) -> None:
        if channel in self._listeners:
            self._order(b"SSUBSCRIBE", channel)

    def _on_error(self, error: ServerError) -> None:
        if not self._warned:
            logger.warning("Redis refuses sharded subscriptions: it must be 7.0 or newer and permit the channels")
        self._refused = self._warned = True
        if self._transport is not None:
            self._transport.abort()  # nothing would ever be heard

    async def aclose(self) -> None:
        """Stop listening to everything and close the connection."""
        task, self._task = self._task, None
        self._listeners.clear()
        if task is not None:
            task.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait([task])
