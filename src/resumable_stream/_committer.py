"""What writes one stream: a bounded buffer, and what commits it group by group.

While one append is under way, what is sent gathers; the next append takes all of it. So the first token never
waits, and a busy source pays one round trip for many tokens.

Where all goes well an append is launched by whoever sends, and its reply, when it comes, launches the next: no task is
woken for a token. A task of its own does what takes patience: renewing the lease, gathering text, repeating an append
whose reply is missing or is not what it should be.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any, Final

import anyio

from ._buffer import Buffer, Entry, Group, Tail, entry
from ._encoding import AppendEncoder
from ._errors import LogUnavailable, StreamClosed, StreamError, StreamFenced, StreamLost
from ._events import END, EventID, Status, StreamEvent, pack
from ._flight import Flight, TimedFlight
from ._links import backoff
from ._log import Claim, Log
from ._names import Names
from ._options import WriterOptions
from ._replicas import Unconfirmed
from ._text import TextJoiner
from .logs import about, get_logger

logger: Final = get_logger("resumable_stream")

TURN: Final = 256
"""Events in a row after which a source that never waits lets other tasks have their turn."""
LAST_WORDS: Final = 5.0
"""Seconds that writing the end may take at least, whatever the outage timeout."""
_NO_END: Final = entry(b"", b"")
"""In the place of the terminal event of a stream that is let go; never written."""


class Committer:
    """Writes entries into one claimed stream, in order, and keeps its lease.

    Attributes:
        stream_id: the stream.
        status: ``active`` until the terminal event is written, then what it says.
        last_id: the id of the last event that Redis has acknowledged; ``None`` before the first.
        text: holds back the end of a token that is not a whole character.
        flight: what is under way; the next group waits for it.
        head: the sequence of the last event before the claim.
        begun: when the stream was claimed, by the clock of `time.monotonic`.
        appends: how many appends have written something.
        size: what all that is written was reckoned to cost.
        in_doubt: whether nobody knows how the append went that is under way.
    """

    def __init__(self, log: Log, names: Names, stream_id: str, claim: Claim, options: WriterOptions) -> None:
        self.stream_id = stream_id
        self.status = Status.ACTIVE
        self.last_id: EventID | None = None
        self.text = TextJoiner()
        self.flight: Flight | None = None
        self._log = log
        self._names = names
        self._options = options
        self._max_events = options.max_events or 0
        self._generation = claim.generation
        self.head = claim.head
        self._next = claim.head + 1
        self.appends = 0
        self.size = 0
        self._encoder = AppendEncoder(names, claim.generation, self._max_events)
        self._buffer = Buffer(join=options.flush_interval > 0)
        self._turn = TURN
        self._tail = Tail()
        self._end: Entry | None = None
        self._dead = False
        self.in_doubt = False
        self._awaited = False
        self._wake = asyncio.Event()
        self._progress = asyncio.Event()
        self._prompt = options.flush_interval == 0
        self._urgent = 1  # how many entries must not wait for others: the first token, what a flush waits for, the end
        self._gathering = False
        self.begun = time.monotonic()
        self._renew_at = self._next_renewal(self.begun)
        self._task: asyncio.Task[None] | None = None
        self._interrupt: Callable[[], object] | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self.error: Exception | None = None
        """Why nothing can be written any more; ``None`` while it can."""
        self.stop_requested = claim.stop
        """Whether `StreamProducer.cancel` was called on the stream, by anyone."""

    @property
    def ready(self) -> bool:
        """Whether `put` may be called at once. `reserve` waits until it may."""
        room = self._buffer.puts < self._turn and self._buffer.size < self._options.buffer_bytes
        return room and self.error is None and self._end is None

    async def reserve(self) -> None:
        """Wait until the buffer has room, and let others have their turn.

        Raises:
            StreamFenced, StreamLost, LogUnavailable: nothing more can be written.
            StreamClosed: the stream has its end.
        """
        self._check()
        if self._buffer.puts >= self._turn:
            self._turn = self._buffer.puts + TURN
            await asyncio.sleep(0)
            self._check()
        while self._buffer.size >= self._options.buffer_bytes:
            await self._wait_for_progress()
            self._check()

    def put(self, entry: Entry) -> None:
        """Buffer an entry behind the others."""
        self._buffer.put(entry)
        if self.flight is None:
            self._depart()

    def put_text(self, text: bytes) -> None:
        """Buffer a ``text`` event, unless it would be empty."""
        if text:
            self._buffer.put_text(text)
            if self.flight is None:
                self._depart()

    def _depart(self) -> None:
        if self._prompt and self._task is not None:
            self._launch()
        elif not self._gathering or self._buffer.size >= self._options.buffer_bytes:
            self._wake.set()

    async def flush(self) -> None:
        """Wait until all that was put in is in Redis.

        Raises:
            StreamFenced, StreamLost, LogUnavailable: it cannot be written.
        """
        self._buffer.seal()
        self._urgent = target = self._buffer.count
        self._wake.set()
        while self._buffer.acknowledged < target:
            if self.error is not None:
                raise self.error
            await self._wait_for_progress()

    def _check(self) -> None:
        if self.error is not None:
            raise self.error
        if self._end is not None:
            raise StreamClosed(self.stream_id, "the stream has ended")

    async def _wait_for_progress(self) -> None:
        self._progress.clear()
        await self._progress.wait()

    def start(self) -> None:
        """Begin to commit, to renew the lease and to listen for a stop."""
        self._log.counts.begin(self)
        self._unsubscribe = self._log.subscribe(self._names.control, self)
        with about(stream_id=self.stream_id):
            self._task = asyncio.create_task(self._commit_all(), name="resumable_stream writer")

    def on_interrupt(self, callback: Callable[[], object]) -> None:
        """Call back once when the source should stop: on a stop, or when nothing can be written any more."""
        self._interrupt = callback
        if self.stop_requested or self.error is not None:
            self._interrupt_source()

    async def finish(self, status: Status, data: dict[str, Any], *, in_haste: bool = False) -> None:
        """Write what is left and the terminal event; with ``active`` let the stream go instead, for another producer.

        Waits for Redis at most the outage timeout, or 5 s in haste.

        Raises:
            StreamFenced, StreamLost, LogUnavailable: it could not be written.
        """
        patience = LAST_WORDS if in_haste else max(self._options.outage_timeout, LAST_WORDS)
        if not self._dead and self._end is None:
            self.put_text(self.text.finish())
            self._end = _NO_END
            if status.ended:
                self._end = entry(*pack(StreamEvent(END, {"status": status.value, **data})))
                self.put(self._end)
            self._urgent = self._buffer.count
            self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=patience)
        if self._dead and self.error is not None:
            raise self.error
        if self._buffer.acknowledged < self._buffer.count:
            raise LogUnavailable("the end of the stream could not be written")
        if self._end is _NO_END and self.error is None:
            with anyio.move_on_after(patience):
                await self._log.release(self._names, self._generation)
        self.status = status

    async def aclose(self) -> None:
        """Stop committing; what is not written stays unwritten, and who waits for it is told."""
        self._log.counts.end(self)
        if self.error is None:
            self.error = StreamClosed(self.stream_id, "the stream is no longer written here")
        self._progress.set()
        self.flight = None
        if self._unsubscribe is not None:
            self._unsubscribe()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    # The control channel.

    def on_subscribed(self) -> None:
        """Look at the state at once: a stop may have been asked for before, or the lease be running out."""
        self._renew_at = 0.0
        self._wake.set()

    def on_message(self, payload: bytes) -> None:
        """Somebody asked for a stop, or deleted the stream: the next renewal says which."""
        self.on_subscribed()

    # Where all goes well.

    def _launch(self) -> None:
        """Send the next group on its way; an empty one renews the lease."""
        now = time.monotonic()
        group = self._buffer.take()
        if renew := now >= self._renew_at:
            self._renew_at = self._next_renewal(now)  # before the call: a stop may ask for another meanwhile
        flight = self.flight = (TimedFlight if renew else Flight)(self, group, now)
        ends = self._ends(group)
        if (self._options.replicas and group.entries) or not self._log.launch(
            flight, self._names, self._encoder, self._next, group.entries, renew=renew, end=ends
        ):
            self.on_doubt()

    def _ends(self, group: Group) -> bool:
        return bool(group.entries) and group.entries[-1] is self._end

    def on_reply(self, flight: Flight, reply: object) -> None:
        """An append was answered: go on with the next, or leave it to the task."""
        if (stop := self._log.launched(reply)) is None:
            self.on_doubt()
            return
        self._digest(stop=stop)
        self._settle(flight.group)
        if self._buffer and self._prompt:
            self._launch()
        elif self._awaited or self._buffer or self._end is not None:
            self._wake.set()

    def on_sample(self, seconds: float) -> None:
        """An append that renewed the lease was answered after so long."""
        for observer in self._log.counts.observers:
            observer.on_append(seconds)

    def on_doubt(self) -> None:
        """Nobody knows how the append went. The ids stay the same, so a repetition changes nothing."""
        self.in_doubt = True
        self._wake.set()

    def _next_renewal(self, now: float) -> float:
        """A third of the lease away, a little less at random: streams that began together do not renew together."""
        return now + self._options.lease / 3 * random.uniform(0.8, 1.0)  # noqa: S311 - spreads load, guards nothing

    def _settle(self, group: Group) -> None:
        self._tail.add(self._next, group)
        self._next += len(group.entries)
        if group.entries:
            self.last_id = EventID(self._generation, self._next - 1)
            self.appends += 1
            self.size += group.size
        self._buffer.acknowledge(group)
        self.flight = None
        self._progress.set()

    # What takes patience.

    async def _commit_all(self) -> None:
        try:
            while self._end is None or self._buffer or self.flight is not None:
                self._wake.clear()
                if self.flight is not None and self.in_doubt:
                    await self._repeat(self.flight)
                elif self.flight is not None:
                    self._awaited = True
                    await self._wake.wait()
                    self._awaited = False
                elif self._buffer:
                    await self._gather()
                    self._launch()
                elif (left := self._renew_at - time.monotonic()) > 0:
                    with anyio.move_on_after(left):
                        await self._wake.wait()
                else:
                    self._launch()
        except StreamError as exc:
            self._die(exc)
        except Exception as exc:
            logger.exception("stream %s cannot be written", self.stream_id)
            error = StreamLost(self.stream_id, "the stream cannot be written")
            error.__cause__ = exc
            self._die(error)
        finally:
            self._progress.set()

    def _die(self, exc: Exception) -> None:
        self._dead = True
        self._buffer.clear()
        self._fail(exc)

    def _fail(self, exc: Exception) -> None:
        self.error = exc
        self._progress.set()
        self._interrupt_source()

    async def _gather(self) -> None:
        """Let tokens come together for the flush interval, unless somebody is in a hurry or the buffer is full."""
        if self._prompt:
            return
        due = time.monotonic() + self._options.flush_interval
        self._gathering = True
        while self._buffer.acknowledged >= self._urgent and self._buffer.size < self._options.buffer_bytes:
            left = min(due, self._renew_at) - time.monotonic()
            if left <= 0:
                break
            with anyio.move_on_after(left):
                await self._wake.wait()
            self._wake.clear()
        self._gathering = False

    async def _repeat(self, flight: Flight) -> None:
        """Append until Redis has answered. Where a failover has lost the newest events, what is known goes in front."""
        group = flight.group
        self._log.counts.repeats += 1
        attempt = 0
        mend: list[Entry] | None = None
        while True:
            self._renew_at = self._next_renewal(time.monotonic())
            try:
                appended = await self._log.append(
                    self._names,
                    EventID(self._generation, self._next - len(mend or ())),
                    group.entries if not mend else [*mend, *group.entries],
                    max_events=self._max_events,
                    renew=True,
                    mend=mend is not None,
                    end=self._ends(group),
                    replicas=self._options.replicas if group.entries and self.error is None else 0,
                )
            except LogUnavailable as exc:
                mend = None  # the next answer may come from yet another server
                if isinstance(exc, Unconfirmed) and (stop := self._log.launched(exc.reply)) is not None:
                    self._digest(stop=stop)  # a stop is seen also while replicas are not
                if self.error is None and time.monotonic() - flight.started >= self._options.outage_timeout:
                    # The source is stopped, but this goes on: what was taken and a terminal may still get through.
                    error = LogUnavailable("Redis was away for longer than the outage timeout")
                    error.__cause__ = exc
                    self._fail(error)
                await anyio.sleep(backoff(attempt))
                attempt += 1
                continue
            if appended.outcome == "behind":
                mend = self._tail.after(appended.head)
                self._log.counts.mended += len(mend)
                lost = self._next - 1 - appended.head
                logger.warning("stream %s: Redis has lost %d events, %d are known", self.stream_id, lost, len(mend))
                continue
            break
        if appended.outcome == "fenced":
            raise StreamFenced(self.stream_id, "a newer claim holds the stream")
        if appended.outcome == "lost":
            raise StreamLost(self.stream_id, "the stream is gone from Redis")
        self.in_doubt = False
        self._digest(stop=appended.stop)
        self._settle(flight.group)

    def _digest(self, *, stop: bool) -> None:
        if stop and not self.stop_requested:
            self.stop_requested = True
            self._interrupt_source()

    def _interrupt_source(self) -> None:
        callback, self._interrupt = self._interrupt, None
        if callback is not None:
            callback()
