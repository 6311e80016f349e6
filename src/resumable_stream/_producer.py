"""`StreamProducer`: drains an async iterator into a stream that outlives connections, readers and this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import anyio
from redis.asyncio import Redis, RedisCluster

from ._committer import Committer
from ._counts import Counts
from ._ending import conclude, to_the_end
from ._errors import LogUnavailable, StreamError, StreamExists
from ._events import EventID, Status, StreamEvent
from ._log import RETENTION, Claim, Log
from ._names import Names
from ._options import WriterOptions
from ._waiting import wait_for_end
from ._writer import StreamWriter, put
from .logs import get_logger

logger: Final = get_logger("resumable_stream")

Source = (
    AsyncIterable[str | bytes | StreamEvent] | AsyncIterable[str] | AsyncIterable[bytes] | AsyncIterable[StreamEvent]
)


@dataclass(frozen=True, slots=True)
class StreamResult:
    """How a run ended.

    Attributes:
        status: ``completed`` or ``cancelled``; ``active`` when the source handed over; or what another producer's run
            came to when attached.
        last_id: the id of the last event.
        attached: whether the stream was another producer's.
    """

    status: Status
    last_id: EventID | None
    attached: bool = False


class StreamProducer:
    """Writes streams. One is enough for a process; it may be used bare, or inside ``async with``.

    Inside ``async with`` all its streams share two connections (in a cluster: to each node that has some); bare,
    connections live while a stream is open or a call is under way. Either way the client's own pool is never used, and
    the client is never closed.

    Args:
        redis: a ``redis.asyncio.Redis`` or ``RedisCluster`` with any settings; its addresses and credentials are
            what is used.
        lease: seconds without a sign of life after which a producer counts as dead. It gives one every third of that.
        retention: seconds that a stream can be read after its end.
        flush_interval: seconds for which text is gathered into one event. 0 keeps each token an event of its own;
            0.02 saves most of the memory. The first token of a stream is never held back.
        buffer_bytes: how much may wait for Redis before the source is no longer pulled.
        outage_timeout: seconds without Redis after which a run gives up and ends ``failed``.
        max_events: keep only about the newest so many events of a stream; readers that need older ones get a ``gap``.
            ``None`` keeps all.
        replicas: how many replicas must have an event before it counts as written (`WAIT`). Fewer are like an outage of
            Redis. Readers may see an event before.
        takeover: seconds that a stream waits for another producer, after this one has died or let it go. A claim in
            that time goes on with the stream after an event ``restarted``; without one it ends as ``lost``. 0 ends it
            as soon as its producer is known to be dead.
    """

    def __init__(
        self,
        redis: Redis | RedisCluster,
        *,
        lease: float = 10.0,
        retention: float = RETENTION,
        flush_interval: float = 0.0,
        buffer_bytes: int = 1024 * 1024,
        outage_timeout: float = 30.0,
        max_events: int | None = None,
        replicas: int = 0,
        takeover: float = 0.0,
    ) -> None:
        if lease < 0.1 or retention < 1 or min(flush_interval, outage_timeout, takeover) < 0 or buffer_bytes < 1:
            raise ValueError("lease >= 0.1, retention >= 1, the other times and sizes are not negative")
        if max_events is not None and max_events < 1:
            raise ValueError("max_events is at least 1, or None")
        if replicas < 0:
            raise ValueError("replicas is not negative")
        self._log = Log(redis)
        self._options = WriterOptions(
            lease=lease,
            retention=retention,
            flush_interval=flush_interval,
            buffer_bytes=buffer_bytes,
            outage_timeout=outage_timeout,
            max_events=max_events,
            replicas=replicas,
            takeover=takeover,
        )

    @property
    def counts(self) -> Counts:
        """What was done so far, in numbers; `resumable_stream.telemetry` gives them names."""
        return self._log.counts

    async def __aenter__(self) -> Self:
        await self._log.__aenter__()
        self._log.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._log.__aexit__(kind, exc, tb)

    @contextlib.asynccontextmanager
    async def open(self, stream_id: str) -> AsyncIterator[StreamWriter]:
        """Claim a stream and send into it; leaving the block writes the terminal event.

        The status is ``completed`` after the block's last line, ``failed`` after an exception, ``cancelled`` when
        the block was cancelled or somebody called `cancel`. A `cancel` from elsewhere, or a stream that can no longer
        be written, cancels what the block is waiting for; after a `cancel` the code behind the block goes on, and
        finds ``stream.status`` cancelled. An async generator that has the block inside must be closed where it was
        iterated (``contextlib.aclosing``).

        Raises:
            StreamExists: the stream has a living producer, or has ended.
            StreamIDError: the id is not acceptable.
            StreamFenced, StreamLost: another claim took the stream, or it vanished.
            LogUnavailable: Redis cannot be reached, or was away longer than the outage timeout.
        """
        async with self._claimed(stream_id) as committer:
            scope = anyio.CancelScope()
            try:
                with scope:
                    committer.on_interrupt(scope.cancel)
                    yield StreamWriter(committer)
            except BaseException as exc:
                stopped = committer.stop_requested and scope.cancel_called
                await to_the_end(conclude(committer, exc, stopped=stopped))
                raise
            stopped = committer.stop_requested and scope.cancelled_caught
            if (error := await to_the_end(conclude(committer, None, stopped=stopped))) is not None:
                raise error

    async def run(
        self,
        stream_id: str,
        source: Source,
        *,
        attach: bool = False,
        existing: bool = False,
        cancelled_as: Status = Status.CANCELLED,
        on_interrupt: Callable[[Exception | None], object] | None = None,
    ) -> StreamResult:
        """Drain a source into a new stream, to its end.

        The source is iterated and closed in a task of its own, so a stop cancels it once, as ``task.cancel()``
        does. It is closed (``aclose``) before the terminal event is written: what its ``finally`` saves is there when
        a reader sees the end. Text that is a ``str`` or ``bytes`` becomes ``text`` events.

        Args:
            stream_id: the stream; it must be new, reserved, or left behind by a producer that died or handed over.
            source: any async iterable. Its errors end the stream as ``failed``; a `StreamFailure` says how. A
                `StreamHandOver` writes no end: the stream waits for another producer.
            attach: when somebody produces the stream already, or has, wait for its end and report that instead. The
                source is closed unused.
            existing: make no new stream.
            cancelled_as: how the stream ends when this call is cancelled from outside: ``cancelled`` or ``lost``;
                ``active`` hands it over.
            on_interrupt: called before the source is cancelled because somebody called `cancel` (with ``None``), or
                because the stream can no longer be written (with the error that this call will raise).

        Raises:
            StreamNotFound: with ``existing``, when the stream is not there.
            StreamExists: without ``attach``, when the stream has a living producer or has ended.
            StreamFenced, StreamLost, LogUnavailable: the stream could not be written to its end.
            BaseException: whatever the source raised, after the terminal event is written.
        """
        if not hasattr(source, "__aiter__"):
            raise TypeError("a source is an async iterable, such as what an async generator function returns")
        async with contextlib.AsyncExitStack() as stack:
            try:
                committer = await stack.enter_async_context(
                    self._claimed(stream_id, existing=existing or None, abandoned_as=cancelled_as)
                )
            except BaseException as exc:
                await _close(source)
                if attach and isinstance(exc, StreamExists):
                    status, last_id = await wait_for_end(self._log, stream_id)
                    return StreamResult(status, last_id, attached=True)
                raise
            interrupted = asyncio.Event()
            task = asyncio.create_task(_drain(source, committer), name="resumable_stream source")
            committer.on_interrupt(interrupted.set)
            try:
                await _first_of(task, interrupted)
                if on_interrupt is not None and interrupted.is_set():
                    on_interrupt(committer.error)
            except asyncio.CancelledError as exc:
                await to_the_end(conclude(committer, exc, task, cancelled_as=cancelled_as))
                raise
            error = await to_the_end(conclude(committer, None, task, stopped=committer.stop_requested))
            if error is not None:
                raise error
            return StreamResult(committer.status, committer.last_id)

    async def reserve(self, stream_id: str, *, seconds: float) -> None:
        """Make a stream that has no producer yet, so that it can be read and cancelled before it begins.

        `run` and `open` take it, from any process. When none has after so many seconds it ends as ``lost``.

        Raises:
            StreamExists: there is such a stream.
            LogUnavailable: Redis cannot be reached.
        """
        names = Names.of(stream_id)
        async with self._log as log:
            await log.claim(
                names,
                stream_id=stream_id,
                lease=0.0,
                retention=self._options.retention,
                takeover=seconds,
                existing=False,
            )

    async def cancel(self, stream_id: str) -> bool:
        """Ask a stream to stop, from any process. Its producer closes the source and ends it as ``cancelled``.

        The wish is kept in Redis: it is acted upon at once where the notification arrives, and at the next sign of
        life otherwise. Asking twice, or after the end, changes nothing.

        Returns:
            Whether there was something to stop: ``False`` when the stream has ended or does not exist.

        Raises:
            LogUnavailable: Redis cannot be reached.
        """
        names = Names.of(stream_id)
        async with self._log as log:
            return await log.cancel(names)

    async def end(self, stream_id: str, status: Status) -> bool:
        """End a stream that has no producer and waits for one, as ``cancelled`` or ``lost``.

        Returns:
            Whether it is ended: ``False`` when it has a producer, or may still have one.

        Raises:
            LogUnavailable: Redis cannot be reached.
        """
        if not status.ended:
            raise ValueError("a stream ends with a status other than active")
        names = Names.of(stream_id)
        async with self._log as log:
            return await log.bury(names, status, at_once=True) is None

    async def delete(self, stream_id: str) -> bool:
        """Remove a stream at once. Its readers get an end ``lost``.

        A producer that is writing it gets `StreamLost`, or `StreamFenced` when the id has been claimed again before it
        writes.

        Returns:
            Whether there was one.

        Raises:
            LogUnavailable: Redis cannot be reached.
        """
        names = Names.of(stream_id)
        async with self._log as log:
            return await log.delete(names)

    @contextlib.asynccontextmanager
    async def _claimed(
        self, stream_id: str, *, existing: bool | None = None, abandoned_as: Status = Status.CANCELLED
    ) -> AsyncIterator[Committer]:
        names = Names.of(stream_id)
        options = self._options
        async with self._log as log:
            claiming = asyncio.create_task(
                log.claim(
                    names,
                    stream_id=stream_id,
                    lease=options.lease,
                    retention=options.retention,
                    takeover=options.takeover,
                    existing=existing,
                )
            )
            try:
                claim = await asyncio.shield(claiming)
            except asyncio.CancelledError:
                await to_the_end(self._abandon(log, names, stream_id, claiming, abandoned_as))
                raise
            committer = Committer(log, names, stream_id, claim, options)
            committer.start()
            try:
                yield committer
            finally:
                with anyio.CancelScope(shield=True):
                    await committer.aclose()

    async def _abandon(
        self, log: Log, names: Names, stream_id: str, claiming: asyncio.Task[Claim], status: Status
    ) -> None:
        """End a stream whose claim was cancelled while it was under way: nobody would write it."""
        try:
            claim = await claiming
        except (StreamError, LogUnavailable):
            return
        committer = Committer(log, names, stream_id, claim, self._options)
        committer.start()
        try:
            await committer.finish(status, {})
        except (StreamError, LogUnavailable) as error:
            logger.warning("stream %s: its end was not written: %s", stream_id, error, extra={"stream_id": stream_id})
        finally:
            await committer.aclose()


async def _drain(source: Source, committer: Committer) -> BaseException | None:
    """Send all of a source and close it. What goes wrong is returned: a task must not raise ``SystemExit``."""
    try:
        iterator = aiter(source)
        try:
            if not committer.stop_requested:
                async for item in iterator:  # `StreamWriter.send`, without a coroutine for each token
                    if not committer.ready:
                        await committer.reserve()
                    put(committer, item)
        finally:
            await _close(iterator)
            if source is not iterator:
                await _close(source)
    except BaseException as exc:  # noqa: BLE001 - handed to the caller of run(), who raises it
        return exc
    return None


async def _close(source: object) -> None:
    aclose = getattr(source, "aclose", None)
    if aclose is not None:
        await aclose()


async def _first_of(task: asyncio.Task[Any], interrupted: asyncio.Event) -> None:
    """Wait until the source is at its end, or should be."""
    waiter = asyncio.create_task(interrupted.wait(), name="resumable_stream interrupt")
    try:
        await asyncio.wait([task, waiter], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiter.cancel()
