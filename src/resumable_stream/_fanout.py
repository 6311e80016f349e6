"""One reader for a whole process: any number of viewers, one log read and one subscription a stream.

A `Feed` follows one stream: it subscribes, reads the log, and keeps a bounded window of events. What is delivered is
only ever the next sequence number. A notification that carries exactly that is used; any other means reading the log
from where the feed stands. A `Viewer` is a position in a feed; when the window has moved past it, it reads the log
again, a page at a time, and viewers who need the same page share it.
"""

from __future__ import annotations

import asyncio
import bisect
import logging
from typing import Final

import anyio

from ._errors import ConsumerClosed, LogUnavailable, StreamNotFound
from ._events import END, EventID, Status, StreamEvent
from ._links import backoff
from ._log import SWEEP, Log, Names, Peek, parse_message
from ._segment import Segment, cost_of

logger: Final = logging.getLogger("resumable_stream")

WINDOW_BYTES: Final = 8 * 1024 * 1024
PAGE: Final = 1000
FIRST_PAGE: Final = 100
PAGE_BYTES: Final = 1024 * 1024
SEGMENT: Final = 512
SEGMENT_BYTES: Final = 256 * 1024
COLD_PAGES: Final = 8
LINGER: Final = 5.0
ATTACH_TIMEOUT: Final = 1.9


