"""What ``resumable-stream demo`` answers with: a scripted chat model and a documentation search.

Nothing here speaks to a network. It needs the extra ``demo``:
``pip install 'resumable-stream-redis[demo]'``.
"""

from __future__ import annotations

from ..agent._extras import needs

with needs("demo"):
    from ._model import ScriptedChatModel, ScriptedError
    from ._script import script
    from ._search import search_tool

__all__ = ["ScriptedChatModel", "ScriptedError", "script", "search_tool"]
