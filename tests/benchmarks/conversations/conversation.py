"""One person's conversation: messages, answers, pauses, and what people do besides."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from benchmarks.conversations.exchange import Reply, call
from benchmarks.conversations.plan import Turn, turn_of
from benchmarks.conversations.viewer import Servers, Viewer

PATIENCE = 600.0
"""Seconds in which an answer has to be complete, whatever is killed meanwhile."""
_RETRY = 0.5


@dataclass(slots=True)
class Answer:
    """What became of one accepted message, as its clients saw it.

    Attributes:
        waited: seconds from the first attempt to post until the first text; ``None`` without any.
        viewers: of each viewer: its text, whether it saw the end, what it was told, ids in disorder.
        stopped: whether it was asked to stop.
        calm: the message was accepted at once, and no process died under its answer.
    """

    thread_id: str
    run_id: str
    prompt: str
    stopped: bool = False
    waited: float | None = None
    calm: bool = True
    viewers: list[dict[str, Any]] = field(default_factory=list)


class Conversation:
    """Goes on until its time is over, and through the answer that is then under way.

    Attributes:
        answers: one for each accepted message, in order.
        problems: what should never have been answered like that.
    """

    def __init__(self, seed: int, number: int, servers: Servers, counts: Counter[str], *, pause: float) -> None:
        self._seed = seed
        self._number = number
        self._servers = servers
        self._counts = counts
        self._pause = pause
        self._thread_id: str | None = None
        self.answers: list[Answer] = []
        self.problems: list[str] = []

    async def go_on(self, until: float) -> None:
        """Converse until a moment of ``time.monotonic``."""
        number = 0
        while time.monotonic() < until:
            turn = turn_of(self._seed, self._number, number)
            if number:
                await asyncio.sleep(min(turn.pause * self._pause, max(0.0, until - time.monotonic())))
            if number and time.monotonic() >= until:
                break
            await self._take(turn)
            number += 1

    async def _take(self, turn: Turn) -> None:
        began = time.monotonic()
        retried = self._counts["posts retried"]
        replies = await asyncio.gather(*[self._post(turn.prompt, turn.key) for _ in range(2 if turn.double else 1)])
        runs = {reply.json["run_id"] for reply in replies if reply is not None}
        if len(runs) != 1:
            self.problems.append(f"{turn.key}: one key, and {len(runs)} runs")
            return
        (reply, *_) = replies
        assert reply is not None
        self._thread_id = reply.json["thread_id"]
        answer = Answer(self._thread_id, reply.json["run_id"], turn.prompt)
        answer.calm = self._counts["posts retried"] == retried
        self.answers.append(answer)
        rival = await self._follow(turn, answer, began)
        if rival is not None:
            self.answers.append(rival)
            viewer = self._viewer(rival, by_run=True)
            await self._wait([viewer], rival, time.monotonic())

    async def _follow(self, turn: Turn, answer: Answer, began: float) -> Answer | None:
        """Follow an answer. Returns that of the rival message, where it was accepted."""
        beside: list[asyncio.Task[Answer | None]] = []
        first = self._viewer(answer, by_run=turn.by_run, drops=turn.drops)
        viewers = [first]
        if turn.second is not None:
            first.after(turn.second, lambda: viewers.append(self._viewer(answer, by_run=True)))
        if turn.stop is not None:
            first.after(turn.stop, lambda: beside.append(asyncio.create_task(self._stop(answer))))
        if (rival := turn.rival) is not None:
            first.after(2, lambda: beside.append(asyncio.create_task(self._intrude(rival, answer, turn.key))))
        await self._wait(viewers, answer, began)
        return next((one for one in await asyncio.gather(*beside) if one is not None), None)

    async def _wait(self, viewers: list[Viewer], answer: Answer, began: float) -> None:
        """Follow with all viewers; others may come while the first follows."""
        following: list[asyncio.Task[None]] = []
        try:
            async with asyncio.timeout(PATIENCE):
                while len(following) < len(viewers) or not following[0].done():
                    following += [asyncio.create_task(one.follow()) for one in viewers[len(following) :]]
                    await asyncio.wait(following, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.gather(*following)
        except TimeoutError:
            self.problems.append(f"run {answer.run_id}: no end within {PATIENCE:.0f} s")
        finally:
            for one in following:
                one.cancel()
        if viewers[0].first is not None:
            answer.waited = viewers[0].first - began
        answer.calm = answer.calm and not viewers[0].words["message_restarted"]
        answer.viewers = [
            {
                "text": viewer.text,
                "ended": viewer.ended,
                "words": dict(viewer.words),
                "disorder": viewer.disorder,
                "events": viewer.events,
            }
            for viewer in viewers
        ]

    def _viewer(self, answer: Answer, *, by_run: bool, drops: tuple[int, ...] = ()) -> Viewer:
        target = f"/v1/chat/stream?thread_id={answer.thread_id}" + (f"&run_id={answer.run_id}" if by_run else "")
        return Viewer(target, self._servers, self._counts, drops)

    async def _stop(self, answer: Answer) -> Answer | None:
        answer.stopped = True
        self._counts["stops"] += 1
        await self._call("/v1/chat/stop", {"thread_id": answer.thread_id, "run_id": answer.run_id})
        return None

    async def _intrude(self, prompt: str, answer: Answer, key: str) -> Answer | None:
        """Send a message to a busy thread: refused, unless the answer has just ended."""
        key = f"{key}-rival"
        body = {"message": prompt, "thread_id": answer.thread_id}
        reply = await self._call("/v1/chat/message", body, key=key, may_refuse=True)
        if reply is None or reply.status == 409:
            self._counts["rivals refused"] += 1
            return None
        return Answer(answer.thread_id, reply.json["run_id"], prompt, calm=False)

    async def _post(self, prompt: str, key: str) -> Reply | None:
        """Send a message until it is accepted, always with the same key."""
        self._counts["posts"] += 1
        body = {"message": prompt} | ({} if self._thread_id is None else {"thread_id": self._thread_id})
        return await self._call("/v1/chat/message", body, key=key)

    async def _call(self, path: str, body: Any, *, may_refuse: bool = False, key: str | None = None) -> Reply | None:
        """Call until there is an answer; ``None`` when there was none in time, or a wrong one."""
        headers = {} if key is None else {"Idempotency-Key": key}
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                reply = await call(self._servers.pick(), "POST", path, body=body, headers=headers)
            except OSError as error:
                self._counts[f"{path} {type(error).__name__}"] += 1
            else:
                if reply.status == 200 or (reply.status == 409 and may_refuse):
                    return reply
                self._counts[f"{path} {reply.status} {reply.code}"] += 1
                if reply.status != 503 or not reply.code:
                    self.problems.append(f"{path}: {reply.status} {reply.body[:200]!r}")
                    return None
            self._counts["posts retried"] += 1
            await asyncio.sleep(_RETRY)
        self.problems.append(f"{path}: not accepted within {PATIENCE:.0f} s")
        return None
