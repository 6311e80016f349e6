"""Why a command ends early."""

from __future__ import annotations


class CommandError(Exception):
    """The command cannot go on; the text is for the person who called it.

    Attributes:
        code: the exit code.
    """

    def __init__(self, message: str, *, code: int = 1) -> None:
        super().__init__(message)
        self.code = code
