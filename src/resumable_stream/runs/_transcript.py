"""What the readers of a run hold, as its events add up over several attempts."""

from __future__ import annotations

from resumable_stream import StreamEvent
from resumable_stream.agent import Told

from ._values import MESSAGE_END, RESTARTED, TEXT, TOOL_CALL, TOOL_RESULT


class Transcript:
    """Adds events up by the rule that readers follow: after ``restarted``, what no ``message_end`` closed is void."""

    def __init__(self) -> None:
        self._kept: list[str] = []
        self._begun: list[str] = []
        self._messages: set[str] = set()
        self._calls: dict[str, object] = {}
        self._begun_calls: dict[str, object] = {}
        self._results: set[str] = set()

    def add(self, event: StreamEvent) -> None:
        """Take the next event."""
        if event.type == TEXT:
            self._begun.append(str(event.data))
        elif event.type == RESTARTED:
            self._begun.clear()
            self._begun_calls.clear()
        elif isinstance(event.data, dict):
            self._add_structured(event.type, event.data)

    def _add_structured(self, kind: str, data: dict[str, object]) -> None:
        if kind == MESSAGE_END:
            self._messages.add(str(data.get("message_id")))
            self._kept += self._begun
            self._calls |= self._begun_calls
            self._begun.clear()
            self._begun_calls.clear()
        elif kind == TOOL_CALL:
            self._begun_calls[str(data.get("id"))] = data
        elif kind == TOOL_RESULT:
            self._results.add(str(data.get("id")))

    @property
    def text(self) -> str:
        """All that the agent has said."""
        return "".join([*self._kept, *self._begun])

    @property
    def told(self) -> Told:
        """What an agent that goes on need not tell again."""
        return Told(
            messages=frozenset(self._messages),
            calls=dict(self._calls),
            results=frozenset(self._results),
        )
