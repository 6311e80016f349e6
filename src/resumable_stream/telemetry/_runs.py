"""Runs, seen from outside: when they begin, what their events say, and how they end."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final, Protocol
from uuid import UUID

from opentelemetry.context import Context, attach
from opentelemetry.metrics import Histogram
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .._events import TEXT, StreamEvent
from ._instruments import ERROR, STATUS

_PROPAGATOR: Final = TraceContextTextMapPropagator()
_PARENT: Final = "traceparent"

OPERATION: Final = "gen_ai.operation.name"
TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105 - of a model


def current_trace() -> str | None:
    """The caller's place in a trace, as text that can travel; ``None`` when there is none."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get(_PARENT)


def context_of(trace: str | None) -> Context:
    """The context that a text stands for; an empty one, whatever is current, when there is none."""
    return _PROPAGATOR.extract({} if trace is None else {_PARENT: trace}, Context())


class BegunRun(Protocol):
    """A run that is being answered: what the room of runs knows of it."""

    @property
    def id(self) -> UUID:
        """The run."""

    @property
    def thread_id(self) -> UUID:
        """Its thread."""

    @property
    def stream_id(self) -> str:
        """Its stream."""

    @property
    def trace(self) -> str | None:
        """What `RunTelemetry.trace` returned when it was accepted, in whatever process."""

    @property
    def age(self) -> float:
        """Seconds since then."""

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""


class RunMeters:
    """What runs of one process are measured with.

    Attributes:
        accepted, active, again, begun, handovers: how many.
    """

    def __init__(
        self,
        *,
        tracer: Tracer,
        durations: Histogram,
        first_tokens: Histogram,
        model_tokens: Histogram | None,
        model_durations: Histogram | None,
    ) -> None:
        self.accepted = 0
        self.active = 0
        self.begun = 0
        self.again = 0
        self.handovers = 0
        self.tracer = tracer
        self.durations = durations
        self.first_tokens = first_tokens
        self.model_tokens = model_tokens
        self.model_durations = model_durations


class RunTelemetry:
    """Watches the runs of one app.

    Args:
        meters: where it is told.
        provider: who serves the model, as the conventions name them; ``None`` when that is not known.
        model: the model.
    """

    def __init__(self, meters: RunMeters, *, provider: str | None = None, model: str | None = None) -> None:
        self._meters = meters
        self._model = {OPERATION: "chat", "gen_ai.provider.name": provider or "unknown"}
        if model is not None:
            self._model["gen_ai.request.model"] = model

    def trace(self) -> str | None:
        """The caller's place in a trace, as text that travels with a run."""
        return current_trace()

    def on_accept(self) -> None:
        """A run was accepted."""
        self._meters.accepted += 1

    def begin(self, run: BegunRun) -> WatchedAttempt:
        """An attempt begins."""
        self._meters.begun += 1
        self._meters.again += run.attempt > 1
        self._meters.active += 1
        return WatchedAttempt(self._meters, self._model, run)


