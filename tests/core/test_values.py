"""Events, ids and errors as values: what they say, and what they survive."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError

import pytest

import resumable_stream
from resumable_stream import (
    EventID,
    LogUnavailable,
    Status,
    StreamError,
    StreamEvent,
    StreamFailure,
    StreamInfo,
    StreamNotFound,
    StreamResult,
)


def test_an_event_cannot_be_changed() -> None:
    """It is shared by all viewers of a stream."""
    event = StreamEvent("text", "a", EventID(1, 1))
    with pytest.raises(FrozenInstanceError):
        event.data = "b"  # type: ignore[misc] # that is what is tested
    assert not hasattr(event, "__dict__")


@pytest.mark.parametrize("value", [StreamResult(Status.LOST, None), StreamInfo("s", Status.ACTIVE, EventID(1, 2))])
def test_results_are_frozen_and_slotted(value: object) -> None:
    with pytest.raises(FrozenInstanceError):
        value.status = Status.FAILED  # type: ignore[attr-defined]
    assert not hasattr(value, "__dict__")


@pytest.mark.parametrize("status", list(Status))
def test_only_an_end_carries_a_status(status: Status) -> None:
    end = StreamEvent("end", {"status": str(status)})
    assert end.terminal
    assert end.status is status
    text = StreamEvent("text", "a")
    assert not text.terminal
    assert text.status is Status.ACTIVE
    assert status.ended == (status is not Status.ACTIVE)


def test_every_error_of_a_stream_names_it_and_survives_pickling() -> None:
    """They cross processes in task queues."""
    for name in resumable_stream.__all__:
        error = getattr(resumable_stream, name)
        if isinstance(error, type) and issubclass(error, StreamError):
            made = error("s", "what happened")
            for twin in (pickle.loads(pickle.dumps(made)), copy.copy(made)):
                assert type(twin) is error
                assert (twin.stream_id, str(twin)) == ("s", "what happened")


def test_a_failure_carries_its_code_and_text() -> None:
    failure = StreamFailure("busy", "Try later.")
    for twin in (failure, pickle.loads(pickle.dumps(failure))):
        assert (twin.code, twin.message, str(twin)) == ("busy", "Try later.", "Try later. [busy]")


def test_errors_can_be_caught_as_what_they_are() -> None:
    assert issubclass(resumable_stream.EventIDError, ValueError)
    assert issubclass(resumable_stream.StreamIDError, ValueError)
    assert issubclass(resumable_stream.EventTooLarge, ValueError)
    assert issubclass(resumable_stream.ConsumerClosed, RuntimeError)
    assert not issubclass(StreamNotFound, LogUnavailable)
