"""Taking back answers of a person that came to nothing, so that the question can be answered anew."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import langgraph.types
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.types import StateSnapshot

_RESUME: Final = "__resume__"
"""Under this LangGraph files the answers that a task has had."""


async def take_back(saver: BaseCheckpointSaver[Any], snapshot: StateSnapshot, questions: Collection[str]) -> None:
    """Remove answers to questions that are still open.

    LangGraph keeps what a task was answered also when the task then fails or is cancelled. The next answer would come
    after that one, and the task would see the old one again.

    Args:
        saver: the graph's.
        snapshot: with the states of subgraphs.
        questions: ids of interrupts.
    """
    found = None
    for task in snapshot.tasks:
        if isinstance(task.state, StateSnapshot):
            await take_back(saver, task.state, questions)
            continue
        open_here = {one.id for one in task.interrupts} & set(questions)
        if not open_here:
            continue
        found = found or await saver.aget_tuple(snapshot.config)
        writes = (found.pending_writes or ()) if found is not None else ()
        answers: list[Any] = next((value for owner, name, value in writes if (owner, name) == (task.id, _RESUME)), [])
        answered = _answered(snapshot, task.name, task.id, open_here, len(answers))
        if answered is not None:
            await saver.aput_writes(snapshot.config, [(_RESUME, answers[:answered])], task.id)


def _answered(snapshot: StateSnapshot, name: str, task_id: str, questions: Collection[str], most: int) -> int | None:
    """How many questions of a task came before the open one, by its id; ``None`` unless it has more answers."""
    id_of = getattr(langgraph.types, "_interrupt_id", None)
    around = snapshot.config["configurable"].get("checkpoint_ns")
    place = f"{around}|{name}:{task_id}" if around else f"{name}:{task_id}"
    return next((count for count in range(most) if id_of is not None and id_of(place, count) in questions), None)