class WatchedAttempt:
    """One attempt of a process to answer."""

    def __init__(self, meters: RunMeters, model: Mapping[str, str], run: BegunRun) -> None:
        self._meters = meters
        self._model = model
        self._accepted = time.monotonic() - run.age
        self._silent = True
        self._calls: dict[str, Span] = {}
        self._step = time.time_ns()
        self._chat: Span | None = None
        attributes: dict[str, Any] = {
            OPERATION: "invoke_agent",
            "gen_ai.conversation.id": str(run.thread_id),
            "resumable_stream.run.id": str(run.id),
            "resumable_stream.stream.id": run.stream_id,
            "resumable_stream.run.attempt": run.attempt,
        }
        self._span = meters.tracer.start_span(
            "invoke_agent", context=context_of(run.trace), kind=SpanKind.INTERNAL, attributes=attributes
        )
        self._context = set_span_in_context(self._span, Context())

    def enter(self) -> None:
        """Make the span the current one of this task, so that what the agent does belongs to it."""
        attach(set_span_in_context(self._span))

    async def watch(
        self, events: AsyncGenerator[StreamEvent, None], *, said: bool
    ) -> AsyncGenerator[StreamEvent, None]:
        """The same events; the generator is closed with this one. ``said``: an earlier attempt has said something."""
        self._silent = not said
        async with aclosing(events):
            async for event in events:
                if event.type != TEXT:
                    self._on_event(event)
                elif self._silent:
                    self._on_first_text()
                yield event

    def _on_first_text(self) -> None:
        self._silent = False
        self._meters.first_tokens.record(time.monotonic() - self._accepted)
        self._span.add_event("resumable_stream.first_token")

    def _on_event(self, event: StreamEvent) -> None:
        data = event.data if isinstance(event.data, dict) else {}
        if event.type == "message_start":
            self._begin_chat()
        elif event.type == "message_end":
            self._end_chat(data)
        elif event.type == "tool_call":
            name, call = str(data.get("name", "")), str(data.get("id"))
            attributes = {OPERATION: "execute_tool", "gen_ai.tool.name": name, "gen_ai.tool.call.id": call}
            self._calls[call] = self._start(f"execute_tool {name}", attributes)
        elif event.type == "tool_result" and (span := self._calls.pop(str(data.get("id")), None)) is not None:
            if data.get("status") == "error":
                _fail(span, "tool_error")
            span.end()
            self._step = time.time_ns()

    def _start(self, name: str, attributes: Mapping[str, Any], *, since: int | None = None) -> Span:
        return self._meters.tracer.start_span(name, self._context, SpanKind.INTERNAL, attributes, start_time=since)

    def _begin_chat(self) -> None:
        """The first sign of a message: its model was called when what came before it was done."""
        if self._chat is None:
            name = f"chat {self._model.get('gen_ai.request.model', '')}".strip()
            self._chat = self._start(name, self._model, since=self._step)

    def _end_chat(self, data: Mapping[str, Any]) -> None:
        if self._chat is None:
            self._begin_chat()
        chat, self._chat = self._chat, None
        assert chat is not None  # noqa: S101 - as it was begun
        usage = data.get("usage")
        for kind in ("input", "output"):
            number = usage.get(f"{kind}_tokens") if isinstance(usage, dict) else None
            if isinstance(number, int):
                chat.set_attribute(f"gen_ai.usage.{kind}_tokens", number)
                if self._meters.model_tokens is not None:
                    self._meters.model_tokens.record(number, {**self._model, TOKEN_TYPE: kind})
        if isinstance(reason := data.get("finish_reason"), str):
            chat.set_attribute("gen_ai.response.finish_reasons", [reason])
        now = time.time_ns()
        if self._meters.model_durations is not None:
            self._meters.model_durations.record(max(0, now - self._step) / 1e9, self._model)
        chat.end(now)
        self._step = now

    def end(self, status: str, code: str | None) -> None:
        """The attempt is over.

        Args:
            status: how the run has ended; ``handed_over`` or ``taken_over`` when another process goes on.
            code: of a failure.
        """
        self._meters.active -= 1
        for span in [*self._calls.values(), *([] if self._chat is None else [self._chat])]:
            span.set_attribute(STATUS, status)
            span.end()
        self._span.set_attribute(STATUS, status)
        if status == "handed_over":
            self._meters.handovers += 1
        elif status != "taken_over":
            attributes = {STATUS: status} if code is None else {STATUS: status, ERROR: code}
            self._meters.durations.record(time.monotonic() - self._accepted, attributes)
        if code is not None:
            _fail(self._span, code)
        self._span.end()


def _fail(span: Span, code: str) -> None:
    """Mark a span as failed, by a code: the text of an error can hold anything."""
    span.set_attribute(ERROR, code)
    span.set_status(Status(StatusCode.ERROR, code))
