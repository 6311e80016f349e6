"""Compares what was accepted with what the threads hold and what the viewers saw."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from benchmarks.conversations.exchange import Reply, call
from benchmarks.conversations.plan import expected, searches
from resumable_stream.runs._queue import NAME

_IDLE_SECONDS = 60.0
_AT_ONCE = 8


@dataclass(slots=True)
class Verdict:
    """What was found.

    Attributes:
        accepted: messages.
        answered: of them, those with exactly one answer, which is the right one.
        partial: of them, those that were stopped on request, with what had been said.
        ahead: viewers of stopped answers who have less than the thread: the agent was ahead of the stream.
        losses: accepted messages without their answer, or viewers without their text.
        doubles: what is there more than once.
        problems: everything else that should not be.
        words: what viewers were told, how often.
        left: keys without a time to live, by the kind of docket's.
    """

    accepted: int = 0
    answered: int = 0
    partial: int = 0
    ahead: int = 0
    losses: list[str] = field(default_factory=list)
    doubles: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    words: Counter[str] = field(default_factory=Counter)
    left: dict[str, int] = field(default_factory=dict)

    @property
    def faults(self) -> list[str]:
        """All that is wrong; empty when every promise was kept."""
        return self.losses + self.doubles + self.problems


async def judge(reports: Sequence[dict[str, Any]], ports: list[int], redis_url: str) -> Verdict:
    """Look at every thread through the API, and at what is left in Redis.

    Args:
        reports: what the client processes saw.
        ports: of the web processes.
        redis_url: of the Redis behind them.
    """
    verdict = Verdict(problems=[problem for report in reports for problem in report["problems"]])
    threads: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for report in reports:
        for answer in report["answers"]:
            threads[answer["thread_id"]].append(answer)
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one(number: int, thread_id: str) -> None:
        async with limit:
            reply = await _idle_thread(ports[number % len(ports)], thread_id, verdict)
        if reply is not None:
            judge_thread(threads[thread_id], reply.json, verdict)

    await asyncio.gather(*(one(number, thread_id) for number, thread_id in enumerate(threads)))
    await _look_at_keys(redis_url, verdict)
    return verdict


async def _idle_thread(port: int, thread_id: str, verdict: Verdict) -> Reply | None:
    """The thread, once it has no active run."""
    deadline = time.monotonic() + _IDLE_SECONDS
    while True:
        reply = await call(port, "GET", f"/v1/thread?thread_id={thread_id}")
        if reply.status == 200 and "x-active-run-id" not in reply.headers:
            return reply
        if time.monotonic() > deadline:
            verdict.problems.append(f"thread {thread_id}: not idle in the end, or not there: {reply.status}")
            return reply if reply.status == 200 else None
        await asyncio.sleep(0.5)


def judge_thread(answers: Sequence[dict[str, Any]], messages: Sequence[dict[str, Any]], verdict: Verdict) -> None:
    """Judge one thread.

    Args:
        answers: to its messages, in the order in which these were accepted.
        messages: its history.
        verdict: takes what is found.
    """
    by_run: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for message in messages:
        by_run[str(message.get("run_id"))].append(message)
    runs = [answer["run_id"] for answer in answers]
    if list(by_run) != runs:
        verdict.problems.append(f"thread of run {runs[0]}: it has the runs {list(by_run)}, and accepted were {runs}")
    for answer in answers:
        verdict.accepted += 1
        _judge_answer(answer, by_run.get(answer["run_id"], []), verdict)


def _judge_answer(answer: dict[str, Any], messages: Sequence[dict[str, Any]], verdict: Verdict) -> None:
    name = f"run {answer['run_id']} ({answer['prompt']!r})"
    faults = len(verdict.faults)
    questions = [message["content"] for message in messages if message["type"] == "human"]
    texts = [message["content"] for message in messages if message["type"] == "ai" and message["content"]]
    calls = [call["id"] for message in messages for call in message.get("tool_calls", ())]
    whole = expected(answer["prompt"])
    text = "".join(texts)
    if questions != [answer["prompt"]]:
        kind = verdict.doubles if len(questions) > 1 else verdict.losses
        kind.append(f"{name}: its question is there as {questions}")
    if len(texts) > 1 or len(calls) > searches(answer["prompt"]):
        verdict.doubles.append(f"{name}: {len(texts)} answers, {len(calls)} tool calls")
    partial = answer["stopped"] and text != whole
    if partial and not whole.startswith(text):
        verdict.problems.append(f"{name}: stopped, with {text!r}")
    elif text != whole and not answer["stopped"]:
        verdict.losses.append(f"{name}: {len(text)} of {len(whole)} characters in the thread: {text[-80:]!r}")
    if any(message.get("stopped") for message in messages) and not answer["stopped"]:
        verdict.problems.append(f"{name}: marked as broken off")
    for viewer in answer["viewers"]:
        _judge_viewer(name, viewer, text, verdict, stopped=answer["stopped"])
    if len(verdict.faults) == faults:
        verdict.answered += 1
        verdict.partial += partial


def _judge_viewer(name: str, viewer: dict[str, Any], text: str, verdict: Verdict, *, stopped: bool) -> None:
    verdict.words.update(viewer["words"])
    if viewer["disorder"]:
        verdict.doubles.append(f"{name}: ids not above the one before: {viewer['disorder'][:5]}")
    if viewer["words"].get("end", 0) > 1:
        verdict.doubles.append(f"{name}: more than one end")
    if not viewer["ended"]:
        if viewer["events"]:
            verdict.losses.append(f"{name}: a viewer never saw the end")
        else:
            verdict.words["(read from the history)"] += 1  # it came when nothing was left to stream
    elif stopped and viewer["text"] != text and text.startswith(viewer["text"]):
        verdict.ahead += 1  # the model had finished, and the stop came before all of it was sent
    elif viewer["text"] != text:
        shown = viewer["text"]
        same = next(
            (at for at, pair in enumerate(zip(shown, text, strict=False)) if len(set(pair)) > 1),
            "the shorter one's end",
        )
        kind = verdict.doubles if len(shown) > len(text) else verdict.losses
        kind.append(
            f"{name}: a viewer has {len(shown)} characters, the thread {len(text)}, equal up to {same};"
            f" it was told {viewer['words']}"
        )
    for word in ("lost", "error", "gap", "reset"):
        if viewer["words"].get(word):
            verdict.problems.append(f"{name}: a viewer was told {word!r}")


async def _look_at_keys(redis_url: str, verdict: Verdict) -> None:
    """Whatever has no time to live must be docket's own: its queue, and who works it off."""
    async with Redis.from_url(redis_url) as redis:
        async for key in redis.scan_iter(count=1000):
            if await redis.ttl(key) != -1:
                continue
            parts = key.decode().split(":")
            if parts[0] != NAME:
                verdict.problems.append(f"the key {key!r} never expires")
            else:
                kind = ":".join(parts[:2])
                verdict.left[kind] = verdict.left.get(kind, 0) + 1
        stream = f"{NAME}:stream"
        if await redis.exists(stream):
            groups = await redis.xinfo_groups(stream)
            verdict.left["entries of the queue"] = await redis.xlen(stream)
            verdict.left["of them not acknowledged"] = sum(group["pending"] for group in groups)
