"""A chat model by configuration. Only the package of the chosen provider is imported: each takes seconds."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel
from pydantic import SecretStr

from ._extras import require

_PROVIDERS: Final = {
    # name here: name in LangChain, package, extra
    "openai": ("openai", "langchain_openai", "openai"),
    "anthropic": ("anthropic", "langchain_anthropic", "anthropic"),
    "google": ("google_genai", "langchain_google_genai", "google"),
}
_WHOLE_ANSWER: Final = 600.0


def chat_model(
    provider: str,
    model: str,
    *,
    api_key: SecretStr | str | None = None,
    base_url: str | None = None,
    timeout: float = 120.0,
    max_retries: int = 2,
    **options: Any,
) -> BaseChatModel:
    """Make the client of a chat model. Nothing is sent before it is used.

    Args:
        provider: ``openai``, ``anthropic``, ``google``, or any provider name of LangChain's ``init_chat_model``.
        model: the provider's name for the model.
        api_key: the key; without one, the provider's package looks into its usual environment variable.
        base_url: another server that speaks the provider's protocol.
        timeout: seconds of silence after which a request is given up; a model that thinks long is silent long.
            Google's client may count the whole answer, so there it is ten minutes at least.
        max_retries: how often a request is repeated that was refused or cut before its answer began.
        options: whatever else the model class of the provider takes, such as ``temperature``. Other providers than
            the three get these, the key and the URL, and nothing else.

    Raises:
        ModuleNotFoundError: the provider's package is missing; the message has the line that installs it.
        ImportError: the same, for the packages of other providers.
        ValueError: there is no such provider. What the provider's package raises when it wants a key and finds none is
            passed on.
    """
    given: dict[str, Any] = {}
    if api_key is not None:
        given["api_key"] = api_key if isinstance(api_key, SecretStr) else SecretStr(api_key)
    if base_url is not None:
        given["base_url"] = base_url
    name = provider
    if provider in _PROVIDERS:
        name, package, extra = _PROVIDERS[provider]
        require(package, extra)
        given |= {"timeout": timeout, "max_retries": max_retries}
        if provider == "google":
            # With aiohttp installed, its client takes the timeout for the whole stream, not for a silence.
            given["timeout"] = max(timeout, _WHOLE_ANSWER)
            # It counts attempts where the others count repetitions.
            given["max_retries"] = max_retries + 1
        else:
            # OpenAI's client leaves usage out when the URL is not its own, unless it is told.
            given["stream_usage"] = True
        # A silence that keep-alives of the server do not break; older versions have no such limit.
        if provider == "openai" and "stream_chunk_timeout" in import_module(package).ChatOpenAI.model_fields:
            given["stream_chunk_timeout"] = timeout
    created = init_chat_model(model, model_provider=name, **(given | options))
    if not isinstance(created, BaseChatModel):  # only with options that make the model configurable
        raise ValueError("a chat model is fixed here: leave configurable_fields out of the options")
    return created
