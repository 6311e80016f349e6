"""What writes one stream: a bounded buffer, and the task that commits it group by group.

While one append is under way, what is sent gathers; the next append takes all of it. So the first token never
waits, and a busy source pays one round trip for many tokens.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import anyio

from ._errors import (
    LogUnavailable,
    StreamClosed,
    StreamError,
    StreamFenced,
    StreamLost,
)
from ._events import END, TEXT, EventID, Status, StreamEvent, pack
from ._links import backoff
from ._log import Appended, Claim, Log, Names
from ._text import TextJoiner

logger: Final = logging.getLogger("resumable_stream")

BATCH_EVENTS: Final = 512
BATCH_BYTES: Final = 512 * 1024
TURN: Final = 256
"""Events in a row after which a source that never waits lets other tasks have their turn."""
LAST_WORDS: Final = 5.0
"""Seconds that writing the end may take at least, whatever the outage timeout."""
TAIL_BYTES: Final = 64 * 1024
"""How much of what Redis has acknowledged is kept, for a failover that loses it."""
ENTRY_OVERHEAD: Final = 64
"""Bytes that one entry is reckoned to cost beside its data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterOptions:
    """How a stream is written; see `StreamProducer` for what each means. Times are in seconds."""

    lease: float
    retention: float
    flush_interval: float
    buffer_bytes: int
    outage_timeout: float
    max_events: int | None


_TEXT: Final = TEXT.encode()

Entry = tuple[bytes, bytes]
"""A field and a value of the log: see `_events.pack`."""


