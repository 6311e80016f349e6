"""Threads and runs: which run answers which message, who may see it, and what is kept when it breaks.

The room below the sub-app, without HTTP. It needs Postgres beside Redis.
"""

from ._database import Database, DatabaseState, Pool, SetUp
from ._errors import (
    DatabaseFault,
    IdempotencyMismatch,
    NotInterrupted,
    RunActive,
    RunNotFound,
    RunsError,
    ThreadNotFound,
    TooManyRuns,
    Unavailable,
    UnknownInterrupt,
)
from ._executor import Executor, attempts_of
from ._janitor import Janitor
from ._manager import Dispatch, RunManager
from ._observer import Nobody, RunObserver
from ._queue import RunQueue
from ._reading import StreamFinder
from ._resuming import Resuming
from ._run_store import RunStore
from ._settling import Settler
from ._thread_store import ThreadStore
from ._threads import History, ListedThread, ThreadService
from ._values import NewMessage, Run, Strategy, Thread, ThreadCursor

__all__ = [  # noqa: RUF022 - grouped by what they are for
    # Values
    "NewMessage",
    "Strategy",
    "Run",
    "Thread",
    "ThreadCursor",
    "History",
    "ListedThread",
    # Postgres
    "Database",
    "DatabaseState",
    "Pool",
    "SetUp",
    "RunStore",
    "ThreadStore",
    # What can be done
    "RunManager",
    "Dispatch",
    "Executor",
    "attempts_of",
    "RunQueue",
    "ThreadService",
    "Resuming",
    "StreamFinder",
    "Settler",
    "Janitor",
    # Watching it
    "Nobody",
    "RunObserver",
    # Errors
    "RunsError",
    "ThreadNotFound",
    "RunNotFound",
    "RunActive",
    "NotInterrupted",
    "UnknownInterrupt",
    "IdempotencyMismatch",
    "TooManyRuns",
    "Unavailable",
    "DatabaseFault",
]
