"""Why a request about threads and runs is refused, one class for each reason.

RunsError
├── ThreadNotFound          no such thread, somebody else's, or deleted: told apart for nobody
├── RunNotFound             the thread has no such run
├── RunActive               the thread is busy; has ``run``
├── IdempotencyMismatch     the key was used for another message
├── NotInterrupted          the thread waits for no answer
├── UnknownInterrupt        the thread waits, but not for these answers; has ``open``
├── TooManyRuns             the owner has as many active runs as one may have
├── Unavailable             Redis or Postgres cannot be reached now; has ``service``
└── DatabaseFault           Postgres refuses what it is asked: a fault of the set-up or of this library
"""

from __future__ import annotations

from typing import Literal

from ._values import Run


class RunsError(Exception):
    """The base of what this room raises."""


class ThreadNotFound(RunsError):
    """No such thread, or not this owner's, or deleted."""

    def __init__(self) -> None:
        super().__init__("there is no such thread")


class RunNotFound(RunsError):
    """The thread has no such run."""

    def __init__(self) -> None:
        super().__init__("the thread has no such run")


class RunActive(RunsError):
    """The thread is busy with a run.

    Attributes:
        run: the run that is active.
    """

    def __init__(self, run: Run) -> None:
        super().__init__("the thread has an active run")
        self.run = run


class IdempotencyMismatch(RunsError):
    """The idempotency key was sent before with another message or thread."""

    def __init__(self) -> None:
        super().__init__("this Idempotency-Key was used for another message")


class NotInterrupted(RunsError):
    """The thread does not wait for a person."""

    def __init__(self) -> None:
        super().__init__("the thread waits for no answer")


class UnknownInterrupt(RunsError):
    """Answers name what the thread does not wait for.

    Attributes:
        open: the ids of what it waits for.
    """

    def __init__(self, open: tuple[str, ...]) -> None:  # noqa: A002 - the word for a question without an answer
        super().__init__("the thread waits for other answers")
        self.open = open


class TooManyRuns(RunsError):
    """The owner has as many active runs as one may have."""

    def __init__(self) -> None:
        super().__init__("the owner has too many active runs")


class Unavailable(RunsError):
    """A service that is needed cannot be reached, or did not answer in time; the cause is attached.

    Attributes:
        service: which one.
    """

    def __init__(self, service: Literal["redis", "postgres"]) -> None:
        super().__init__(f"{service} is not available")
        self.service = service


class DatabaseFault(RunsError):
    """Postgres refuses a statement. What it said may quote data, so only its code is kept.

    Attributes:
        sqlstate: the five characters of the error code; ``None`` when there is none.
    """

    def __init__(self, sqlstate: str | None) -> None:
        super().__init__(f"postgres refused a statement (SQLSTATE {sqlstate})")
        self.sqlstate = sqlstate