class Committer:
    """Writes entries into one claimed stream, in order, and keeps its lease.

    Attributes:
        stream_id: the stream.
        status: ``active`` until the terminal event is written, then what it says.
        last_id: the id of the last event that Redis has acknowledged; ``None`` before the first.
        text: holds back the end of a token that is not a whole character, or not a whole CRLF.
    """

    def __init__(self, log: Log, names: Names, stream_id: str, claim: Claim, options: WriterOptions) -> None:
        self.stream_id = stream_id
        self.status = Status.ACTIVE
        self.last_id: EventID | None = None
        self.text = TextJoiner()
        self._log = log
        self._names = names
        self._options = options
        self._generation = claim.generation
        self._next = claim.head + 1
        self._buffer: deque[Entry] = deque()
        self._buffered = 0
        self._taken_bytes = 0
        # How many were ever put in, taken out into a group, and acknowledged.
        self._sent = 0
        self._taken = 0
        self._acknowledged = 0
        self._turn = TURN
        self._tail = _Tail()
        self._end: Entry | None = None
        self._dead = False
        self._wake = asyncio.Event()
        self._progress = asyncio.Event()
        self._hurry = True
        self._renew_at = time.monotonic() + options.lease / 3
        self._timer: asyncio.TimerHandle | None = None
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
        return (
            self._sent < self._turn
            and (self._buffered < self._options.buffer_bytes or not self._buffered)
            and self.error is None
            and self._end is None
        )

    async def reserve(self) -> None:
        """Wait until the buffer has room, and let others have their turn.

        Raises:
            StreamFenced, StreamLost, LogUnavailable: nothing more can be written.
            StreamClosed: the stream has its end.
        """
        self._check()
        if self._sent >= self._turn:
            self._turn = self._sent + TURN
            await asyncio.sleep(0)
            self._check()
        while self._buffered and self._buffered >= self._options.buffer_bytes:
            await self._wait_for_progress()
            self._check()

    def put(self, entry: Entry) -> None:
        """Buffer an entry behind the others."""
        self._buffer.append(entry)
        self._buffered += len(entry[1]) + ENTRY_OVERHEAD
        self._sent += 1
        self._wake.set()

    async def flush(self) -> None:
        """Wait until all that was put in is in Redis.

        Raises:
            StreamFenced, StreamLost, LogUnavailable: it cannot be written.
        """
        target = self._sent
        self._hurry = True
        self._wake.set()
        while self._acknowledged < target:
            if self.error is not None:
                raise self.error
            await self._wait_for_progress()

    def _check(self) -> None:
        if self.error is not None:
            raise self.error
        if self._end is not None:
            raise StreamClosed(self.stream_id, "the stream has ended")

    def put_text(self, text: bytes) -> None:
        """Buffer a ``text`` event, unless it would be empty."""
        if text:
            self.put((_TEXT, text))

    async def _wait_for_progress(self) -> None:
        self._progress.clear()
        await self._progress.wait()

    def start(self) -> None:
        """Begin to commit, to renew the lease and to listen for a stop."""
        self._unsubscribe = self._log.subscribe(self._names.control, self)
        self._task = asyncio.create_task(self._commit_all(), name="resumable_stream writer")

    def on_interrupt(self, callback: Callable[[], object]) -> None:
        """Call back once when the source should stop: on a stop, or when nothing can be written any more."""
        self._interrupt = callback
        if self.stop_requested or self.error is not None:
            self._interrupt_source()

    async def finish(self, status: Status, data: dict[str, Any], *, in_haste: bool = False) -> None:
        """Write what is left and the terminal event. Waits for Redis at most the outage timeout, or 5 s in haste.

        Raises:
            StreamFenced, StreamLost, LogUnavailable: it could not be written.
        """
        if not self._dead and self._end is None:
            self.put_text(self.text.finish())
            self._end = pack(StreamEvent(END, {"status": status.value, **data}))
            self.put(self._end)
            self._hurry = True
        if self._task is not None:
            patience = LAST_WORDS if in_haste else max(self._options.outage_timeout, LAST_WORDS)
            await asyncio.wait([self._task], timeout=patience)
        if self._dead and self.error is not None:
            raise self.error
        if self._acknowledged < self._sent:
            raise LogUnavailable("the end of the stream could not be written")
        self.status = status

    async def aclose(self) -> None:
        """Stop committing; what is not written stays unwritten, and who waits for it is told."""
        if self.error is None:
            self.error = StreamClosed(self.stream_id, "the stream is no longer written here")
        self._progress.set()
        if self._unsubscribe is not None:
            self._unsubscribe()
        if self._timer is not None:
            self._timer.cancel()
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

    # The committing task.

    async def _commit_all(self) -> None:
        try:
            while self._end is None or self._buffer:
                await self._wait_for_work()
                await self._commit(self._take())
        except StreamError as exc:
            self._dead = True
            self._buffer.clear()
            self._fail(exc)
        except Exception as exc:
            logger.exception("stream %s cannot be written", self.stream_id)
            self._dead = True
            self._buffer.clear()
            error = StreamLost(self.stream_id, "the stream cannot be written")
            error.__cause__ = exc
            self._fail(error)
        finally:
            self._progress.set()

    def _fail(self, exc: Exception) -> None:
        self.error = exc
        self._progress.set()
        self._interrupt_source()

    async def _wait_for_work(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._buffer and (left := self._renew_at - time.monotonic()) > 0:
            self._wake.clear()
            self._timer = loop.call_later(left, self._wake.set)
            await self._wake.wait()
            self._timer.cancel()
        if self._options.flush_interval > 0 and self._buffer:
            if not self._hurry:
                await self._gather()
            self._hurry = False

    async def _gather(self) -> None:
        """Let tokens come together for the flush interval, unless somebody is in a hurry or the buffer is full."""
        deadline = min(time.monotonic() + self._options.flush_interval, self._renew_at)
        while not self._hurry and self._buffered < self._options.buffer_bytes:
            self._wake.clear()
            with anyio.move_on_after(max(0.0, deadline - time.monotonic())) as scope:
                await self._wake.wait()
            if scope.cancelled_caught:
                return

    def _take(self) -> list[Entry]:
        """The next group of entries; with a flush interval, text that stands together becomes one entry."""
        batch: list[Entry] = []
        size = 0
        merge = self._options.flush_interval > 0
        buffer = self._buffer
        while buffer and len(batch) < BATCH_EVENTS and size < BATCH_BYTES:
            entry = self._pop()
            size += len(entry[1])
            if merge and entry[0] == _TEXT:
                pieces = [entry[1]]
                while buffer and buffer[0][0] == _TEXT and size < BATCH_BYTES:
                    pieces.append(self._pop()[1])
                    size += len(pieces[-1])
                entry = (entry[0], b"".join(pieces))
            batch.append(entry)
        return batch

    def _pop(self) -> Entry:
        entry = self._buffer.popleft()
        self._taken += 1
        self._taken_bytes += len(entry[1]) + ENTRY_OVERHEAD
        return entry

    async def _commit(self, batch: list[Entry]) -> None:
        """Append until Redis has answered. The ids stay the same, so a repetition changes nothing.

        Where a failover has lost the newest events, what is still known of them goes in front.
        """
        taken = self._taken
        size, self._taken_bytes = self._taken_bytes, 0
        first = EventID(self._generation, self._next)
        ends = bool(batch) and batch[-1] is self._end
        started = time.monotonic()
        attempt = 0
        mend: list[Entry] | None = None
        while True:
            now = time.monotonic()
            if renew := attempt > 0 or now >= self._renew_at:
                self._renew_at = now + self._options.lease / 3  # before the call: a stop may ask for another meanwhile
            try:
                appended = await self._log.append(
                    self._names,
                    first if not mend else EventID(self._generation, self._next - len(mend)),
                    batch if not mend else [*mend, *batch],
                    max_events=self._options.max_events or 0,
                    renew=renew,
                    mend=mend is not None,
                    end=ends,
                )
            except LogUnavailable as exc:
                mend = None  # the next answer may come from yet another server
                if self.error is None and now - started >= self._options.outage_timeout:
                    # The source is stopped, but this goes on: what was taken and a terminal may still get through.
                    error = LogUnavailable("Redis was away for longer than the outage timeout")
                    error.__cause__ = exc
                    self._fail(error)
                await anyio.sleep(backoff(attempt))
                attempt += 1
                continue
            if appended.outcome == "behind":
                mend = self._tail.after(appended.head)
                lost = self._next - 1 - appended.head
                logger.warning("stream %s: Redis has lost %d events, %d are known", self.stream_id, lost, len(mend))
                continue
            break
        self._digest(appended)
        self._tail.add(self._next, batch, size)
        self._next += len(batch)
        if batch:
            self.last_id = EventID(self._generation, self._next - 1)
        self._acknowledged = taken
        self._buffered -= size
        self._progress.set()

    def _digest(self, appended: Appended) -> None:
        if appended.outcome == "fenced":
            raise StreamFenced(self.stream_id, "a newer claim holds the stream")
        if appended.outcome == "lost":
            raise StreamLost(self.stream_id, "the stream is gone from Redis")
        if appended.stop and not self.stop_requested:
            self.stop_requested = True
            self._interrupt_source()

    def _interrupt_source(self) -> None:
        callback, self._interrupt = self._interrupt, None
        if callback is not None:
            callback()


class _Tail:
    """The newest events that were acknowledged, in groups as they were written, up to `TAIL_BYTES`."""

    def __init__(self) -> None:
        self._groups: deque[tuple[int, list[Entry], int]] = deque()
        self._size = 0

    def add(self, first: int, entries: list[Entry], size: int) -> None:
        """Keep what follows."""
        if entries:
            self._groups.append((first, entries, size))
            self._size += size
            while self._size > TAIL_BYTES:
                self._size -= self._groups.popleft()[2]

    def after(self, sequence: int) -> list[Entry]:
        """What is known of the events after this one, up to the newest."""
        return [entry for first, entries, _ in self._groups for entry in entries[max(0, sequence + 1 - first) :]]
