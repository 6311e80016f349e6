"""Runs of this process: each claims its stream, answers, and lets its thread go.

A run is anybody's until its stream is claimed, and the log gives a claim to one process at a time. Where a process dies
or is told to end, another claims the stream and goes on from the agent's last checkpoint. What an attempt does in
Postgres carries its number, and is refused once there is a newer one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from types import TracebackType
from typing import Final
from uuid import UUID, uuid4

import anyio

from resumable_stream import (
    LogUnavailable,
    Status,
    StreamConsumer,
    StreamError,
    StreamEvent,
    StreamExists,
    StreamFailure,
    StreamFenced,
    StreamHandOver,
    StreamNotFound,
    StreamProducer,
)
from resumable_stream.agent import Agent
from resumable_stream.logs import get_logger

from ._answer import TitleSlot, answer, turn_of, where
from ._background import Background
from ._errors import RunsError, Unavailable
from ._liveness import PATIENCE, asking_memory, asking_redis
from ._observer import HANDED_OVER, TAKEN_OVER, AttemptObserver, Nobody, RunObserver
from ._run_store import Overtaken, RunStore
from ._settling import Settler
from ._thread_store import ThreadStore
from ._titles import Titles
from ._transcript import Transcript
from ._values import TEXT, Run, about_run

logger = get_logger("resumable_stream.app")

_EARLIER_SECONDS: Final = 10.0
_STORAGE_SECONDS: Final = 30.0
_FORGET_SECONDS: Final = 10.0


class _Outcome(Enum):
    """What an attempt came to.

    ``ENDED``: the stream has its end, or is gone. ``UNTOUCHED``: the agent was not asked, though the stream was ours.
    ``HANDED_OVER``: another process goes on. ``ELSEWHERE``: another process has the run.
    """

    ENDED = auto()
    UNTOUCHED = auto()
    HANDED_OVER = auto()
    ELSEWHERE = auto()


_STATUS: Final = {_Outcome.HANDED_OVER: HANDED_OVER, _Outcome.ELSEWHERE: TAKEN_OVER}
"""What an observer is told where it is not how the stream ended."""


class _Withdrawn(Exception):
    """The run does not hold its thread any more; nothing of it may stay."""


@dataclass(slots=True)
class _Attempt:
    """One attempt at a run; ``run`` has its number once it has begun. ``status`` and ``code`` tell how it ended.

    ``unkept``: what was said is not saved here. ``passed_on``: counted as handed over. ``fenced``: another process has
    the stream.
    """

    run: Run
    asked: bool = False
    unkept: bool = False
    passed_on: bool = False
    fenced: bool = False
    withdrawn: bool = False
    spoken: bool = False
    said: Transcript = field(default_factory=Transcript)
    observed: AttemptObserver | None = None
    status: str = Status.LOST.value
    code: str | None = None

    def fail(self, code: str) -> None:
        self.status, self.code = Status.FAILED.value, code

    def on_interrupt(self, error: Exception | None) -> None:
        self.fenced = isinstance(error, StreamFenced)


class Executor(Background):
    """Owns the runs of this process.

    They are at work while it is entered. Leaving it cancels what is still active: such runs are handed over, or end as
    ``lost`` where that cannot be. Call `drain` first to let them finish.

    Args:
        observer: watches what is done.
        max_attempts: how often a run is begun before it is lost, where its process died each time; see `attempts_of`.
            1 continues none.
        closing: once set, no more runs are begun here.

    Attributes:
        resumes: whether runs are continued where their processes die or end.
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
        max_attempts: int,
        closing: asyncio.Event,
        observer: RunObserver | None = None,
    ) -> None:
        self._agent = agent
        self._producer = producer
        self._consumer = consumer
        self._runs = runs
        self._threads = threads
        self._settler = settler
        self._observer: RunObserver = observer or Nobody()
        self._titles = Titles(agent=agent, threads=threads)
        self._max_attempts = max_attempts
        self.resumes = max_attempts > 1
        self._closing = closing
        self._draining = asyncio.Event()
        self._here: dict[UUID, anyio.Event] = {}
        self._idle = anyio.Event()
        self._idle.set()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._draining.set()
        await super().__aexit__(kind, error, trace)

    async def drain(self, *, grace: float, seconds: float) -> bool:
        """Let the runs of this process finish; after the grace, pass those on that can be continued elsewhere.

        Args:
            grace: seconds in which they go on as always.
            seconds: how long they may take after that to come to a step where nothing is lost.

        Returns:
            Whether none is left.
        """
        if await self.wait_idle(seconds=grace) or not self.resumes:
            return self._idle.is_set()
        self._draining.set()
        return await self.wait_idle(seconds=seconds)

    async def wait_idle(self, *, seconds: float) -> bool:
        """Wait until no run is at work here, at most so long. Returns whether that came."""
        with anyio.move_on_after(seconds):
            await self._idle.wait()
        return self._idle.is_set()

    def launch(self, run: Run) -> bool:
        """Execute a run in the background. Returns whether that began: not when it is here already, or all must end."""
        if run.id in self._here or self._closing.is_set():
            return False
        self._here[run.id] = anyio.Event()
        self._idle = anyio.Event() if self._idle.is_set() else self._idle
        self._tasks.start_soon(self._execute, run, name=f"run {run.id}")
        return True

    async def perform(self, run_id: UUID) -> None:
        """Execute a run and wait until this process is done with it. Cancelled, only the waiting ends."""
        run = await self._runs.load(run_id)
        if run is not None:
            self.launch(run)
        if (done := self._here.get(run_id)) is not None:
            await done.wait()

    async def _execute(self, run: Run) -> None:
        """Answer a run to its end, unless another process has it. Errors are logged, and told on the stream."""
        attempt, outcome = _Attempt(run), _Outcome.HANDED_OVER if self.resumes else _Outcome.ENDED
        try:
            with about_run(run):
                outcome = await self._produce(attempt)
        finally:
            if attempt.observed is not None:
                attempt.observed.end(_STATUS.get(outcome, attempt.status), attempt.code)
            with anyio.CancelScope(shield=True), about_run(run):
                await self._finish(attempt, outcome)
            self._here.pop(run.id).set()
            if not self._here:
                self._idle.set()

    async def _produce(self, attempt: _Attempt) -> _Outcome:
        """Claim the stream and write it. Cancelled, the run is handed over where it can be."""
        run = attempt.run
        ended_as = Status.ACTIVE if self.resumes else Status.LOST
        try:
            result = await self._producer.run(
                run.stream_id,
                self._source(attempt),
                existing=True,
                cancelled_as=ended_as,
                on_interrupt=attempt.on_interrupt,
            )
        except (StreamExists, StreamFenced):
            return _Outcome.ELSEWHERE
        except StreamNotFound:
            return _Outcome.UNTOUCHED
        except _Withdrawn:
            attempt.withdrawn = True
        except StreamFailure as error:
            attempt.fail(error.code)
            logger.warning("run %s failed: %s", run.id, error.code)
        except LogUnavailable as error:
            attempt.fail("log_unavailable")
            logger.warning("run %s: Redis was not available: %s", run.id, where(error))
        except StreamError as error:
            logger.warning("run %s was given up: %s", run.id, where(error))
        except Exception as error:  # noqa: BLE001 - one run that breaks must not take the others down
            attempt.fail("error")
            logger.error("run %s broke: %s", run.id, where(error))
        else:
            if result.status is Status.ACTIVE:
                return _Outcome.HANDED_OVER
            attempt.status = result.status.value
        return _Outcome.ENDED if attempt.asked else _Outcome.UNTOUCHED

    async def _source(self, attempt: _Attempt) -> AsyncGenerator[StreamEvent, None]:
        """What the stream is made of. It is first pulled when the stream is claimed."""
        run = await self._begin(attempt.run)
        if run is None:
            raise _Withdrawn
        attempt.run = run
        attempt.observed = self._observer.begin(run)
        attempt.observed.enter()
        try:
            if run.attempts - run.handovers > self._max_attempts:
                raise StreamFailure("attempts_exhausted", "The answer was broken off too often.")
            earlier = run.attempts > 1
            if earlier and await self._read_earlier(attempt) and not self.resumes:
                raise StreamFailure("not_resumable", "The answer was broken off and cannot be continued.")
            turn = replace(turn_of(run), guard=self._runs.fence(run))
            if self.resumes:
                turn = replace(turn, told=attempt.said.told if earlier else None, drain=self._draining)
            names = run.names_thread and bool(run.message)
            title = TitleSlot(expected=names)
            if names:
                self._tasks.start_soon(self._titles.make, run, title, name=f"title {run.thread_id}")
            attempt.asked = True
            spoken = attempt.observed.watch(self._agent.stream(turn), said=attempt.spoken)
            events = answer(spoken, said=attempt.said, title=title, broken_off=lambda: self._broken_off(attempt))
            async with aclosing(events):
                async for event in events:
                    yield event
        except StreamHandOver:
            await self._pass_on(attempt)
            raise

    async def _begin(self, run: Run) -> Run | None:
        """Have the attempt counted. The message is accepted, so Postgres is waited for.

        Raises:
            StreamHandOver: another process had the run in the meantime. Where the stream is ours all the same, whoever
                takes it next reads the run first.
        """
        token = uuid4()
        pause = 0.05
        with anyio.move_on_after(_STORAGE_SECONDS):
            while True:
                try:
                    begun = await self._runs.begin(run, token)
                except Unavailable:
                    await anyio.sleep(pause)
                    pause = min(2 * pause, 1.0)
                else:
                    if isinstance(begun, Overtaken):
                        raise StreamHandOver("another process has begun this run")
                    return begun
        raise StreamFailure(
            "storage_unavailable", "The conversation could not be loaded or saved. Try again in a moment."
        )

    async def _read_earlier(self, attempt: _Attempt) -> bool:
        """Add up what earlier attempts have written. Returns whether there was anything.

        Raises:
            StreamHandOver: that cannot be read now.
        """
        stream_id = attempt.run.stream_id
        try:
            with anyio.fail_after(_EARLIER_SECONDS):
                newest = (await self._consumer.status(stream_id)).last_id
                if newest is None:
                    return False
                async with aclosing(self._consumer.events(stream_id)) as events:
                    async for event in events:
                        attempt.said.add(event)
                        attempt.spoken |= event.type == TEXT
                        if event.id is not None and event.id >= newest:
                            break
        except (LogUnavailable, StreamError, TimeoutError) as error:
            logger.warning("run %s: earlier events cannot be read: %s", attempt.run.id, where(error))
            raise StreamHandOver from None
        return True

    async def _broken_off(self, attempt: _Attempt) -> None:
        """Keep what was said, unless another process goes on, or is about to."""
        if self.resumes and self._draining.is_set():
            await self._pass_on(attempt)
        elif not attempt.fenced:  # who has the stream now may not have told Postgres yet
            await self._settler.keep(attempt.run, attempt.said.text)

    async def _pass_on(self, attempt: _Attempt) -> None:
        """Note that the attempt is no crash, before its stream is let go: from then on others judge it by that.

        An agent that leaves off without being asked to is not to do that for ever.
        """
        attempt.unkept = True
        if not attempt.passed_on and (self._draining.is_set() or not attempt.asked):
            try:
                await self._runs.hand_over(attempt.run)
                attempt.passed_on = True
            except RunsError as error:
                logger.warning("run %s: that it is handed over was not counted: %s", attempt.run.id, where(error))

    async def _finish(self, attempt: _Attempt, outcome: _Outcome) -> None:
        """After the stream: let the thread go, or see to it that somebody does."""
        run = attempt.run
        try:
            if outcome is _Outcome.HANDED_OVER:
                if run.attempt:
                    await self._pass_on(attempt)
            elif attempt.withdrawn:
                with asking_redis():
                    await self._producer.delete(run.stream_id)
            elif outcome is _Outcome.UNTOUCHED or (outcome is _Outcome.ENDED and attempt.unkept):
                await self._settler.settle(run, patience=PATIENCE)
            elif outcome is _Outcome.ENDED:
                await self._settler.let_go(run)
            if attempt.asked and await self._threads.is_deleted(run.thread_id):
                # It was deleted while this process could not hear it; nothing of it may stay.
                with asking_memory(_FORGET_SECONDS):
                    await self._agent.delete(str(run.thread_id))
        except Exception as error:  # noqa: BLE001 - the next message, or the janitor, settles what is left
            logger.warning("run %s: not all was tidied up: %s", run.id, where(error))


def attempts_of(agent: Agent, wanted: int) -> int:
    """How often runs of this agent can be begun: once, where it cannot go on from where another process was."""
    return wanted if getattr(agent, "resumable", False) else 1
