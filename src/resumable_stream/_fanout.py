"""One reader for a whole process: any number of viewers, one log read and one subscription a stream.

A `Feed` follows one stream: it subscribes, reads the log, and keeps a bounded window of events. What is delivered is
only ever the next sequence number. A notification that carries exactly that is used; any other means reading the log
from where the feed stands. A `Viewer` is a position in a feed; when the window has moved past it, it reads the log
again, a page at a time, and viewers who need the same page share it.
"""

from __future__ import annotations

import asyncio
import random
from typing import Final

import anyio

from ._entries import Entries
from ._errors import ConsumerClosed, LogUnavailable, StreamNotFound
from ._events import END, EventID, Status, StreamEvent
from ._glances import Glances
from ._links import backoff
from ._log import SWEEP, Log, Peek
from ._names import Names
from ._pages import Pages
from ._segment import cost_of
from ._waking import Alarm, settle
from ._window import Window
from .logs import about, get_logger

logger: Final = get_logger("resumable_stream")

PAGE: Final = 1000
FIRST_PAGE: Final = 100
PAGE_BYTES: Final = 1024 * 1024
LINGER: Final = 5.0
ATTACH_TIMEOUT: Final = 1.9


class Feed:
    """One stream, followed for as long as somebody watches it and a little longer.

    Attributes:
        window: the newest events.
        pages: older ones, read again for viewers who lag.
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
        self.window = Window()
        self._page = FIRST_PAGE
        self.pages = Pages(self._read)
        self._glances = Glances(log, self.names)
        self._asked: list[asyncio.Future[None]] = []
        self._waiters: set[asyncio.Future[bool]] = set()
        self._kick = asyncio.Event()
        self._subscribed = asyncio.Event()
        self._complete = False
        self._certain = 0.0
        self._unsubscribe = log.subscribe(self.names.channel, self)
        with about(stream_id=stream_id):
            self._task = asyncio.create_task(self._follow(), name="resumable_stream feed")
        self._task.add_done_callback(self._let_go)

    # What viewers ask.

    @property
    def ended(self) -> bool:
        """Whether nothing will follow what is known."""
        return self._complete or self.final is not None

    @property
    def first(self) -> int:
        """The sequence number of the first event in the window; of the one to come when it is empty."""
        if (first := self.window.first) is not None:
            return first
        return self.head.sequence + 1 if self.head is not None else 1

    def wait(self, alarm: Alarm, deadline: float | None) -> asyncio.Future[bool]:
        """Until there is something new; ``False`` when the deadline (in loop time) came first. Then `leave` it."""
        self.leave(alarm)
        waiter = alarm.set(deadline)
        self._waiters.add(waiter)
        return waiter

    def leave(self, alarm: Alarm) -> None:
        """Wait no more."""
        if alarm.waiter is not None:
            self._waiters.discard(alarm.waiter)

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

    async def is_current(self) -> bool:
        """Whether the stream that is there now is the one that is followed here, by a look that begins after the call.

        A feed may not have heard yet what the caller of a new viewer knows: that the stream was claimed, or claimed
        anew. Where Redis does not answer, what is known stands.
        """
        try:
            peek = await self._glances.take(ATTACH_TIMEOUT)
        except LogUnavailable:  # `_follow` meets it as well, and deals with it
            return True
        if isinstance(self.failure, StreamNotFound):  # as an older look than this one may have said
            return peek is None
        if peek is not None and not self.ready.is_set():
            self.missing = False
        elif peek is not None and peek.exists and not self._is_another(peek):
            return True
        self.kick()
        return not self.ready.is_set()

    @property
    def outdated(self) -> bool:
        """Whether the stream that was followed here is gone, beyond doubt; another one may have taken its place."""
        return self.vanished and self.peek is not None

    def _is_another(self, peek: Peek) -> bool:
        """Whether another stream of the same name has taken the place of the one that is followed here."""
        return self.peek is not None and 0 != self.peek.origin != peek.origin != 0

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
        segment = self.window.find(cursor.sequence)
        return segment is not None and segment.entries.generation == cursor.generation

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
        entries = self._log.messages.parse(payload)
        if isinstance(entries, EventID):
            self._on_sign_of_life(entries)
            return
        if entries is None or self.peek is None or not self.ready.is_set():
            self.kick()
            return
        head = self.head.sequence if self.head is not None else 0
        if entries.first + len(entries) - 1 <= head:
            return
        if entries.generation != self.peek.generation or entries.first > head + 1:
            self.kick()
            return
        if (news := entries.after(head)) is not None:
            self._append(news)
            self._certain = asyncio.get_running_loop().time()

    def _on_sign_of_life(self, due: EventID) -> None:
        """The producer has nothing to write; the id that comes next tells whether something is missing here."""
        head = self.head.sequence if self.head is not None else 0
        if self.peek is None or due.generation != self.peek.generation or due.sequence > head + 1:
            self.kick()
        elif due.sequence == head + 1:
            self._certain = asyncio.get_running_loop().time()

    # Following.

    async def _follow(self) -> None:
        with anyio.move_on_after(ATTACH_TIMEOUT / 2):
            await self._subscribed.wait()
        attempt = 0
        while self.failure is None and not self.vanished:
            kicked = self._kick.is_set()
            self._kick.clear()
            asked, self._asked = self._asked, []
            before = self._outlook()
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
                    settle(future, failure)
            if kicked or self._outlook() != before:  # what a look by the clock finds is news most rarely
                self._notify()
            if self.failure is None and not self.vanished:
                await self._rest(pause)
        self._unsubscribe()

    def _let_go(self, _: asyncio.Task[None]) -> None:
        for future in self._asked:  # there will be no other look
            settle(future, None)

    async def _rest(self, pause: float | None) -> None:
        """Wait until a look is asked for, or due: so long after the last one, or after the last message that fitted.

        Such a message says as much: all before it is here, and the producer was alive.
        """
        loop = asyncio.get_running_loop()
        self._certain = loop.time()
        while not self._kick.is_set():
            left = None if pause is None else self._certain + pause - loop.time()
            if left is not None and left <= 0:
                return
            with anyio.move_on_after(left):
                await self._kick.wait()

    def _outlook(self) -> tuple[object, ...]:
        """All that somebody who waits may be waiting for, but events: those tell of themselves."""
        return self.ready.is_set(), self.epoch, self.missing, self.vanished, self.ended, self.failure

    async def _sync(self) -> float | None:
        """Bring the window up to the log's head.

        Returns:
            Seconds until the next look; ``None`` after the end, when only a notification is worth one.
        """
        before = self.head  # notifications can be ahead of the answer; only what was known when asking must be in it
        peek = await self._log.peek(self.names)
        if peek is None or not peek.exists:
            return self._vanished(known=peek is not None)
        if self._is_another(peek):
            return self._vanished(known=True)
        if before is not None and peek.places(before) is False:
            self._start_over()
        elif self.peek is None and self._start is not None and peek.places(self._start) is True:
            self.head = self._start  # the first viewer has what is before
        self.peek = peek
        if peek.last is not None and not await self._catch_up(peek.last):
            return 0.05  # it went away, or changed hands, between two commands; look again
        self._complete = self._complete or (peek.end is not None and self.head == peek.last)
        self.ready.set()
        if self.ended:
            return None
        if not peek.lease_left:
            return min(SWEEP, await self._log.bury(self.names) or 0.0)
        # Spread: feeds that began together do not look together.
        return min(SWEEP * random.uniform(0.8, 1.0), peek.lease_left + 0.02)  # noqa: S311 - guards nothing

    async def _catch_up(self, last: EventID) -> bool:
        """Read up to an event; Redis works on a page while viewers get the one before. Says whether all was there."""
        reading: asyncio.Task[list[Entries]] | None = None
        try:
            while self.head is None or self.head < last:
                page = await (reading or self._read(self.head))
                if not page:
                    return False
                reading = None
                if page[-1].last < last:
                    reading = asyncio.create_task(self._read(page[-1].last), name="resumable_stream page")
                self._take(page)
                self.ready.set()
            return True
        finally:
            if reading is not None:
                reading.cancel()

    async def _read(self, cursor: EventID | None) -> list[Entries]:
        """A page of what this feed knows of: nothing of a claim that it has not looked at yet."""
        page = await self._log.read(self.names, after=cursor, count=self._page)
        if page:
            size = sum(map(cost_of, page)) / sum(map(len, page))
            self._page = max(1, min(PAGE, int(PAGE_BYTES / size)))
        newest = self.peek.generation if self.peek is not None else 0
        if page and newest and page[-1].generation > newest:
            self.kick()
            page = [entries for entries in page if entries.generation <= newest]
        return page

    def _vanished(self, *, known: bool) -> float | None:
        if not self.ready.is_set() and not known:
            raise StreamNotFound(self.stream_id, "there is no such stream")
        if not self._complete:
            self.final = StreamEvent(END, {"status": Status.LOST.value})
            self._log.counts.vanished += self.viewers > 0
        self.vanished = True
        self.ready.set()
        return None

    def _start_over(self) -> None:
        """What was delivered is not in the log (a failover lost it): everybody reads again from the start."""
        self.epoch += 1
        self.head = self._start = None
        self._complete = False
        self.window.forget()
        self.pages.forget()

    def _take(self, page: list[Entries]) -> None:
        """Add a page of the log. Where events are missing in it the window starts anew: viewers see a gap there."""
        for entries in page:
            if self.head is not None and entries.last <= self.head:
                continue
            # The two can overlap: notifications come in while a page is on its way.
            head = self.head.sequence if self.head is not None else 0
            news = (
                entries.after(head) if self.head is not None and entries.generation == self.head.generation else entries
            )
            if news is None:
                continue
            if news.first != head + 1:
                self.window.forget()
            self._append(news)

    def _append(self, entries: Entries) -> None:
        """Add the entries that follow the head."""
        self.head = entries.last
        self._complete = entries.terminal
        self.window.append(entries)
        self._notify()

    def _notify(self) -> None:
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(True)

    def _fail(self, exc: Exception) -> None:
        self.failure = exc
        self.ready.set()
        self._unsubscribe()
        self._notify()

    async def aclose(self) -> None:
        """Stop following. Viewers that are still waiting get `ConsumerClosed`."""
        if self.failure is None:
            self.failure = ConsumerClosed("the consumer was closed")
        self.ready.set()
        self._notify()
        self._unsubscribe()
        tasks = [self._task, *self._glances.tasks, *self.pages.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
