"""Settings of the sub-app: from arguments, the environment or a ``.env`` file, checked with messages that help."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from redis.asyncio import Redis


class SettingsError(ValueError):
    """Settings that cannot work. The text has one line for each, and never a value that may be secret."""


_HOST = r"[\w.-]+|\[[0-9a-fA-F:.]+\]"
_REDIS_ADVICE = "write it as redis://host:6379/0, or rediss:// for TLS"
_DATABASE_ADVICE = "write it as postgresql://user:password@host:5432/name"
_ENCODE_ADVICE = "percent-encode special characters in the password"


def _redis_url(value: SecretStr) -> SecretStr:
    url = value.get_secret_value()
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("redis", "rediss", "unix") and (parts.port is None or parts.port > 0)
    except ValueError:  # a password with a slash, most likely: what follows is no port
        raise ValueError(f"{_REDIS_ADVICE}; {_ENCODE_ADVICE}") from None
    if not known:
        raise ValueError(_REDIS_ADVICE)
    if parts.scheme != "unix" and not re.fullmatch(r"(/[0-9]*)?", parts.path):  # redis-py would take database 0
        raise ValueError(f"what follows the host is the number of a database; {_REDIS_ADVICE}; {_ENCODE_ADVICE}")
    try:
        # It does not connect; it says what it cannot read.
        Redis.from_url(url).connection_pool.make_connection()  # type: ignore[no-untyped-call] # not annotated
    except Exception:  # noqa: BLE001 - whose text can hold a part of the password
        raise ValueError(f"it has a part that cannot be read; {_REDIS_ADVICE}") from None
    return value


def _database_url(value: SecretStr) -> SecretStr:
    url = value.get_secret_value()
    if not re.match("postgres(ql)?://", url):
        raise ValueError(_DATABASE_ADVICE)
    try:
        parts = conninfo_to_dict(url)
    except ProgrammingError:  # whose text can hold a part of the password
        raise ValueError(f"it has a part that cannot be read; {_DATABASE_ADVICE}; {_ENCODE_ADVICE}") from None
    ports = [port for port in str(parts.get("port", "")).split(",") if port]  # of several hosts
    misread = "@" in f"{parts.get('host', '')}{parts.get('dbname', '')}"  # a password with @ or a slash
    if misread or not all(re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) < 65_536 for port in ports):
        raise ValueError(f"{_DATABASE_ADVICE}; {_ENCODE_ADVICE}")
    return value


class Settings(BaseSettings):
    """How the sub-app runs. Every field is an environment variable of the same name in capitals.

    What is passed as an argument wins over the environment, and that over ``.env`` in the working directory.
    ``load_settings`` gives clearer errors than calling the class.
    """

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )

    redis_url: Annotated[SecretStr, AfterValidator(_redis_url)] = Field(
        description="Where Redis or Valkey is, such as redis://localhost:6379/0. rediss:// is TLS."
    )
    database_url: Annotated[SecretStr, AfterValidator(_database_url)] = Field(
        description="Where PostgreSQL is, such as postgresql://user:password@localhost:5432/name."
    )
    database_pool_size: int = Field(
        default=10, ge=1, le=1000, description="The most connections to PostgreSQL per process."
    )
    database_prepare_statements: bool = Field(
        default=True,
        description="Prepare statements on the server. Set it to false behind a PgBouncer that pools transactions.",
    )

    llm_provider: str = Field(
        default="openai",
        description="Who serves the model of the ready agent: openai, anthropic, google, or another provider that"
        " init_chat_model of LangChain knows.",
    )
    llm_model: str | None = Field(default=None, description="The model that answers, by the provider's name for it.")
    llm_title_model: str | None = Field(
        default=None,
        description="The model that makes titles for threads. Unset: the one that answers; none for a graph of yours.",
    )
    llm_base_url: str | None = Field(
        default=None, description="Another server that speaks the provider's protocol, such as a proxy."
    )
    openai_api_key: SecretStr | None = Field(default=None, description="The key for OpenAI.")
    anthropic_api_key: SecretStr | None = Field(default=None, description="The key for Anthropic.")
    google_api_key: SecretStr | None = Field(default=None, description="The key for Google.")
    tavily_api_key: SecretStr | None = Field(
        default=None, description="The key for Tavily's web search. Unset: DuckDuckGo, which needs none."
    )
    web_search: bool = Field(
        default=True, description="Whether the ready agent may search the web. Needs the extra 'search'."
    )
    system_prompt: str | None = Field(
        default=None, description="What the agent is told before every conversation. Unset: a short default."
    )

    stream_ttl_seconds: float = Field(
        default=900.0, ge=10, le=30 * 86400, description="Seconds that a stream can be read after its end."
    )
    stream_lease_seconds: float = Field(
        default=10.0,
        ge=0.5,
        le=600,
        description="Seconds without a sign of life after which a run counts as crashed.",
    )
    keep_alive_seconds: float = Field(
        default=15.0, ge=0.05, le=300, description="Seconds of silence after which a stream sends a comment."
    )
    connection_max_seconds: float = Field(
        default=600.0,
        ge=1,
        le=86400,
        description="Seconds after which a stream's connection is closed, 80 to 100 % of it; the client resumes.",
    )
    shutdown_grace_seconds: float = Field(
        default=10.0,
        ge=0,
        le=3600,
        description="Seconds that active runs get to finish when the process is told to stop; then they are handed over"
        " to another process, or end as lost where that cannot be.",
    )
    drain_seconds: float = Field(
        default=5.0,
        ge=0,
        le=3600,
        description="Seconds that runs get after that to come to a step from which another process can go on; then they"
        " are broken off, and their current message is begun again there.",
    )
    run_executor: Literal["web", "worker"] = Field(
        default="web",
        description="Which processes execute runs: those that serve the web, or those of `resumable-stream worker`,"
        " which needs the extra 'worker'.",
    )
    run_max_attempts: int = Field(
        default=3,
        ge=1,
        le=100,
        description="How often a run is begun when its process dies: other processes go on from its last checkpoint."
        " 1: never again; it ends as lost.",
    )
    run_takeover_seconds: float = Field(
        default=60.0,
        ge=1,
        le=86400,
        description="Seconds that a run whose process died waits for another one, before it ends as lost.",
    )
    run_queue_seconds: float = Field(
        default=300.0, ge=1, le=86400, description="Seconds that a new run waits for a process to begin it."
    )
    handle_signals: bool = Field(
        default=True,
        description="On SIGTERM and SIGINT close open streams first, so that the server can stop; the handlers that"
        " were there are called as before; where there was none, the process ends when it had time to end well. Set it"
        " to false where the host calls app.drain() itself.",
    )

    max_body_bytes: int = Field(
        default=256 * 1024, ge=1024, le=64 * 1024**2, description="The largest request body, in bytes."
    )
    body_timeout_seconds: float = Field(
        default=30.0, ge=0.1, le=3600, description="Seconds that the body of a request may take to come."
    )
    max_message_chars: int = Field(
        default=32_000, ge=1, le=10_000_000, description="The longest message, in characters."
    )
    max_active_runs_per_owner: int | None = Field(
        default=None,
        ge=1,
        description="How many answers may be under way for one owner at once, over all processes. Unset: 20 where"
        " identify tells owners apart; without it everybody is one owner, and there is no limit.",
    )
    max_streams_per_owner: int | None = Field(
        default=None,
        ge=1,
        description="How many event streams of one process one owner may have open. Unset: 64 where identify tells"
        " owners apart, and no limit without it.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Origins whose pages may call the API, separated by commas. Unset: only pages of the same origin.",
    )
    cors_credentials: bool = Field(default=False, description="Whether pages of those origins may send cookies.")
    trusted_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Origins that are this app's own, separated by commas: needed behind a proxy that rewrites the"
        " Host header, for browsers without Sec-Fetch-Site.",
    )

    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Host names by which the app may be reached, separated by commas and without ports. Unset: any."
        " Needed where there is no identify, against pages that give their name the app's address.",
    )
    log_format: Literal["text", "json"] = Field(
        default="text",
        description="How the log of the command `resumable-stream` looks: text, or one JSON object a line.",
    )

    @model_validator(mode="before")
    @classmethod
    def _trim(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Without the white space around: what was read from a file, such as a key, ends with a line feed."""
        trimmed = {name: value.strip() if isinstance(value, str) else value for name, value in values.items()}
        return {name: value for name, value in trimmed.items() if value != ""}

    @field_validator("llm_provider")
    @classmethod
    def _is_word(cls, value: str) -> str:
        if not re.fullmatch("[a-z][a-z0-9_]{0,63}", value):
            raise ValueError("write it as LangChain does, in small letters, such as openai")
        return value

    @field_validator("llm_base_url")
    @classmethod
    def _is_web_address(cls, value: str | None) -> str | None:
        if value is not None and not re.match(r"https?://[^\s/]+(/\S*)?$", value):
            raise ValueError("write it as https://host or http://host:port/path")
        return value

    @field_validator("cors_origins", "trusted_origins", "allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip().rstrip("/") for part in value.split(",") if part.strip())
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if not re.fullmatch(_HOST, host):
                raise ValueError("write names as chat.example or [::1], without https:// and ports")
        return value

    @field_validator("trusted_origins")
    @classmethod
    def _named(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "*" in value:
            raise ValueError("name the origins: with * any page could act for whoever looks at it")
        return value

    @field_validator("cors_origins", "trusted_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if origin != "*" and not re.fullmatch(rf"https?://({_HOST})(:[0-9]{{1,5}})?", origin):
                raise ValueError("write origins as https://host or http://host:port, separated by commas")
        return value

    @field_validator("cors_credentials")
    @classmethod
    def _not_for_everybody(cls, value: bool, info: Any) -> bool:
        if value and "*" in info.data.get("cors_origins", ()):
            raise ValueError("name the origins in CORS_ORIGINS: * cannot be used with cookies")
        return value

    @property
    def api_key(self) -> SecretStr | None:
        """The key for the chosen provider; ``None`` when it is not set, or the provider is none of the three."""
        keys = {
            "openai": self.openai_api_key,
            "anthropic": self.anthropic_api_key,
            "google": self.google_api_key,
        }
        return keys.get(self.llm_provider)

    def check_model(self) -> None:
        """Check that the settings say enough to build the ready agent.

        Raises:
            SettingsError: when the model or its key is missing.
        """
        lines = []
        if self.llm_model is None:
            lines.append(
                "  LLM_MODEL: not set. Name a model of the provider in the environment or in .env,"
                " or pass an agent to create_app()."
            )
        if self._lacks_key:
            lines.append(
                f"  {self.llm_provider.upper()}_API_KEY: not set. Put it in the environment or in"
                " .env, choose another LLM_PROVIDER, or pass an agent to create_app()."
            )
        if lines:
            raise SettingsError("\n".join(["There is no model to answer with:", *lines]))

    def check_title_model(self) -> None:
        """Check that a model for titles, where one is named, can be used.

        Raises:
            SettingsError: when its key is missing.
        """
        if self.llm_title_model is not None and self._lacks_key:
            raise SettingsError(
                "There is no key for the model that makes titles:\n"
                f"  {self.llm_provider.upper()}_API_KEY: not set. Put it in the environment or in .env, choose another"
                " LLM_PROVIDER, or leave out LLM_TITLE_MODEL."
            )

    @property
    def _lacks_key(self) -> bool:
        return self.api_key is None and self.llm_provider in ("openai", "anthropic", "google")


def load_settings(**values: Any) -> Settings:
    """Read the settings from the arguments, the environment and ``.env``.

    Raises:
        SettingsError: when something is missing or wrong; the text says what to write where.
    """
    try:
        return Settings(**values)
    except ValidationError as error:
        lines = [_explain(item["loc"], item["type"], item["msg"]) for item in error.errors()]
    raise SettingsError("The settings cannot work:\n" + "\n".join(lines))


def _explain(location: tuple[int | str, ...], kind: str, message: str) -> str:
    name = str(location[0]) if location else ""
    field = Settings.model_fields.get(name)
    if kind == "missing" and field is not None:
        return f"  {name.upper()}: not set. Put it in the environment or in .env. {field.description}"
    return f"  {name.upper()}: {message.removeprefix('Value error, ')}."
