"""A chat sub-app: messages, resumable streams, threads and a bundled page, over a LangGraph agent.

It needs the extra ``app``: ``pip install 'resumable-stream-redis[app]'``.
"""

from resumable_stream.agent._extras import needs

with needs("app"):
    from ._app import ChatApp, create_app
    from ._errors import ApiError, LifespanNotEntered
    from ._identity import Identify, Identity
    from ._settings import Settings, SettingsError, load_settings

__all__ = [  # noqa: RUF022 - grouped by what they are for
    # The app
    "create_app",
    "ChatApp",
    "Identify",
    "Identity",
    # Settings
    "Settings",
    "SettingsError",
    "load_settings",
    # Errors
    "ApiError",
    "LifespanNotEntered",
]