class Feed:
    """One stream, followed for as long as somebody watches it and a little longer.

    Attributes:
        epoch: grows when what was delivered turned out not to be in the log any more; viewers start over.
        head: the last event that is known; ``None`` before the first.
        final: an end that stands in no log, for a stream that vanished before it had one.
        patience: until when (in loop time) a stream that is not there may still be claimed.
        missing: whether the stream was looked for and was not there.
        vanished: whether the stream was seen to be gone; the feed serves those who watch it, and nobody else.
    """

    def __init__(self, log: Log, stream_id: str, start: EventID | None) -> None:
        self.stream_id = stream_id
        self.names = Names.of(stream_id)
        self.epoch = 0
        self.head: EventID | None = None
        self.final: StreamEvent | None = None
        self.patience = 0.0
        self.missing = False
        self.vanished = False
        self.viewers = 0
        self.peek: Peek | None = None
        self.failure: Exception | None = None
        self.ready = asyncio.Event()
        self._log = log
        self._start = start
        self._segments: list[Segment] = []
        self._cost = 0
        self._page = FIRST_PAGE
        self._cold: dict[int, asyncio.Task[Segment]] = {}
        self._pages: set[asyncio.Task[Segment]] = set()
        self._asked: list[asyncio.Future[None]] = []
        self._waiters: set[asyncio.Future[None]] = set()
        self._kick = asyncio.Event()
        self._subscribed = asyncio.Event()
        self._complete = False
        self._unsubscribe = log.subscribe(self.names.channel, self)
        self._task = asyncio.create_task(self._follow(), name="resumable_stream feed")

    # What viewers ask.

    @property
    def ended(self) -> bool:
        """Whether nothing will follow what is known."""
        return self._complete or self.final is not None

    @property
    def first(self) -> int:
        """The sequence number of the first event in the window; of the one to come when it is empty."""
        if self._segments:
            return self._segments[0].first
        return self.head.sequence + 1 if self.head is not None else 1

    def find(self, sequence: int) -> Segment | None:
        """The segment of the window that has an event."""
        segments = self._segments
        if not segments or sequence >= segments[-1].next or sequence < segments[0].first:
            return None
        if sequence >= segments[-1].first:
            return segments[-1]
        return segments[bisect.bisect_right(segments, sequence, key=lambda s: s.first) - 1]

    async def wait(self, deadline: float | None) -> bool:
        """Wait until there is something new; ``False`` when the deadline (in loop time) came first."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.add(waiter)
        timer = loop.call_at(deadline, _resolve, waiter) if deadline is not None else None
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)
            if timer is not None:
                timer.cancel()
        return deadline is None or loop.time() < deadline

    async def page(self, position: int, cursor: EventID | None) -> Segment:
        """The events after a position that the window has left, from the log; may be empty.

        Raises:
            LogUnavailable: Redis cannot be reached.
            ConsumerClosed: the feed was closed meanwhile.
        """
        task = self._cold.get(position)
        if task is None:
            task = asyncio.create_task(self._read_page(cursor), name="resumable_stream page")
            self._pages.add(task)
            task.add_done_callback(self._pages.discard)
            self._cold[position] = task
            while len(self._cold) > COLD_PAGES:
                del self._cold[next(iter(self._cold))]
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError as exc:
            if task.cancelled():  # by `aclose`: nobody has cancelled this reader
                raise ConsumerClosed("the consumer was closed") from exc
            raise
        finally:
            if self._cold.get(position) is task and not _worth_keeping(task):
                del self._cold[position]

    async def refresh(self) -> None:
        """Look at the log now.

        Raises:
            LogUnavailable: that failed, or took too long.
        """
        asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked.append(asked)
        self.kick()
        with anyio.move_on_after(ATTACH_TIMEOUT):
            await asked
            return
        raise LogUnavailable("Redis did not answer in time")

    async def places(self, cursor: EventID) -> bool:
        """Whether a viewer who has the cursor can go on from it.

        Raises:
            LogUnavailable: that cannot be told now.
        """
        if self._knows(cursor):
            return True
        if not self.vanished:
            await self.refresh()
        if self.peek is not None and self.peek.places(cursor) is None:
            return await self._log.holds(self.names, cursor)
        return self._knows(cursor)

    def _knows(self, cursor: EventID) -> bool:
        return (self.peek is not None and self.peek.places(cursor) is True) or self._delivered(cursor)

    def _delivered(self, cursor: EventID) -> bool:
        """Whether the cursor is in the window: it may be newer than the last look at the log."""
        segment = self.find(cursor.sequence)
        return segment is not None and segment.events[cursor.sequence - segment.first].id == cursor

    def kick(self) -> None:
        """Have the log looked at soon."""
        self._kick.set()

    # What the subscription says.

    def on_subscribed(self) -> None:
        """Messages may have been missed."""
        self._subscribed.set()
        self.kick()

    def on_message(self, payload: bytes) -> None:
        """Take the events when they are exactly what comes next, else look at the log."""
        try:
            events = parse_message(payload)
        except Exception:  # noqa: BLE001 - whatever a stranger may have published: the log knows better
            events = None
        if not events or self.peek is None or not self.ready.is_set():
            self.kick()
            return
        head = self.head.sequence if self.head is not None else 0
        first, last = events[0].id, events[-1].id
        if first is None or last is None or last.sequence <= head:
            return
        if first.generation != self.peek.generation or first.sequence > head + 1:
            self.kick()
            return
        self._append(events[head + 1 - first.sequence :])

    # Following.

    async def _follow(self) -> None:
        with anyio.move_on_after(ATTACH_TIMEOUT / 2):
            await self._subscribed.wait()
        attempt = 0
        while self.failure is None and not self.vanished:
            self._kick.clear()
            asked, self._asked = self._asked, []
            failure: LogUnavailable | None = None
            pause: float | None = None
            try:
                pause = await self._sync()
                self.missing, attempt = False, 0
            except LogUnavailable as exc:
                if not self.ready.is_set():
                    self._fail(exc)
                failure, pause = exc, backoff(attempt)
                attempt += 1
            except StreamNotFound as exc:
                self.missing = True
                pause = min(SWEEP, self.patience - asyncio.get_running_loop().time())
                if pause <= 0:
                    self._fail(exc)
            except Exception as exc:
                logger.exception("stream %s cannot be read", self.stream_id)
                self._fail(exc)
            finally:
                for future in asked:
                    _settle(future, failure)
            self._notify()
            if self.failure is None and not self.vanished:
                with anyio.move_on_after(pause):
                    await self._kick.wait()
        self._unsubscribe()

    async def _sync(self) -> float | None:
        """Bring the window up to the log's head.

        Returns:
            Seconds until the next look; ``None`` after the end, when only a notification is worth one.
        """
        before = self.head  # notifications can be ahead of the answer; only what was known when asking must be in it
        peek = await self._log.peek(self.names)
        if peek is None or not peek.exists:
            return self._vanished(known=peek is not None)
        if self.peek is not None and self.peek.origin and peek.origin and self.peek.origin != peek.origin:
            return self._vanished(known=True)  # another stream of the same name has taken its place
        if before is not None and peek.places(before) is False:
            self._start_over()
        elif self.peek is None and self._start is not None and peek.places(self._start) is True:
            self.head = self._start  # the first viewer has what is before
        self.peek = peek
        while peek.last is not None and (self.head is None or self.head < peek.last):
            page = await self._read(self.head)
            if not page:
                return 0.05  # it went away, or changed hands, between two commands; look again
            self._take(page)
            self.ready.set()
        self._complete = self._complete or (peek.end is not None and self.head == peek.last)
        self.ready.set()
        if self.ended:
            return None
        if not peek.lease_left:
            return await self._log.bury(self.names) or 0.0
        return min(SWEEP, peek.lease_left + 0.02)

    async def _read(self, cursor: EventID | None) -> list[StreamEvent]:
        """A page of what this feed knows of: nothing of a claim that it has not looked at yet."""
        page = await self._log.read(self.names, after=cursor, count=self._page)
        if page:
            size = sum(map(cost_of, page)) / len(page)
            self._page = max(1, min(PAGE, int(PAGE_BYTES / size)))
        newest = self.peek.generation if self.peek is not None else 0
        if page and newest and page[-1].id is not None and page[-1].id.generation > newest:
            self.kick()
            page = [event for event in page if event.id is not None and event.id.generation <= newest]
        return page

    def _vanished(self, *, known: bool) -> float | None:
        if not self.ready.is_set() and not known:
            raise StreamNotFound(self.stream_id, "there is no such stream")
        if not self._complete:
            self.final = StreamEvent(END, {"status": Status.LOST.value})
        self.vanished = True
        self.ready.set()
        return None

    def _start_over(self) -> None:
        """What was delivered is not in the log (a failover lost it): everybody reads again from the start."""
        self.epoch += 1
        self.head = self._start = None
        self._complete = False
        self._forget()
        self._cold.clear()

    def _take(self, page: list[StreamEvent]) -> None:
        """Add a page of the log. Where events are missing in it the window starts anew: viewers see a gap there."""
        run: list[StreamEvent] = []
        for event in page:
            if event.id is None or (self.head is not None and event.id <= self.head):
                continue
            before = run[-1].id if run else self.head
            if event.id.sequence != (before.sequence + 1 if before is not None else 1):
                if run:
                    self._append(run)
                run = []
                self._forget()
            run.append(event)
        if run:
            self._append(run)

    def _append(self, events: list[StreamEvent]) -> None:
        """Add the events that follow the head."""
        for event in events:
            tail = self._segments[-1] if self._segments else None
            if tail is None or len(tail.events) >= SEGMENT or tail.cost >= SEGMENT_BYTES:
                tail = Segment(event.id.sequence if event.id is not None else 0)
                self._segments.append(tail)
            self._cost += tail.add(event)
        self.head = events[-1].id
        self._complete = events[-1].terminal
        while len(self._segments) > 1 and self._cost > WINDOW_BYTES:
            self._cost -= self._segments.pop(0).cost
        self._notify()

    def _forget(self) -> None:
        self._segments.clear()
        self._cost = 0

    def _notify(self) -> None:
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            _resolve(waiter)

    def _fail(self, exc: Exception) -> None:
        self.failure = exc
        self.ready.set()
        self._unsubscribe()
        self._notify()

    async def _read_page(self, cursor: EventID | None) -> Segment:
        segment = Segment(0)
        for event in await self._read(cursor):
            if event.id is None:
                continue
            if not segment.events:
                segment.first = event.id.sequence
            elif event.id.sequence != segment.next:
                break  # a hole: only what is before it belongs together
            segment.add(event)
        return segment

    async def aclose(self) -> None:
        """Stop following. Viewers that are still waiting get `ConsumerClosed`."""
        if self.failure is None:
            self.failure = ConsumerClosed("the consumer was closed")
        self.ready.set()
        self._notify()
        self._unsubscribe()
        tasks = [self._task, *self._pages]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _worth_keeping(task: asyncio.Task[Segment]) -> bool:
    """Whether a page that is being read, or was, may serve other viewers."""
    if not task.done():
        return True
    return not task.cancelled() and task.exception() is None and bool(task.result().events)


def _settle(future: asyncio.Future[None], failure: LogUnavailable | None) -> None:
    if future.done():
        return
    if failure is None:
        future.set_result(None)
    else:
        error = LogUnavailable("Redis cannot be reached")
        error.__cause__ = failure
        future.set_exception(error)


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
