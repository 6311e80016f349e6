"""Viewers and the feeds that they share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import anyio

from ._errors import ConsumerClosed, LogUnavailable, StreamLost, StreamNotFound
from ._events import END, GAP, RESET, EventID, Status, StreamEvent
from ._fanout import ATTACH_TIMEOUT, LINGER, Feed
from ._links import backoff
from ._log import Log
from ._segment import Notice, Segment, Span
from ._waking import Alarm, Bells

IDLE: Final = Notice()
"""What a viewer gets when its deadline came before anything else."""


class Viewer:
    """One reader of one stream: a position in the stream's feed.

    Attributes:
        nothing_to_send: whether, when it was made, the stream had ended and the reader had all of it.
    """

    __slots__ = (
        "_alarm", "_bell", "_done", "_epoch", "_feed", "_generation", "_hub", "_position", "_reset", "nothing_to_send",
    )  # fmt: skip

    def __init__(self, hub: Hub, feed: Feed, after: EventID | None, *, placed: bool) -> None:
        self._hub = hub
        self._feed = feed
        self._epoch = feed.epoch
        self._generation, self._position = after if after is not None and placed else (0, 0)
        self._reset = not placed
        self._done = False
        self._alarm = Alarm()
        self._bell: tuple[asyncio.Event, Callable[[], object]] | None = None
        self.nothing_to_send = placed and after is not None and feed.final is None and feed.ended and after == feed.head

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._feed.leave(self._alarm)
        self._alarm.cancel()
        if self._bell is not None:
            self._hub.bells.discard(*self._bell)
        self._hub.detach(self._feed)

    def when_set(self, event: asyncio.Event, callback: Callable[[], object]) -> None:
        """Have a function called when the event is set, while the viewer is open; one for a viewer."""
        self._bell = (event, callback)
        self._hub.bells.add(event, callback)

    @property
    def _cursor(self) -> EventID | None:
        return EventID(self._generation, self._position) if self._position else None

    def _pass(self, segment: Segment) -> Span:
        """Move to the end of a segment that has the next event."""
        first = segment.first
        span = Span(segment, self._position + 1 - first, segment.next - first)
        self._position = segment.next - 1
        self._generation = segment.entries.generation
        self._done = segment.terminal
        return span

    async def advance(self, deadline: float | None = None) -> Span | None:
        """Wait for what comes next and move past it.

        Args:
            deadline: in the event loop's time; past it `IDLE` is returned.

        Returns:
            All that is ready and neighbouring, or ``None`` after the end. Nothing is lost by cancelling.
        """
        feed = self._feed
        attempt = 0
        while not self._done:
            if self._reset or self._epoch != feed.epoch:
                self._reset, self._epoch, self._position = False, feed.epoch, 0
                self._hub.counts.resets += 1
                return Notice(StreamEvent(RESET))
            sequence = self._position + 1
            segment = feed.window.find(sequence)
            if segment is None and sequence < feed.first:
                try:
                    segment = await feed.pages.get(self._position, self._cursor)
                except LogUnavailable:
                    pause = asyncio.get_running_loop().time() + backoff(attempt)
                    attempt += 1
                    await feed.wait(self._alarm, pause if deadline is None else min(pause, deadline))
                    if deadline is not None and asyncio.get_running_loop().time() >= deadline:
                        return IDLE
                    continue
                if self._epoch != feed.epoch:
                    continue
                if segment is not None and segment.first > sequence:
                    return self._skip_to(segment)
                if segment is None and feed.final is None:
                    if feed.vanished:
                        return self._after_the_log()
                    feed.kick()
            if segment is not None:
                return self._pass(segment)
            if feed.final is not None:
                self._done = True
                return Notice(feed.final)
            if feed.ended and feed.head is not None and self._position >= feed.head.sequence:
                break
            _raise_failure(feed)
            if not await feed.wait(self._alarm, deadline):
                return IDLE
        return None

    def _after_the_log(self) -> Span:
        """What a viewer gets whose next event went away with the log: the window behind a gap, or an end."""
        segment = self._feed.window.find(self._feed.first)
        if segment is not None:
            return self._skip_to(segment)
        self._done = True
        return Notice(StreamEvent(END, {"status": Status.LOST.value}))

    def _skip_to(self, segment: Segment) -> Span:
        missed = segment.first - 1 - self._position
        self._position = segment.first - 1
        self._generation = segment.entries.generation
        self._hub.counts.gap(missed)
        return Notice(StreamEvent(GAP, {"missed": missed}))


class Hub:
    """The feeds of a process. A feed outlives its last viewer by a few seconds, for those who come back."""

    def __init__(self, log: Log) -> None:
        self.bells = Bells()
        self.counts = log.counts
        self.counts.following.add(self)
        self._log = log
        self._feeds: dict[str, Feed] = {}
        self._lingering: dict[Feed, asyncio.TimerHandle] = {}
        self._retired: set[Feed] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def feeds(self) -> int:
        """How many streams are followed."""
        return len(self._all())

    @property
    def viewers(self) -> int:
        """How many viewers there are; those who are just coming count."""
        return sum(feed.viewers for feed in self._all())

    def _all(self) -> set[Feed]:
        return {*self._feeds.values(), *self._lingering, *self._retired}

    async def attach(self, stream_id: str, after: EventID | None, wait: float = 0.0) -> Viewer:
        """Begin to watch a stream after a cursor, or from its first event.

        Args:
            stream_id: the stream.
            after: the cursor.
            wait: seconds to wait for the stream to be claimed where it is not there yet.

        Raises:
            StreamNotFound: there is no such stream.
            LogUnavailable: nothing is known of the stream yet, and Redis did not answer within two seconds.
        """
        alarm = Alarm()
        patience = asyncio.get_running_loop().time() + wait
        feed, joined = self._join(stream_id, after, patience)
        try:
            while not await self._settle(feed, alarm, patience, joined=joined):
                if self._closed:
                    raise ConsumerClosed("the consumer was closed")
                self._retire(feed)
                self.detach(feed)
                feed, joined = self._join(stream_id, after, patience)
            _raise_failure(feed)
            placed = after is None or await feed.places(after)
            _raise_failure(feed)
            last = feed.peek.last if feed.peek is not None else None
            self.counts.attach(after if placed else None, feed.head, last)
            return Viewer(self, feed, after, placed=placed)
        except BaseException:
            self.detach(feed)
            raise
        finally:
            feed.leave(alarm)
            alarm.cancel()

    async def _settle(self, feed: Feed, alarm: Alarm, patience: float, *, joined: bool) -> bool:
        """Wait until a feed can serve somebody who comes; ``False`` when what it follows is not what is there now.

        Raises:
            StreamNotFound: there is no such stream.
            LogUnavailable: nothing is known of the stream yet, and Redis did not answer in time.
        """
        while True:
            was_ready = feed.ready.is_set()
            if joined and not await feed.is_current():
                return False
            while not feed.ready.is_set():
                now = asyncio.get_running_loop().time()
                if feed.missing and now >= patience:
                    raise StreamNotFound(feed.stream_id, "there is no such stream")
                if now >= patience + ATTACH_TIMEOUT:
                    raise LogUnavailable("Redis did not answer in time")
                await feed.wait(alarm, patience if feed.missing else patience + ATTACH_TIMEOUT)
            failed = feed.failure is not None and not isinstance(feed.failure, StreamNotFound)
            if was_ready or not joined or failed:
                return not feed.outdated
            # It may have got ready, or have found nothing, by an older look than ours.

    def _join(self, stream_id: str, after: EventID | None, patience: float) -> tuple[Feed, bool]:
        """One viewer more for the feed of a stream, and whether the feed was there before."""
        feed = self._feeds.get(stream_id)
        if feed is not None and (feed.vanished or feed.failure is not None):
            self._retire(feed)
            feed = None
        joined = feed is not None
        if feed is None:
            feed = self._feeds[stream_id] = Feed(self._log, stream_id, after)
        feed.viewers += 1
        feed.patience = max(feed.patience, patience)
        if (timer := self._lingering.pop(feed, None)) is not None:
            timer.cancel()
        return feed, joined

    def detach(self, feed: Feed) -> None:
        """One viewer less."""
        feed.viewers -= 1
        if feed.viewers > 0:
            return
        if feed in self._retired or feed.failure is not None or feed.vanished:
            self._retire(feed)
            self._close(feed)
        else:
            loop = asyncio.get_running_loop()
            self._lingering[feed] = loop.call_later(LINGER, self._expire, feed)

    def _expire(self, feed: Feed) -> None:
        del self._lingering[feed]
        self._retire(feed)
        self._close(feed)

    def _retire(self, feed: Feed) -> None:
        if self._feeds.get(feed.stream_id) is feed:
            del self._feeds[feed.stream_id]
        if feed.viewers > 0:
            self._retired.add(feed)

    def _close(self, feed: Feed) -> None:
        self._retired.discard(feed)
        task = asyncio.create_task(feed.aclose(), name="resumable_stream feed close")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Stop following everything; viewers that are still waiting get `ConsumerClosed`."""
        self._closed = True
        for timer in self._lingering.values():
            timer.cancel()
        feeds = self._all()
        self.counts.following.discard(self)
        self._feeds.clear()
        self._lingering.clear()
        self._retired.clear()
        with anyio.CancelScope(shield=True):
            for feed in feeds:
                await feed.aclose()
            if self._closing:
                await asyncio.wait(self._closing)


def _raise_failure(feed: Feed) -> None:
    """Raise why a feed cannot go on; each viewer gets an exception of its own."""
    failure = feed.failure
    if failure is None:
        return
    if isinstance(failure, StreamNotFound):
        raise StreamNotFound(feed.stream_id, str(failure))
    if isinstance(failure, ConsumerClosed):
        raise ConsumerClosed(str(failure))
    if isinstance(failure, LogUnavailable):
        raise LogUnavailable("Redis cannot be reached") from failure
    raise StreamLost(feed.stream_id, "what is in the log cannot be read") from failure
