"""One stream, its producers and readers, the network between, and everything that can happen to them.

Each producer has a way to Redis of its own; the readers belong to two consumers, as in two processes. Nothing here
judges: what happens is written into a history.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack, ExitStack, suppress
from typing import Any, Final
from unittest.mock import patch

from anyio import to_thread
from redis.asyncio import Redis

from core.property.history import History
from core.property.log import events_of
from core.property.oracle import ID, Event
from core.property.producers import Actor, Ending
from core.property.readers import Form, Session
from core.property.setting import Setting
from core.streams import faulty, lease_is_over, log_key, state_key
from resumable_stream import Status, StreamConsumer, StreamExists, StreamProducer, _committer
from resumable_stream.embedded import EmbeddedValkey
from resumable_stream.testing import FaultProxy
from support import wait_until

PATIENCE: Final = 20.0
"""Seconds in which everything must be over at the end. Nothing waits so long when all is well."""
LOG: Final = log_key("s")
STATE: Final = state_key("s")


class World:
    """Made inside a running event loop, by `World.begin`."""

    def __init__(self, server: EmbeddedValkey, setting: Setting) -> None:
        self.history = History()
        self.setting = setting
        self.sessions: list[Session] = []
        self._server = server
        self._stack = AsyncExitStack()
        self._patches = ExitStack()
        self._admin: Redis
        self._producers: list[tuple[Actor, FaultProxy]] = []
        self._dead: set[FaultProxy] = set()
        self._consumers: list[tuple[StreamConsumer, FaultProxy]] = []
        self._ids: list[ID] = []
        self._crashes = 2
        self._restarts = 2
        self._snapshot: tuple[bytes | None, bytes | None] | None = None

    async def begin(self, *, begun: bool) -> None:
        """Empty the server and start two consumers; where it has ``begun``, also a producer and two readers."""
        asyncio.get_running_loop().set_exception_handler(self._note)
        for module, name, value in self.setting.patches():
            self._patches.enter_context(patch.object(module, name, value))
        self._admin = await self._stack.enter_async_context(Redis.from_url(self._server.url))
        await self._admin.flushall()
        for number in range(2):
            proxy, redis = await self._way(number)
            self._consumers.append((await self._stack.enter_async_context(StreamConsumer(redis)), proxy))
        if begun:
            await self.produce(2, kind="text", flush=True)
            await self.look()
            await self.read(0, "events", None)
            await self.read(1, "json", None)
            await self.pause(0.002)

    async def pause(self, seconds: float) -> None:
        """Let everybody go on for a moment. Nothing is waited for: what happens in it is a matter of chance."""
        await asyncio.sleep(seconds)

    def _note(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception that nobody has handled."""
        self.history.add("loop", "fail", context["message"], repr(context.get("exception")))

    async def _way(self, seed: int) -> tuple[FaultProxy, Redis]:
        return await self._stack.enter_async_context(faulty(self._server.url, seed=seed))

    async def look(self) -> None:
        """Note what is in the log."""
        self.history.add("log", "invoke", "look")
        pipeline = self._admin.pipeline(transaction=True)
        pipeline.exists(LOG)
        pipeline.xrange(LOG)
        exists, entries = await pipeline.execute()
        events = events_of(entries) if exists else None
        self.history.add("log", "ok", "look", events)
        self._remember(events or ())

    def _remember(self, events: Iterable[Event]) -> None:
        known = set(self._ids)
        self._ids += [event[0] for event in events if event[0] is not None and event[0] not in known]

    # Producers.

    @property
    def producer(self) -> Actor | None:
        """The newest producer, when it can still be told something."""
        actor, proxy = self._producers[-1] if self._producers else (None, None)
        return actor if actor is not None and not actor.done and proxy not in self._dead else None

    async def claim(self, fault: str = "") -> Actor:
        """Start a producer and wait until it knows whether it has the stream.

        Args:
            fault: the claim's ``request`` or ``reply`` is lost once.
        """
        setting = self.setting
        number = len(self._producers) + 1
        proxy, redis = await self._way(10 + number)
        producer = StreamProducer(
            redis,
            lease=3600.0 if setting.notified else 0.3,
            retention=60.0,
            flush_interval=setting.flush_interval,
            buffer_bytes=setting.buffer_bytes,
            max_events=setting.max_events,
            takeover=setting.takeover,
        )
        if fault:
            (proxy.drop_request if fault == "request" else proxy.drop_reply)("EVALSHA")
        words = ("bounded",) * (setting.max_events is not None) + ("long lease",) * setting.notified
        actor = Actor(self.history, f"p{number}", producer, words=words, pulled=setting.pulled)
        self._producers.append((actor, proxy))
        await wait_until(actor.claimed.is_set, timeout=PATIENCE, what="the outcome of a claim")
        return actor

    async def produce(self, count: int, *, kind: str, flush: bool, fault: str = "", anew: bool = False) -> None:
        """Send tokens; a producer is started when there is none, or when it is wanted ``anew``."""
        actor = None if anew else self.producer
        if actor is None:
            actor = await self.claim(fault)
        actor.send(count, kind=kind, flush=flush)

    async def end(self, how: Ending) -> None:
        """End the stream from its producer's side."""
        if (actor := self.producer) is not None:
            actor.end(how)

    async def stop(self) -> None:
        """Ask the stream to stop, from elsewhere."""
        self.history.add("admin", "invoke", "stop")
        asked = await StreamProducer(self._admin).cancel("s")
        self.history.add("admin", "ok", "stop", asked)

    async def reserve(self) -> None:
        """Make a stream that waits for its first producer."""
        self.history.add("admin", "invoke", "reserve")
        with suppress(StreamExists):
            await StreamProducer(self._admin).reserve("s", seconds=0.5)
        self.history.add("admin", "info", "reserve")

    async def end_orphan(self, status: Status) -> None:
        """End the stream if it has no producer."""
        self.history.add("admin", "invoke", "end orphan", status.value)
        ended = await StreamProducer(self._admin).end("s", status)
        self.history.add("admin", "ok", "end orphan", ended)

    async def rival(self) -> None:
        """Claim the stream though somebody may be producing it; whoever is refused is forgotten."""
        actor = await self.claim()
        if actor.done and len(self._producers) > 1:
            self._producers.insert(0, self._producers.pop())

    async def replace(self, *, zombie: bool) -> None:
        """Crash the producer, and start another when the lease is over; a zombie then comes back with more to say.

        Twice at most: each takes the time of a lease.
        """
        old = self.producer
        if old is None or not self._crashes:
            return
        self._crashes -= 1
        proxy = self._producers[-1][1]
        await self._cut_off(old, proxy)
        await self._lease_over()
        if zombie:
            old.send(2, kind="text", flush=True)
        new = await self.claim()
        new.send(1, kind="text", flush=False)
        if zombie:
            self.history.add("net", "info", "back", old.name)
            self._dead.discard(proxy)
            await proxy.up()
            new.send(2, kind="text", flush=True)

    async def _cut_off(self, actor: Actor, proxy: FaultProxy) -> None:
        """Make the producer one that is never heard again, as far as anybody can tell."""
        self.history.add("net", "info", "crash", actor.name)
        self._dead.add(proxy)
        await proxy.down()

    async def _lease_over(self) -> None:
        async def over() -> bool:
            return await lease_is_over(self._admin, "s") or not await self._admin.exists(STATE)

        if not self.setting.notified:
            await wait_until(over, timeout=PATIENCE, what="the end of a lease")

    # Readers.

    async def read(
        self, which: int, form: Form, after: ID | None, *, count: float = math.inf, wait: float = 0.0
    ) -> None:
        """Connect a reader to one of the two consumers."""
        name = f"r{len(self.sessions) + 1}"
        consumer = self._consumers[which % 2][0]
        session = Session(self.history, name, consumer, form, after, wait=wait)
        session.take(count)
        self.sessions.append(session)

    async def read_more(self, number: int, count: int) -> None:
        """Let a reader take more."""
        if (session := self._session(number)) is not None:
            session.take(count)

    async def resume(self, number: int, which: int, form: Form, *, count: int) -> None:
        """Drop a reader and come back, perhaps elsewhere, with the last id that it had."""
        if (session := self._session(number)) is not None:
            await session.drop()
            await self.read(which, form, session.last_id, count=count)

    def cursor(self, number: int, shift: tuple[int, int] = (0, 0)) -> ID | None:
        """An id that somebody has seen, or something near it."""
        if not self._ids:
            return None
        generation, sequence = self._ids[number % len(self._ids)]
        return generation + shift[0], max(0, sequence + shift[1])

    def _session(self, number: int) -> Session | None:
        alive = [session for session in self.sessions if not session.done]
        return alive[number % len(alive)] if alive else None

    # The network.

    def proxies(self) -> list[tuple[str, FaultProxy]]:
        """Every line that can fail: of the newest producer and of the two consumers."""
        lines = [(f"consumer {number}", proxy) for number, (_, proxy) in enumerate(self._consumers)]
        if self.producer is not None:
            lines.append((self._producers[-1][0].name, self._producers[-1][1]))
        return lines

    async def disturb(self, which: int, what: str, do: Callable[[FaultProxy], Any]) -> None:
        """Let something happen to one of the lines."""
        lines = self.proxies()
        name, proxy = lines[which % len(lines)]
        self.history.add("net", "info", what, name)
        result = do(proxy)
        if asyncio.iscoroutine(result):
            await result

    async def heal(self) -> None:
        """Take every fault of the network away; producers that crashed stay away."""
        self.history.add("net", "info", "heal")
        lines = [proxy for _, proxy in self._consumers] + [proxy for _, proxy in self._producers]
        for proxy in lines:
            proxy.heal()
            if proxy not in self._dead:
                await proxy.up()

    async def ask_server(self, command: str) -> None:
        """A command that harms connections or caches and no data."""
        self.history.add("net", "info", "server", command)
        call: Any = self._admin.execute_command
        await call(*command.split())

    # What is done to the data.

    async def _deed(self, operation: str, *commands: tuple[Any, ...]) -> None:
        """Do something to the log in one step, and note exactly what it removed."""
        self.history.add("admin", "invoke", operation)
        pipeline = self._admin.pipeline(transaction=True)
        pipeline.xrange(LOG)
        for command in commands:
            pipeline.execute_command(*command)
        pipeline.xrange(LOG)
        before, *_, after = await pipeline.execute()
        left = {event[0] for event in events_of(after)}
        self.history.add("admin", "ok", operation, tuple(event for event in events_of(before) if event[0] not in left))

    async def trim(self, keep: int) -> None:
        """Keep only the newest events."""
        await self._deed("trim" if keep else "trim away", ("XTRIM", LOG, "MAXLEN", keep))

    async def remove(self, number: int) -> None:
        """Delete one event that is not the newest."""
        entries: Any = await self._admin.xrange(LOG)
        ids = [event_id for event_id, _ in entries[:-1]]
        if ids:
            await self._deed("remove", ("XDEL", LOG, ids[number % len(ids)]))

    async def drop(self, operation: str, *, newest: int = 0) -> None:
        """Let keys go, as an eviction or somebody's hand does; with the state, also some of the newest events."""
        match operation:
            case "drop log":
                await self._deed(operation, ("DEL", LOG))
            case "drop state":
                entries: Any = await self._admin.xrevrange(LOG, count=newest) if newest else []
                lost = [("XDEL", LOG, *(event_id for event_id, _ in entries))] if entries else []
                await self._deed(operation, ("DEL", STATE), *lost)
            case "drop both":
                await self._deed(operation, ("DEL", LOG, STATE))
            case "flush":
                await self._deed(operation, ("FLUSHALL",))
            case "delete":
                await self.delete()
            case "expire":
                self.history.add("admin", "invoke", operation)
                await wait_until(self._expired, timeout=PATIENCE, what="the log has expired")
                self.history.add("admin", "ok", operation)

    async def _expired(self) -> bool:
        await self._admin.pexpire(LOG, 1)  # again and again: a renewal may come between
        return not await self._admin.exists(LOG)

    async def delete(self) -> None:
        """Remove the stream in the library's own way."""
        self.history.add("admin", "invoke", "delete")
        await StreamProducer(self._admin).delete("s")
        self.history.add("admin", "ok", "delete")

    async def snapshot(self) -> None:
        """What a replica knows, or a dump: to go back to."""
        self._snapshot = (await self._admin.dump(LOG), await self._admin.dump(STATE))

    async def roll_back(self) -> None:
        """A failover to a replica that was behind: what came after the snapshot is gone, and so are connections."""
        if self._snapshot is None:
            return
        commands: list[tuple[Any, ...]] = [("DEL", LOG, STATE)]
        for key, payload in zip((LOG, STATE), self._snapshot, strict=True):
            if payload is not None:
                commands.append(("RESTORE", key, 60_000, payload))
        await self._deed("roll back", *commands)
        for _, proxy in [*self._consumers, *self._producers]:
            proxy.cut()

    async def fail_over(self, count: int, *, crash: bool) -> None:
        """What is written now is lost with the primary, and when it ``crash``es too, nobody can write it again."""
        await self.snapshot()
        await self.produce(count, kind="text", flush=True)
        await self.pause(0.005)
        if crash and self.producer is not None:
            await self._cut_off(*self._producers[-1])
        await self.roll_back()

    async def restart(self) -> None:
        """Kill the server and start it again, with what it kept; twice at most."""
        if not self._restarts:
            return
        self._restarts -= 1
        operation = "restart" if self.setting.durable else "restart empty"
        self.history.add("admin", "invoke", operation)
        await to_thread.run_sync(self._server.kill)
        await to_thread.run_sync(self._server.start)
        await self._admin.connection_pool.disconnect()
        self.history.add("admin", "ok", operation)

    # The end.

    async def finish(self, how: Ending | None, *, cut: bool) -> None:
        """Heal what can be healed, let the producers end (or not), and give every reader time to end."""
        await self.heal()
        if cut:  # what is said now is heard by nobody
            for _, proxy in self._consumers:
                proxy.cut()
        for actor, proxy in self._producers:
            if actor.done or proxy in self._dead:
                continue
            if how is None and not self.setting.notified:
                await self._cut_off(actor, proxy)
            else:
                actor.end(how or "completed")
        for number in range(2):
            await self.read(number, "events", None)
        for session in self.sessions:
            session.take()
        deadline = asyncio.get_running_loop().time() + PATIENCE
        for session in self.sessions:
            await session.ended(max(0.1, deadline - asyncio.get_running_loop().time()))
        await self.look()

    async def close(self) -> None:
        """Leave nothing behind."""
        with self._patches, patch.object(_committer, "LAST_WORDS", 0.0):
            for session in self.sessions:
                await session.drop()
            self._dead.clear()
            await self.heal()  # who is at its last words gets them out, and is not waited for
            for actor, _ in self._producers:
                await actor.kill()
            await self._stack.aclose()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks were left: {left}"
