"""Starting and stopping runs: one at a time for each thread, in a task of the process that took the message.

The order is what makes it right: a run first claims its stream in Redis, then takes its thread in Postgres. So whoever
finds a run on a thread can ask the log whether it is alive, and the log knows.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self
from uuid import UUID, uuid4

import anyio
from anyio.abc import TaskGroup

from resumable_stream import (
    LogUnavailable,
    Status,
    StreamConsumer,
    StreamError,
    StreamEvent,
    StreamFailure,
    StreamProducer,
)
from resumable_stream.agent import Agent

from ._answer import TitleSlot, answer, where
from ._errors import RunActive, RunNotFound, RunsError, Unavailable
from ._liveness import PATIENCE, asking_redis
from ._run_store import Held, Repeated, RunStore
from ._settling import Settled, Settler
from ._thread_store import ThreadStore
from ._values import NewMessage, Run, stream_id_of

logger = logging.getLogger("resumable_stream.app")

_ATTEMPTS: Final = 5
_TITLE_TIMEOUT: Final = 30.0
_TITLE_LENGTH: Final = 200


class _Refused(Exception):
    """Ends a source that was not accepted; its stream is removed."""


@dataclass(slots=True)
class _Start:
    """What becomes of one attempt to start a run; written by the run's task, read by the request."""

    claimed: anyio.Event = field(default_factory=anyio.Event)
    decided: anyio.Event = field(default_factory=anyio.Event)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    outcome: Run | Repeated | Held | RunsError | None = None

    def decide(self, outcome: Run | Repeated | Held | RunsError) -> None:
        self.outcome = outcome
        self.claimed.set()
        self.decided.set()


class RunManager:
    """Owns the runs of this process.

    Entering gives it a task group; leaving it cancels the runs that are still active, which end as ``lost``. Call
    ``wait_idle`` first to let them finish.
    """

    def __init__(
        self,
        *,
        agent: Agent,
        producer: StreamProducer,
        consumer: StreamConsumer,
        runs: RunStore,
        threads: ThreadStore,
        settler: Settler,
    ) -> None:
        self._agent = agent
        self._producer = producer
        self._consumer = consumer
        self._runs = runs
        self._threads = threads
        self._settler = settler
        self._tasks: TaskGroup
        self._active = 0
        self._idle = anyio.Event()
        self._idle.set()

    async def __aenter__(self) -> Self:
        self._tasks = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tasks.cancel_scope.cancel()
        await self._tasks.__aexit__(kind, error, trace)

    async def wait_idle(self, *, seconds: float) -> bool:
        """Wait until no run of this process is active, at most so long. Returns whether that came."""
        with anyio.move_on_after(seconds):
            await self._idle.wait()
        return self._idle.is_set()

    async def start(self, message: NewMessage) -> Run:
        """Start the run that answers a message, or find the one that does already.

        The run does not depend on the caller: when this call is cancelled, the run goes on.

        Raises:
            RunActive: the thread is busy.
            ThreadNotFound: the thread is somebody else's, or deleted.
            IdempotencyMismatch: the key stands for another message.
            TooManyRuns: the owner has as many active runs as one may have.
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
        with asking_redis():
            return run if await self._producer.cancel(run.stream_id) else None

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
            message_id=str(uuid4()),
        )
        start = _Start()
        self._tasks.start_soon(self._perform, message, run, start, name=f"run {run_id}")
        with anyio.move_on_after(PATIENCE):
            await start.claimed.wait()
        if not start.claimed.is_set():
            start.scope.cancel()
            raise Unavailable("redis")
        await start.decided.wait()
        if isinstance(start.outcome, RunsError):
            raise start.outcome
        assert start.outcome is not None  # noqa: S101 - decide() sets both
        return start.outcome

    async def _perform(self, message: NewMessage, run: Run, start: _Start) -> None:
        """Claim, accept, answer, let go: the whole life of a run."""
        self._active += 1
        self._idle = anyio.Event() if self._idle.is_set() else self._idle
        try:
            with start.scope:
                await self._produce(message, run, start)
        finally:
            if not start.decided.is_set():
                start.decide(Unavailable("redis"))
            with anyio.CancelScope(shield=True):
                await self._finish(run, start)
            self._active -= 1
            if self._active == 0:
                self._idle.set()

    async def _produce(self, message: NewMessage, run: Run, start: _Start) -> None:
        source = self._source(message, run, start)
        try:
            await self._producer.run(run.stream_id, source, cancelled_as=Status.LOST)
        except _Refused:
            pass
        except StreamFailure as error:
            logger.warning("run %s failed: %s", run.id, error.code)
        except LogUnavailable as error:
            start.claimed.set()
            logger.warning("run %s: Redis was not available: %s", run.id, where(error))
        except StreamError as error:
            logger.warning("run %s was given up: %s", run.id, where(error))
        except Exception as error:  # noqa: BLE001 - one run that breaks must not take the others down
            logger.error("run %s broke: %s", run.id, where(error))

    async def _source(self, message: NewMessage, run: Run, start: _Start) -> AsyncGenerator[StreamEvent, None]:
        """What the stream is made of. It is first pulled when the stream is claimed: then the thread is taken."""
        start.claimed.set()
        try:
            outcome = await self._runs.accept(message, run)
        except RunsError as error:
            start.decide(error)
            raise _Refused from error
        start.decide(outcome)
        if not isinstance(outcome, Run):
            raise _Refused
        title = TitleSlot(expected=outcome.names_thread)
        if outcome.names_thread:
            self._tasks.start_soon(self._entitle, outcome, title, name=f"title {outcome.thread_id}")
        events = answer(self._agent, outcome, title=title, keep=self._settler.keep)
        try:
            async for event in events:
                yield event
        finally:
            await events.aclose()

    async def _finish(self, run: Run, start: _Start) -> None:
        """After the terminal event: let the thread go, or remove what must not stay."""
        try:
            if isinstance(start.outcome, Run):
                await self._settler.let_go(run)
                if await self._threads.is_deleted(run.thread_id):
                    # It was deleted while this process could not hear it; nothing of it may stay.
                    await self._agent.delete(str(run.thread_id))
            else:
                if isinstance(start.outcome, Unavailable):
                    await self._runs.retract(run)  # it may have been accepted, though nobody was told
                with asking_redis():
                    await self._producer.delete(run.stream_id)
        except Exception as error:  # noqa: BLE001 - the next message settles what is left
            logger.warning("run %s: not all was tidied up: %s", run.id, where(error))

    async def _entitle(self, run: Run, slot: TitleSlot) -> None:
        """Make a title of the thread's first message, and keep it unless the owner has named the thread."""
        title: str | None = None
        try:
            with anyio.fail_after(_TITLE_TIMEOUT):
                made = await self._agent.title(run.message)
            title = clean_title(made or "")
            if title is not None and not await self._threads.entitle(run.thread_id, title):
                title = None
        except Exception as error:  # noqa: BLE001 - a thread without a title is no failure
            title = None
            logger.warning("thread %s got no title: %s", run.thread_id, where(error))
        finally:
            slot.put(title)


def clean_title(text: str) -> str | None:
    """A model's title as one line of bounded length; ``None`` when nothing is left."""
    line = " ".join(text.replace("\0", " ").split()).encode("utf-8", "ignore").decode()
    return line[:_TITLE_LENGTH].strip() or None
