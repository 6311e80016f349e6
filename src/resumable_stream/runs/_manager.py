"""Accepting messages and stopping runs: one run at a time for each thread, whatever process executes it.

The order is what makes it right: a run's stream is reserved in Redis first, then the run takes its thread in Postgres.
So whoever finds a run on a thread can ask the log how it is; and once a run is accepted, somebody answers it: where
this process dies before it has passed the run on, the janitor of any other does that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID, uuid4

import anyio

from resumable_stream import StreamProducer
from resumable_stream.logs import get_logger

from ._answer import where
from ._background import Background
from ._errors import RunActive, RunNotFound, RunsError, Unavailable
from ._liveness import asking_redis
from ._observer import Nobody, RunObserver
from ._run_store import Held, Repeated, RunStore
from ._settling import Settled, Settler
from ._thread_store import ThreadStore
from ._values import NewMessage, Run, Strategy, about_run, stream_id_of

logger = get_logger("resumable_stream.app")

Dispatch = Callable[[Run], Awaitable[object]]
"""Has an accepted run executed, here or elsewhere."""

_ATTEMPTS: Final = 5
_STOP_SECONDS: Final = 15.0
"""How long a message that interrupts waits for the run before it to end: longer than the core lets a source close."""


@dataclass(slots=True)
class _Start:
    """What becomes of one attempt to start a run; written by a task of its own, read by the request."""

    decided: anyio.Event = field(default_factory=anyio.Event)
    outcome: Run | Repeated | Held | RunsError | None = None

    def decide(self, outcome: Run | Repeated | Held | RunsError) -> None:
        self.outcome = outcome
        self.decided.set()


class RunManager(Background):
    """Accepts messages and stops runs. What it began is finished in the background, while it is entered.

    Args:
        dispatch: has an accepted run executed.
        observer: hears of what is accepted.
        queue_seconds: how long an accepted run waits for a process before it is lost.
    """

    def __init__(
        self,
        *,
        dispatch: Dispatch,
        producer: StreamProducer,
        runs: RunStore,
        threads: ThreadStore,
        settler: Settler,
        queue_seconds: float,
        observer: RunObserver | None = None,
    ) -> None:
        self._dispatch = dispatch
        self._producer = producer
        self._runs = runs
        self._threads = threads
        self._settler = settler
        self._observer: RunObserver = observer or Nobody()
        self._queue_seconds = queue_seconds

    async def start(self, message: NewMessage) -> Run:
        """Start the run that answers a message, or find the one that does already.

        The run does not depend on the caller: when this call is cancelled, the run goes on.

        Raises:
            RunActive: the thread is busy; with ``Strategy.INTERRUPT``, its run did not end in time.
            ThreadNotFound: the thread is somebody else's, or deleted.
            TooManyRuns: the owner has as many active runs as they may.
            IdempotencyMismatch: the key stands for another message.
            Unavailable: Redis or Postgres cannot be reached. Whether a run has begun may be unknown: the same
                idempotency key tells.
        """
        for _ in range(_ATTEMPTS):
            if (known := await self._runs.by_key(message)) is not None:
                return known
            busy = await self._holder(message)
            if busy is not None and await self._settler.settle(busy) is not Settled.FREE:
                # The run may be this message's own, begun by a request that overtook this one.
                if (known := await self._runs.by_key(message)) is not None:
                    return known
                if message.strategy is not Strategy.INTERRUPT or not await self._end(busy):
                    raise RunActive(busy)
            outcome = await self._attempt(message)
            if isinstance(outcome, Run):
                return outcome
            if isinstance(outcome, Repeated):
                return outcome.run
        raise Unavailable("postgres")  # others were faster each time, and gone again each time

    async def newest(self, owner: str, thread_id: UUID | None) -> Run:
        """The newest run of a thread.

        Raises:
            RunNotFound: it has had none.
            ThreadNotFound: it is not there, or not the owner's.
        """
        runs = [] if thread_id is None else await self._runs.newest(owner, thread_id, limit=1)
        if not runs:
            raise RunNotFound
        return runs[0]

    async def stop(self, owner: str, thread_id: UUID, run_id: UUID | None) -> Run | None:
        """Ask the thread's active run to stop, wherever it runs; what it has said is kept.

        Args:
            owner: who asks.
            thread_id: their thread.
            run_id: stop only this run; ``None`` for whichever is active.

        Returns:
            The run that was asked; ``None`` when there was nothing to stop.

        Raises:
            ThreadNotFound: the thread is not there, or not the owner's.
            RunNotFound: the thread has no such run.
            Unavailable: Redis or Postgres cannot be reached.
        """
        thread = await self._threads.get(owner, thread_id)
        wanted = run_id or thread.active_run_id
        if wanted is None:
            return None
        run = await self._runs.get(owner, wanted)
        if run is None or run.thread_id != thread_id:
            raise RunNotFound
        if run.id != thread.active_run_id:
            return None
        return run if await self._ask_to_stop(run) else None

    async def _ask_to_stop(self, run: Run) -> bool:
        """Ask the run to stop. One that no process has is ended here: nobody else would hear it in time."""
        with asking_redis():
            asked = await self._producer.cancel(run.stream_id)
        if asked:
            await self._settler.settle(run, patience=0.0)
        return asked

    async def _end(self, run: Run) -> bool:
        """Stop a run and wait until it has let its thread go. Returns whether it has."""
        await self._ask_to_stop(run)
        pause = 0.02
        with anyio.move_on_after(_STOP_SECONDS):
            while await self._settler.settle(run, patience=0.0) is not Settled.FREE:
                await anyio.sleep(pause)
                pause = min(pause * 1.5, 0.25)
            return True
        return False

    async def _holder(self, message: NewMessage) -> Run | None:
        if message.thread_id is None:
            return None
        return await self._runs.holder(message.owner, message.thread_id)

    async def _attempt(self, message: NewMessage) -> Run | Repeated | Held:
        """Try once to start the run, in a task of its own."""
        run_id = uuid4()
        run = Run(
            id=run_id,
            number=0,
            thread_id=message.thread_id or uuid4(),
            owner=message.owner,
            stream_id=stream_id_of(run_id),
            message=message.text,
            message_id=message.after_id or str(uuid4()),
            answers=message.answers,
            trace=self._observer.trace(),
        )
        start = _Start()
        with about_run(run):
            self._tasks.start_soon(self._begin, message, run, start, name=f"begin {run_id}")
        await start.decided.wait()
        if isinstance(start.outcome, RunsError):
            raise start.outcome
        assert start.outcome is not None  # noqa: S101 - decide() sets both
        return start.outcome

    async def _begin(self, message: NewMessage, run: Run, start: _Start) -> None:
        """Reserve, accept, pass on; or leave nothing behind."""
        reserved = False
        outcome: Run | Repeated | Held | RunsError = Unavailable("redis")
        try:
            with asking_redis():
                await self._producer.reserve(run.stream_id, seconds=self._queue_seconds)
            reserved = True
            outcome = await self._runs.accept(message, run)
            if isinstance(outcome, Run):
                self._observer.on_accept()
        except RunsError as error:
            outcome = error
        finally:
            start.decide(outcome)
        try:
            if isinstance(outcome, Run):
                await self._dispatch(outcome)
            elif isinstance(outcome, Unavailable) and message.idempotency_key is not None:
                return  # it may have been accepted, and whoever asks again with the key may have been told so by now
            elif reserved:
                if isinstance(outcome, Unavailable) and not await self._runs.retract(run):
                    return  # it was accepted, though nobody was told, and somebody answers it
                with asking_redis():
                    await self._producer.delete(run.stream_id)
        except Exception as error:  # noqa: BLE001 - the janitor passes on what was accepted
            logger.warning("run %s: its beginning was not finished: %s", run.id, where(error))
