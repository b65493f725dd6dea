"""One frozen Settings, read once from the environment and the .env file."""

import os
import socket
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BeforeValidator,
    DirectoryPath,
    Field,
    FilePath,
    IPvAnyAddress,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]
Port = Annotated[int, Field(gt=0, le=65535)]
HostPattern = Annotated[str, Field(pattern=r"^(\*\.)?[A-Za-z0-9._:-]+$")]
LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(str.upper)]

_CENTURY = 100 * 365 * 24 * 3600  # more than that, added to a time, may be none
_UNSET = frozenset({"", "null", "(null)"})
"""What a .env file of Laravel's has where nothing is meant."""

_ENCRYPTIONS = dict.fromkeys((*_UNSET, "none"), "none") | {"smtp": "tls", "smtps": "ssl"}
"""The encryption that is meant by other words. The scheme `smtp` does not say which, so it is not clear text."""


def _given(value: Any) -> Any:
    return None if isinstance(value, str) and value.strip().lower() in _UNSET else value


def _mailer(value: Any) -> Any:
    return value.strip().lower() if isinstance(value := _given(value), str) else value


def _encryption(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    word = value.strip().lower()
    return _ENCRYPTIONS.get(word, word)


def _named(*variables: str) -> Any:
    """A setting that has its own names instead of HELIOGRAPH_<NAME>; of several the first one counts."""
    return Field(validation_alias=AliasChoices(*variables))


Given = BeforeValidator(_given)


class SettingsError(ValueError):
    """The environment holds a wrong value; the message names the variables and never shows a value."""


class Settings(BaseSettings):
    """Every setting is the environment variable HELIOGRAPH_<NAME>, but MAIL_* which other programs know as well;
    docs/operations.md lists them.

    Times are in seconds, sizes in bytes unless the name says characters.
    """

    model_config = SettingsConfigDict(env_prefix="HELIOGRAPH_", extra="ignore", frozen=True, populate_by_name=True)

    database_url: Annotated[str, Field(repr=False)] = "sqlite://heliograph.db"
    accept_batch: Count = 100
    accept_lanes: Count = 2
    database_pool_size: Count = 10
    database_busy_timeout: Seconds = 10
    database_command_timeout: Seconds = 60
    sqlite_checkpoint_commits: Count = 32
    sqlite_checkpoint_pages: Count = 12_000

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    public_url: str | None = None
    max_body_bytes: Count = 40 * 1024 * 1024
    admin_api_key: SecretStr | None = None
    api_key: SecretStr | None = None
    api_key_use_interval: Seconds = 60
    cache_entries: Annotated[int, Field(ge=0)] = 5000
    api_key_check_interval: Seconds = 1
    api_key_overlap: Annotated[float, Field(ge=0)] = 24 * 3600
    api_key_max_overlap: Annotated[float, Field(ge=0, le=_CENTURY, validate_default=True)] = 30 * 24 * 3600
    api_key_max_networks: Count = 100
    graphiql: bool = True
    graphiql_assets: Path | None = None
    graphql_introspection: bool = True
    graphql_max_document_chars: Count = 50_000
    graphql_max_url_chars: Count = 64 * 1024
    graphql_max_tokens: Count = 2000
    graphql_max_depth: Count = 15
    graphql_max_fields: Count = 500
    graphql_max_aliases: Count = 50
    graphql_max_directives: Count = 50
    graphql_max_operations: Count = 10
    graphql_max_root_mutations: Count = 10
    graphql_max_field_pairs: Count = 1000
    graphql_max_errors: Count = 10
    graphql_cached_chars: Count = 16_000
    graphql_connection_init_timeout: Seconds = 10
    graphql_max_operations_per_socket: Count = 100
    graphql_max_sockets_per_key: Count = 100
    cors_refresh: Annotated[float, Field(ge=0)] = 1
    cors_max_age: Annotated[int, Field(ge=0)] = 600
    health_timeout: Seconds = 2
    health_interval: Seconds = 1
    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = ()
    forwarded_header: Annotated[Literal["x-forwarded-for", "forwarded"], BeforeValidator(str.lower)] = "x-forwarded-for"
    hsts_max_age: Annotated[int, Field(ge=0)] = 0
    header_timeout: Seconds = 10
    body_timeout: Seconds = 30
    keep_alive_timeout: Count = 5
    max_header_bytes: Count = 64 * 1024
    max_connections: Count = 1000
    thread_switch_interval: Seconds = 0.005
    log_level: LogLevel = "INFO"
    log_format: Annotated[str, Field(pattern="^(human|json)$")] = "human"
    log_requests: bool = True
    log_addresses: Literal["full", "domain", "none"] = "domain"

    secret_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    secret_key_file: Path | None = None
    trusted_ca_file: FilePath | None = None

    max_recipients: Count = 1000
    max_attachments: Count = 100
    max_attachment_bytes: Count = 25 * 1024 * 1024
    attachment_hosts: Annotated[tuple[HostPattern, ...], NoDecode] = ()
    attachment_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = ()
    attachment_fetch_timeout: Seconds = 10
    attachment_max_redirects: Annotated[int, Field(ge=0)] = 3
    max_message_bytes: Count = 50 * 1024 * 1024
    spool_over: Count = 256 * 1024
    spool_string_over: Count = 64 * 1024
    spool_folder: DirectoryPath | None = None
    content_slice_bytes: Count = 256 * 1024
    unfinished_content_age: Seconds = 3600
    max_subject_chars: Count = 998
    max_name_chars: Annotated[int, Field(gt=0, le=256)] = 256
    max_headers: Count = 50
    max_header_chars: Count = 4096
    max_body_chars: Count = 10 * 1024 * 1024
    automatic_text: bool = True
    automatic_text_max_html_chars: Count = 1024 * 1024
    max_tags: Count = 20
    max_tag_chars: Count = 100
    max_metadata_bytes: Count = 16 * 1024
    max_template_variables: Count = 100
    max_grant_patterns: Count = 100
    max_grant_templates: Count = 100
    max_browser_origins: Count = 20
    max_browser_templates: Count = 100
    max_browser_recipients: Count = 20
    max_browser_message_bytes: Count = 256 * 1024
    client_ipv6_prefix: Annotated[int, Field(gt=0, le=128)] = 64
    max_preview_chars: Count = 1024 * 1024
    max_previews: Count = 2
    lint_mail_bytes: Count = 25 * 1024 * 1024
    lint_html_bytes: Count = 102 * 1024
    lint_visible_recipients: Count = 20
    lint_bulk_recipients: Count = 50
    lint_bulk_tags: Annotated[tuple[str, ...], NoDecode] = ("bulk", "marketing", "newsletter")
    max_json_depth: Annotated[int, Field(gt=0, le=200)] = 64
    max_json_values: Count = 20_000
    max_form_fields: Count = 1000
    max_schedule_ahead: Seconds = 366 * 24 * 3600
    max_pause_reason_chars: Count = 500
    max_trusted_ca_chars: Count = 64 * 1024
    idempotency_ttl: Seconds = 24 * 3600
    verdict_wait: Seconds = 30
    max_wait: Seconds = 60
    wait_poll: Seconds = 1

    ehlo_name: str | None = None
    smtp_private_networks: bool = True
    smtp_loopback: bool | None = None
    smtp_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = ()
    smtp_ports: Annotated[tuple[Port, ...], NoDecode, Field(min_length=1)] = (25, 465, 587, 2465, 2525, 2587)
    smtp_connect_timeout: Seconds = 10
    smtp_greeting_timeout: Seconds = 30
    smtp_ehlo_timeout: Seconds = 30
    smtp_tls_timeout: Seconds = 15
    smtp_auth_timeout: Seconds = 30
    smtp_mail_timeout: Seconds = 60
    smtp_rcpt_timeout: Seconds = 60
    smtp_data_timeout: Seconds = 60
    smtp_content_timeout: Seconds = 300
    smtp_dot_timeout: Seconds = 600
    smtp_max_connections: Count = 5
    smtp_max_messages_per_connection: Count = 100
    smtp_idle_limit: Seconds = 25
    smtp_noop_after: Seconds = 5
    smtp_messages_ahead: Annotated[int, Field(ge=0)] = 8
    smtp_unsettled: Count = 2
    smtp_messages_in_flight: Count = 8
    smtp_chunking: bool = True
    smtp_pipelining_pause: Seconds = 3600
    smtp_connection_limit_memory: Seconds = 600
    smtp_connection_limit_pause: Seconds = 1
    smtp_max_recipients_per_transaction: Count = 100
    smtp_reconnects: Annotated[int, Field(ge=0)] = 2

    dns_servers: Annotated[tuple[IPvAnyAddress, ...], NoDecode] = ()
    dns_port: Port = 53
    dns_timeout: Seconds = 5
    check_domain_timeout: Seconds = 20
    oauth2_microsoft_endpoint: str = "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token"
    oauth2_google_endpoint: str = "https://oauth2.googleapis.com/token"
    oauth2_timeout: Seconds = 10
    oauth2_max_answer_bytes: Count = 64 * 1024
    oauth2_refresh_margin: Seconds = 300
    oauth2_poll: Seconds = 0.5

    queue_poll: Seconds = 1
    queue_batch: Count = 20
    queue_report_wait: Seconds = 0.1
    turn_ahead: Seconds = 1
    claim_wait: Seconds = 0.005
    settle_wait: Seconds = 0.005
    give_way_claims: Count = 8
    give_way_busy: Annotated[float, Field(gt=0, le=1)] = 0.8
    give_way_accepted: Count = 16
    give_way_pause: Seconds = 0.1
    give_way_settle_wait: Seconds = 0.02
    recover_interval: Seconds = 20
    recover_batch: Count = 1000
    lease: Seconds = 60
    lease_renewal: Seconds = 20
    lease_grace: Seconds = 3600
    max_crashes: Count = 3
    worker_heartbeat: Seconds = 10
    worker_lost_after: Seconds = 40
    drain_timeout: Seconds = 25
    stop_timeout: Seconds = 30
    retry_schedule: Annotated[tuple[Seconds, ...], NoDecode, Field(min_length=1)] = (
        30,
        120,
        300,
        900,
        1800,
        3600,
        7200,
        14400,
    )
    retry_jitter: Annotated[float, Field(ge=0, lt=1)] = 0.2
    max_asked_delay: Seconds = 24 * 3600
    give_up_after: Seconds = 4 * 24 * 3600
    circuit_probe_interval: Seconds = 30
    circuit_auth_interval: Seconds = 60
    diagnosis_timeout: Seconds = 60
    diagnosis_stage_timeout: Seconds = 20
    diagnosis_max_addresses: Count = 8
    diagnosis_max_at_once: Count = 10
    diagnosis_certificate_days: Annotated[int, Field(ge=0)] = 14

    captured_mail_days: Seconds = 7
    audit_days: Annotated[int, Field(ge=0)] = 365
    audit_max_chars: Count = 1000
    housekeeping_interval: Seconds = 600

    mail_mailer: Annotated[
        Literal["smtp", "log"] | None, BeforeValidator(_mailer), _named("MAIL_MAILER", "MAIL_DRIVER")
    ] = None
    mail_host: Annotated[str | None, Given, _named("MAIL_HOST")] = None
    mail_port: Annotated[int | None, Given, _named("MAIL_PORT")] = None
    mail_username: Annotated[str | None, Given, _named("MAIL_USERNAME"), Field(repr=False)] = None
    mail_password: Annotated[SecretStr | None, Given, _named("MAIL_PASSWORD")] = None
    mail_encryption: Annotated[
        Literal["tls", "ssl", "none"] | None, BeforeValidator(_encryption), _named("MAIL_ENCRYPTION", "MAIL_SCHEME")
    ] = None
    mail_from_address: Annotated[str | None, Given, _named("MAIL_FROM_ADDRESS")] = None
    mail_from_name: Annotated[str | None, Given, _named("MAIL_FROM_NAME")] = None

    @field_validator(
        "secret_keys",
        "dns_servers",
        "attachment_hosts",
        "attachment_networks",
        "smtp_networks",
        "smtp_ports",
        "trusted_proxies",
        "lint_bulk_tags",
        mode="before",
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("retry_schedule", mode="before")
    @classmethod
    def _split_schedule(cls, value: Any) -> Any:
        return tuple(float(part) for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("lease_renewal")
    @classmethod
    def _renewed_in_time(cls, value: float, info: ValidationInfo) -> float:
        if value >= info.data.get("lease", value + 1):
            raise ValueError("a lease must be renewed before it ends: be less than HELIOGRAPH_LEASE")
        return value

    @field_validator("api_key_max_overlap")
    @classmethod
    def _no_less_than_unasked(cls, value: float, info: ValidationInfo) -> float:
        if value < info.data.get("api_key_overlap", value):
            raise ValueError("be no less than HELIOGRAPH_API_KEY_OVERLAP")
        return value

    @field_validator("stop_timeout")
    @classmethod
    def _after_the_drain(cls, value: float, info: ValidationInfo) -> float:
        if value <= info.data.get("drain_timeout", 0):
            raise ValueError("what could not finish is still to be released: be more than HELIOGRAPH_DRAIN_TIMEOUT")
        return value

    @cached_property
    def client_name(self) -> str:
        """What EHLO says: HELIOGRAPH_EHLO_NAME, or the host's name."""
        return self.ehlo_name or socket.gethostname() or "localhost"


def read_settings(**overrides: Any) -> Settings:
    """Read the environment and the file named by HELIOGRAPH_ENV_FILE (default: `.env` in the working folder).

    The environment wins over the file; `overrides` win over both. Raises SettingsError.
    """
    env_file = os.environ.get("HELIOGRAPH_ENV_FILE", ".env")
    try:
        return Settings(_env_file=env_file, **overrides)  # type: ignore[call-arg]
    except ValidationError as error:
        lines = [
            f"{_variable(problem['loc'])}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False, include_context=False)
        ]
        raise SettingsError("; ".join(lines)) from None


def _variable(path: tuple[int | str, ...]) -> str:
    """The name, or the names, of the variable that holds the value at this path."""
    name = str(path[0]).upper()
    if not name.startswith("MAIL_"):
        return f"HELIOGRAPH_{name}"
    field = Settings.model_fields.get(name.lower())
    alias = field.validation_alias if field else None
    return " or ".join(str(choice) for choice in alias.choices) if isinstance(alias, AliasChoices) else name
