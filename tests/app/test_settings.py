"""Settings: where they come from, and what is said when they cannot work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from resumable_stream.app import Settings, SettingsError, create_app, load_settings

GOOD = {"REDIS_URL": "redis://localhost:6379/0", "DATABASE_URL": "postgresql://u:secret@localhost/db"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """No settings but what the test sets, and a working directory of its own."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    return monkeypatch


def test_settings_come_from_the_environment(environment: pytest.MonkeyPatch) -> None:
    for name, value in (GOOD | {"STREAM_TTL_SECONDS": "60", "CORS_ORIGINS": "https://a.example"}).items():
        environment.setenv(name, value)
    settings = load_settings()
    assert settings.redis_url.get_secret_value() == GOOD["REDIS_URL"]
    assert settings.stream_ttl_seconds == 60
    assert settings.cors_origins == ("https://a.example",)


def test_settings_come_from_a_file_and_the_environment_wins(environment: pytest.MonkeyPatch) -> None:
    lines = [f"{name}={value}" for name, value in GOOD.items()] + ["LLM_MODEL=one", "UNKNOWN=x"]
    Path(".env").write_text("\n".join(lines))
    environment.setenv("LLM_MODEL", "two")
    assert load_settings().llm_model == "two"
    assert load_settings(llm_model="three").llm_model == "three"


def test_what_is_missing_is_named_with_what_to_write(environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings()
    text = str(caught.value)
    assert "REDIS_URL: not set. Put it in the environment or in .env." in text
    assert "redis://localhost:6379/0" in text
    assert "DATABASE_URL: not set." in text


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("REDIS_URL", "localhost:6379", "redis://host:6379/0"),
        ("DATABASE_URL", "mysql://u:secret@h/db", "postgresql://user:password@host:5432/name"),
        ("REDIS_URL", "redis://:sec/secret@h:6379/0", "percent-encode special characters"),
        ("REDIS_URL", "redis://h:secret/0", "percent-encode special characters"),
        ("REDIS_URL", "redis://h?socket_timeout=secret", "a part that cannot be read"),
        ("DATABASE_URL", "postgresql://u:sec/secret@h/db", "percent-encode special characters"),
        ("REDIS_URL", "redis://:p@ss/secret@h:6379", "percent-encode special characters"),
        ("REDIS_URL", "redis://h:6379/secret", "the number of a database"),
        ("REDIS_URL", "redis://h?secret=1", "a part that cannot be read"),
        ("REDIS_URL", "rediss://h?ssl_cert_reqs=secret", "a part that cannot be read"),
        ("DATABASE_URL", "postgresql://u:p@ss/secret@h/db", "percent-encode special characters"),
        ("DATABASE_URL", "postgresql://u:%zzsecret@h/db", "a part that cannot be read"),
        ("DATABASE_URL", "postgresql://u:secret@h/db?pool=5", "a part that cannot be read"),
        ("DATABASE_URL", "postgresql://u:secret@h:70000/db", "postgresql://user:password@host:5432/name"),
        ("LLM_BASE_URL", "llm.example:8080", "https://host"),
        ("STREAM_TTL_SECONDS", "soon", "STREAM_TTL_SECONDS"),
        ("STREAM_TTL_SECONDS", "1", "greater than or equal to 10"),
        ("LLM_PROVIDER", "OpenAI", "in small letters"),
        ("CORS_ORIGINS", "example.com", "https://host"),
        ("CORS_ORIGINS", "https://example.com/path", "https://host"),
        ("CORS_ORIGINS", "https://*.example.com", "https://host"),
        ("TRUSTED_ORIGINS", "*", "name the origins"),
        ("ALLOWED_HOSTS", "https://chat.example", "without https://"),
        ("ALLOWED_HOSTS", "chat.example:8000", "without https:// and ports"),
        ("TRUSTED_ORIGINS", "chat.example", "https://host"),
        ("HANDLE_SIGNALS", "perhaps", "HANDLE_SIGNALS"),
    ],
)
def test_what_is_wrong_is_named_and_secrets_are_not(
    environment: pytest.MonkeyPatch, name: str, value: str, advice: str
) -> None:
    for known, good in (GOOD | {name: value}).items():
        environment.setenv(known, good)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert f"  {name}: " in str(caught.value)
    assert advice in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "unix:///run/redis.sock?db=2"),
        ("REDIS_URL", "rediss://u:secret@[::1]:6380/0?ssl_cert_reqs=none&max_connections=50"),
        ("DATABASE_URL", "postgresql://u:secret@a:5432,b:5433/db?target_session_attrs=read-write"),
        ("DATABASE_URL", "postgres:///db?host=/run/postgresql"),
    ],
)
def test_addresses_that_the_clients_can_read_are_taken(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    for known, good in (GOOD | {name: value}).items():
        environment.setenv(known, good)
    assert getattr(load_settings(), name.lower()).get_secret_value() == value


def test_white_space_around_a_value_is_no_part_of_it(environment: pytest.MonkeyPatch) -> None:
    for name, value in (GOOD | {"OPENAI_API_KEY": "key\n", "WEB_SEARCH": " false ", "LLM_MODEL": " "}).items():
        environment.setenv(name, value)
    settings = load_settings()
    assert settings.openai_api_key is not None
    assert settings.openai_api_key.get_secret_value() == "key"
    assert not settings.web_search
    assert settings.llm_model is None


def test_cookies_need_origins_with_names(environment: pytest.MonkeyPatch) -> None:
    values = {name.lower(): value for name, value in GOOD.items()}
    with pytest.raises(SettingsError, match="name the origins"):
        load_settings(**values, cors_origins="*", cors_credentials=True)
    assert load_settings(**values, cors_origins="https://a.example", cors_credentials=True).cors_credentials


def test_nothing_that_is_printed_has_a_secret(environment: pytest.MonkeyPatch) -> None:
    values = {name.lower(): value for name, value in GOOD.items()}
    settings = load_settings(**values, openai_api_key="secret-key")
    assert "secret" not in f"{settings!r} {settings} {settings.model_dump()}"


def test_every_setting_says_what_it_is_for() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_without_an_agent_a_model_and_its_key_are_needed(environment: pytest.MonkeyPatch) -> None:
    values = {name.lower(): value for name, value in GOOD.items()}
    with pytest.raises(SettingsError) as caught:
        create_app(load_settings(**values, llm_provider="anthropic"))
    assert "LLM_MODEL: not set." in str(caught.value)
    assert "ANTHROPIC_API_KEY: not set." in str(caught.value)
    with pytest.raises(SettingsError) as caught:
        create_app(load_settings(**values, llm_provider="mistralai"))
    assert "_API_KEY" not in str(caught.value), "other providers find their keys themselves"


def test_a_missing_extra_names_the_line_that_installs_it() -> None:
    program = (
        "import sys; sys.modules['starlette'] = None\n"
        "try:\n    import resumable_stream.app\n"
        "except ModuleNotFoundError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install 'resumable-stream-redis[app]'" in done.stdout
