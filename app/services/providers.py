"""What is known of mail providers, from `providers.toml`, and services filled in from it. Pure but for that file."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from app.smtp.server import Encryption


class ProviderName(StrEnum):
    """The providers with a preset; GENERIC is any other server."""

    GMAIL = "GMAIL"
    GOOGLE_WORKSPACE = "GOOGLE_WORKSPACE"
    GOOGLE_WORKSPACE_RELAY = "GOOGLE_WORKSPACE_RELAY"
    MICROSOFT_365 = "MICROSOFT_365"
    OUTLOOK_COM = "OUTLOOK_COM"
    AMAZON_SES = "AMAZON_SES"
    YAHOO = "YAHOO"
    SENDGRID = "SENDGRID"
    MAILGUN = "MAILGUN"
    POSTMARK = "POSTMARK"
    BREVO = "BREVO"
    FASTMAIL = "FASTMAIL"
    ZOHO = "ZOHO"
    ICLOUD = "ICLOUD"
    GENERIC = "GENERIC"


class CredentialKind(StrEnum):
    """What a provider asks for. All but OAUTH2 and NONE are given as user name and password; a secret access key may
    be given instead of the password that is derived from it."""

    PASSWORD = "PASSWORD"  # noqa: S105 - a kind of one
    APP_PASSWORD = "APP_PASSWORD"  # noqa: S105 - a kind of one
    API_KEY = "API_KEY"
    SMTP_CREDENTIALS = "SMTP_CREDENTIALS"
    SES_SECRET_ACCESS_KEY = "SES_SECRET_ACCESS_KEY"  # noqa: S105 - a kind of one
    OAUTH2 = "OAUTH2"
    NONE = "NONE"


class PublishedLimit(StrEnum):
    """What providers limit, in the terms of a service."""

    RECIPIENTS_PER_MESSAGE = "RECIPIENTS_PER_MESSAGE"
    MESSAGES_PER_SECOND = "MESSAGES_PER_SECOND"
    RECIPIENTS_PER_MINUTE = "RECIPIENTS_PER_MINUTE"
    RECIPIENTS_PER_HOUR = "RECIPIENTS_PER_HOUR"
    RECIPIENTS_PER_DAY = "RECIPIENTS_PER_DAY"
    CONNECTIONS = "CONNECTIONS"


LIMIT_COLUMNS: Mapping[PublishedLimit, str] = {
    PublishedLimit.RECIPIENTS_PER_MESSAGE: "max_recipients_per_transaction",
    PublishedLimit.MESSAGES_PER_SECOND: "messages_per_second",
    PublishedLimit.RECIPIENTS_PER_MINUTE: "recipients_per_minute",
    PublishedLimit.RECIPIENTS_PER_HOUR: "recipients_per_hour",
    PublishedLimit.RECIPIENTS_PER_DAY: "recipients_per_day",
    PublishedLimit.CONNECTIONS: "max_connections",
}
"""The column of a service that each becomes."""


class _Figure(BaseModel):
    """Where a figure is from, and when it was looked up."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    source: Annotated[str, Field(pattern=r"^https://\S+$")]
    checked: date
    note: str | None = None


class ProviderServer(_Figure):
    """Where its server is; a host may hold `{region}`."""

    host: str
    port: Annotated[int, Field(gt=0, le=65535)]
    encryption: Annotated[Encryption, Field(strict=False)]


class Regions(_Figure):
    """Which regions there are: the host of each, or a pattern of their names. `default`: None where one must be
    said."""

    hosts: Mapping[str, str] = {}
    pattern: str | None = None
    default: str | None = None
    example: str

    def has(self, region: str) -> bool:
        """Whether it is one of them."""
        return region in self.hosts or (self.pattern is not None and re.fullmatch(self.pattern, region) is not None)


class SpfInclude(_Figure):
    """What a sender's SPF record includes to authorise its servers; it may hold `{region}`."""

    include: str


class Limit(_Figure):
    """A published limit. `default`: a new service gets it; else it depends on the account."""

    value: Annotated[float, Field(gt=0, strict=False)]
    default: bool = True


class Provider(BaseModel):
    """One provider. `username`: the user name of all its customers. `unpublished`: limits without a figure."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    label: str
    credentials: tuple[Annotated[CredentialKind, Field(strict=False)], ...]
    username: str | None = None
    notes: tuple[str, ...]
    server: ProviderServer | None = None
    region: Regions | None = None
    spf: SpfInclude | None = None
    limits: Mapping[Annotated[PublishedLimit, Field(strict=False)], Limit] = {}
    unpublished: tuple[Annotated[PublishedLimit, Field(strict=False)], ...]

    def host(self, region: str | None) -> str | None:
        """Its server's host in this region, or in the default one; None where that cannot be said."""
        if self.server is None:
            return None
        if self.region is None:
            return self.server.host
        region = region or self.region.default
        if region is None or not self.region.has(region):
            return None
        return self.region.hosts.get(region, self.server.host.replace("{region}", region))

    def spf_include(self, region: str | None) -> str | None:
        """What an SPF record includes for its servers in this region, or in the default one; None: not known."""
        region = region or (self.region.default if self.region else None)
        if self.spf is None or (region is None and "{region}" in self.spf.include):
            return None
        return self.spf.include.replace("{region}", region or "")


@lru_cache(maxsize=1)
def providers() -> Mapping[ProviderName, Provider]:
    """All of them, in the order of the file, which is read once."""
    with Path(__file__).with_name("providers.toml").open("rb") as file:
        found = tomllib.load(file)
    return TypeAdapter(dict[ProviderName, Provider]).validate_python(_lists_as_tuples(found))


def provider_named(name: str | None) -> Provider | None:
    """The provider of this name, exactly as ProviderName spells it; None for none."""
    return providers()[ProviderName(name)] if name in list(ProviderName) else None


def preset(provider: Provider, region: str | None, *, with_server: bool) -> Mapping[str, Any]:
    """A new service's columns by what the provider says; those of port and encryption only `with_server`."""
    columns = dict(_limits(provider))
    columns["host"] = provider.host(region)
    if provider.server is not None and with_server:
        columns["port"], columns["encryption"] = provider.server.port, provider.server.encryption.value
    return columns


def _limits(provider: Provider) -> Iterator[tuple[str, Any]]:
    for name, limit in provider.limits.items():
        if limit.default:
            fraction = name is PublishedLimit.MESSAGES_PER_SECOND
            yield LIMIT_COLUMNS[name], limit.value if fraction else int(limit.value)


def _lists_as_tuples(value: Any) -> Any:
    """TOML has lists only, and nothing that is read here is to be changed."""
    match value:
        case dict():
            return {key: _lists_as_tuples(item) for key, item in value.items()}
        case list():
            return tuple(_lists_as_tuples(item) for item in value)
    return value
