"""Models by configuration: only the chosen provider is imported, and a missing one says what to install."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import SecretStr

from agent.provider_wire import ProviderWire, Reply
from resumable_stream.agent import chat_model

_PACKAGES = {
    "openai": "langchain_openai",
    "anthropic": "langchain_anthropic",
    "google": "langchain_google_genai",
}


@pytest.mark.parametrize("provider", _PACKAGES)
def test_only_the_package_of_the_chosen_provider_is_imported(provider: str) -> None:
    program = (
        "import sys; from resumable_stream.agent import chat_model;"
        f"chat_model({provider!r}, 'some-model', api_key='k');"
        "print(*(name for name in sys.modules if name in"
        " ('langchain_openai', 'langchain_anthropic', 'langchain_google_genai', 'langchain_tavily', 'ddgs')))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.split() == [_PACKAGES[provider]]


@pytest.mark.parametrize("provider", _PACKAGES)
def test_a_missing_package_is_named_with_the_line_that_installs_it(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, _PACKAGES[provider], None)

    with pytest.raises(ModuleNotFoundError) as caught:
        chat_model(provider, "some-model", api_key="k")

    assert f"pip install 'resumable-stream-redis[{provider}]'" in str(caught.value)


async def test_the_key_the_address_and_options_reach_the_provider(wire: ProviderWire) -> None:
    keys = {}
    for provider, suffix in (("openai", "/v1"), ("anthropic", ""), ("google", "")):
        model = chat_model(provider, "m-1", api_key=SecretStr("key-1"), base_url=wire.url + suffix, temperature=0.5)
        assert "key-1" not in repr(model)
        wire.script(Reply(text=["ok"]))
        assert (await model.ainvoke("hello")).text == "ok"
        request = wire.requests[-1]
        keys[provider] = [name for name, value in request.headers.items() if "key-1" in value]
        assert "m-1" in request.path + str(request.body)
        assert "'temperature': 0.5" in str(request.body)
    assert {provider: len(headers) for provider, headers in keys.items()} == dict.fromkeys(keys, 1)


async def test_usage_is_asked_for_also_at_another_address(wire: ProviderWire) -> None:
    model = chat_model("openai", "m-1", api_key="k", base_url=f"{wire.url}/v1")
    wire.script(Reply(text=["ok"]))

    chunks = [chunk async for chunk in model.astream("hello")]

    assert wire.requests[-1].body["stream_options"] == {"include_usage": True}
    assert any(chunk.usage_metadata for chunk in chunks if hasattr(chunk, "usage_metadata"))


def test_timeouts_and_retries_are_set_for_each_provider() -> None:
    def made(provider: str, **options: Any) -> Any:
        return chat_model(provider, "m-1", api_key="k", timeout=30, max_retries=1, **options)

    openai, anthropic, google = made("openai"), made("anthropic"), made("google")

    assert (openai.request_timeout, openai.stream_chunk_timeout, openai.max_retries) == (30, 30, 1)
    assert (anthropic.default_request_timeout, anthropic.max_retries) == (30, 1)
    assert (google.timeout, google.max_retries) == (600, 2), "a whole answer, and attempts"
    assert made("openai", stream_chunk_timeout=5).stream_chunk_timeout == 5


def test_other_providers_go_by_their_names_in_langchain() -> None:
    assert chat_model("google_genai", "m-1", api_key="k")._llm_type == "chat-google-generative-ai"
    with pytest.raises(ImportError, match="langchain-mistralai"):
        chat_model("mistralai", "m-1", api_key="k")
    with pytest.raises(ValueError, match="provider='nobody'"):
        chat_model("nobody", "m-1")


def test_a_model_that_is_still_to_be_configured_is_refused() -> None:
    with pytest.raises(ValueError, match="configurable_fields"):
        chat_model("openai", "m-1", api_key="k", configurable_fields="any")
