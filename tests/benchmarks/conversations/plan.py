"""What each conversation does, decided by a seed before anything is sent."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import Literal

from resumable_stream.demo import script, search_tool

Kind = Literal["short", "plain", "search", "long"]

_PROMPTS: dict[Kind, str] = {
    "short": "Search for qx{number}zx{turn}",  # nowhere in the documentation: a tool call, and a short answer
    "plain": "Conversation {number}, turn {turn}: what is a lease?",
    "search": "Conversation {number}, turn {turn}: search the docs for leases",
    "long": "Conversation {number}, turn {turn}: a long story",
}
_WEIGHTS: dict[Kind, int] = {"short": 30, "plain": 40, "search": 15, "long": 15}


@dataclass(frozen=True, slots=True)
class Turn:
    """One message, and how the person behind it behaves.

    Attributes:
        prompt: what is sent.
        kind: of answer that it asks for.
        key: its ``Idempotency-Key``.
        pause: seconds of thinking before it, as a share of the mean.
        drops: how many events each connection of the viewer gets before it is cut; empty for people with a good line.
        second: a second viewer comes after so many events.
        stop: the answer is stopped after so many events.
        double: it is sent twice at once, with one key.
        rival: another message is sent to the thread while the answer is under way.
        by_run: the viewer names the run, and not the thread alone.
    """

    prompt: str
    kind: Kind
    key: str
    pause: float
    drops: tuple[int, ...]
    second: int | None
    stop: int | None
    double: bool
    rival: str | None
    by_run: bool


def turn_of(seed: int, number: int, turn: int) -> Turn:
    """The same for the same arguments."""
    chance = random.Random(f"{seed}/{number}/{turn}")
    kind = chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
    prompt = _PROMPTS[kind].format(number=number, turn=turn)
    shaky = chance.random() < 0.2
    return Turn(
        prompt=prompt,
        kind=kind,
        key=f"{seed}-{number}-{turn}",
        pause=chance.uniform(0.5, 1.5),
        drops=tuple(chance.randint(1, 60) for _ in range(4)) if shaky else (),
        second=chance.randint(1, 40) if chance.random() < 0.1 else None,
        stop=chance.randint(1, 40) if chance.random() < 0.04 else None,
        double=chance.random() < 0.04,
        rival=f"Search for rival{number}zx{turn}" if chance.random() < 0.04 else None,
        by_run=chance.random() < 0.7,
    )


def expected(prompt: str) -> str:
    """The text that answers a prompt."""
    return "".join(script(prompt, found=_found(prompt)))


def searches(prompt: str) -> bool:
    """Whether the model calls the tool for it."""
    return "earch" in prompt


def _found(prompt: str) -> str | None:
    if not searches(prompt):
        return None
    from resumable_stream.demo._script import search_query

    result: str = _search().invoke({"query": search_query(prompt)})
    return result


@cache
def _search():  # type: ignore[no-untyped-def]  # LangChain's tools are generic in what nobody names
    return search_tool()
