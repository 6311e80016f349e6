"""What ``resumable-stream demo`` answers with: a scripted chat model and a documentation search.

Needs the ``app`` extra. Nothing here speaks to a network.
"""

from __future__ import annotations

from ._model import ScriptedChatModel, ScriptedError
from ._script import script
from ._search import search_tool

__all__ = ["ScriptedChatModel", "ScriptedError", "script", "search_tool"]
