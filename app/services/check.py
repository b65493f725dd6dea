"""What a service has to be like. Pure: values in, problems or values in stored form out."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

import idna

from app.errors import ErrorCode, Problem
from app.mail.address import check_email
from app.mail.characters import header_breaking, unstorable
from app.outbound.guard import Guard
from app.outbound.smtp import refused_host, refused_port
from app.services.authority import certificates_of, check_authorities
from app.services.models import ServiceKind
from app.services.oauth2 import OAuth2Values, check_oauth2
from app.services.providers import ProviderName, provider_named
from app.services.ses import ses_smtp_password
from app.smtp.server import Encryption

MAX_LABEL_CHARS = 128
MAX_DESCRIPTION_CHARS = 2000
MAX_HOST_CHARS = 255
MAX_USERNAME_CHARS = 255
MAX_PASSWORD_CHARS = 1024
MAX_DISPLAY_NAME_CHARS = 256
MAX_CONNECTIONS = 1000
MAX_RECIPIENTS_PER_TRANSACTION = 10_000
MAX_REGION_CHARS = 32
MIN_MESSAGES_PER_SECOND = 0.0001
MAX_MESSAGES_PER_SECOND = 10_000
MAX_RECIPIENTS = 1_000_000_000

_NAME = re.compile(r"[a-z0-9_-]{1,40}")
_HOST_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceValues:
    """A whole service, as given. An empty text means the same as None.

    `kind`, `encryption` and `provider` are names of ServiceKind, Encryption and ProviderName. None for `encryption`
    means TLS, for `port` 465 with SSL and else 587. `password_kept`: no new password, but one is stored and stays;
    `oauth2_kept` likewise. None for a limit means that there is none, for `max_connections` and
    `max_recipients_per_transaction` that the setting holds. A `ses_secret_access_key` stands for the password that is
    derived from it for `region`. `fallbacks`: names as they are given, ids once they are checked (see `fallback_ids`).
    """

    name: str
    kind: str = ServiceKind.SMTP
    label: str | None = None
    description: str | None = None
    is_active: bool = True
    provider: str | None = None
    region: str | None = None
    host: str | None = None
    port: int | None = None
    encryption: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    password_kept: bool = False
    ses_secret_access_key: str | None = field(default=None, repr=False)
    oauth2: OAuth2Values | None = None
    oauth2_kept: bool = False
    clear_text_auth: bool = False
    trusted_ca: str | None = None
    from_email: str | None = None
    from_name: str | None = None
    reply_to_email: str | None = None
    reply_to_name: str | None = None
    respond_async: bool = False
    max_connections: int | None = None
    max_recipients_per_transaction: int | None = None
    messages_per_second: float | None = None
    recipients_per_minute: int | None = None
    recipients_per_hour: int | None = None
    recipients_per_day: int | None = None
    fallbacks: Sequence[str] | None = None


def check_service(
    values: ServiceValues, max_trusted_ca_chars: int | None = None, guard: Guard | None = None
) -> tuple[Problem, ...]:
    """Everything that is wrong, each problem with the path of its field as GraphQL names it; empty if nothing is.

    `max_trusted_ca_chars`: the longest `trusted_ca`; None: any length. `guard`: where SMTP may connect to; None: not
    asked.
    """
    return (
        *_check_name(values.name),
        *_check_text("label", values.label, MAX_LABEL_CHARS),
        *_check_text("description", values.description, MAX_DESCRIPTION_CHARS, unstorable),
        *_check_kind(values),
        *_check_provider(values),
        *_check_reach(values, guard),
        *_check_oauth2(values, guard),
        *_check_trusted_ca(values, max_trusted_ca_chars),
        *_check_email("fromEmail", values.from_email),
        *_check_text("fromName", values.from_name, MAX_DISPLAY_NAME_CHARS),
        *_check_email("replyToEmail", values.reply_to_email),
        *_check_text("replyToName", values.reply_to_name, MAX_DISPLAY_NAME_CHARS),
        *_check_limits(values),
    )


def in_stored_form(values: ServiceValues) -> ServiceValues:
    """The same service as it is stored: name in lower case, host as A-labels, defaults filled in, None for empty.

    Only for values without problems.
    """
    smtp = values.kind == ServiceKind.SMTP
    encryption = Encryption(values.encryption or Encryption.TLS) if smtp else Encryption.NONE
    return replace(
        values,
        name=values.name.lower(),
        label=values.label or None,
        description=values.description or None,
        host=_host(values.host) if values.host else None,
        port=_port(values) if smtp else None,
        encryption=encryption,
        provider=values.provider or None,
        region=values.region or None,
        username=values.username or None,
        password=_password(values),
        ses_secret_access_key=None,
        clear_text_auth=values.clear_text_auth and smtp,
        trusted_ca=certificates_of(values.trusted_ca) if values.trusted_ca else None,
        from_email=values.from_email or None,
        from_name=values.from_name or None,
        reply_to_email=values.reply_to_email or None,
        reply_to_name=values.reply_to_name or None,
        fallbacks=list(values.fallbacks or ()) or None,
    )


def is_service_name(name: str) -> bool:
    """Whether a service could have this name, in any case."""
    return name.isascii() and _NAME.fullmatch(name.lower()) is not None


def _check_name(name: str) -> Iterator[Problem]:
    if not is_service_name(name):
        yield _problem("name", "A service name has 1 to 40 characters: letters a to z, digits, '_' and '-'.")


def _check_text(
    path: str, text: str | None, limit: int, forbidden: Callable[[str], str | None] = header_breaking
) -> Iterator[Problem]:
    if len(text or "") > limit:
        yield _problem(path, f"At most {limit} characters are allowed.")
    if forbidden(text or ""):
        yield _problem(path, "Control characters are not allowed.")


def _check_email(path: str, email: str | None) -> Iterator[Problem]:
    problem = check_email(email) if email else None
    if problem is not None:
        yield replace(problem, field=(path,))


def _check_kind(values: ServiceValues) -> Iterator[Problem]:
    match values.kind:
        case ServiceKind.SMTP:
            yield from _check_smtp(values)
        case ServiceKind.SANDBOX:
            yield from _check_sandbox(values)
        case _:
            yield _problem("kind", "The kind of a service is SMTP or SANDBOX.")


def _check_sandbox(values: ServiceValues) -> Iterator[Problem]:
    given = (
        ("host", values.host),
        ("port", values.port),
        ("username", values.username),
        ("password", values.password or values.password_kept),
        ("sesSecretAccessKey", values.ses_secret_access_key),
        ("oauth2", values.oauth2 or values.oauth2_kept),
        ("provider", values.provider),
        ("region", values.region),
        ("trustedCa", values.trusted_ca),
    )
    for path, value in given:
        if value:
            yield _problem(path, "A SANDBOX service delivers into the built-in inbox and takes no server.")


def _check_provider(values: ServiceValues) -> Iterator[Problem]:
    """A region is one of the provider's; of a server that is none of its, it may be any."""
    if values.kind != ServiceKind.SMTP:
        return
    provider = provider_named(values.provider)
    if values.provider and provider is None:
        yield _problem("provider", f"The provider is one of {', '.join(ProviderName)}.")
    if not values.region:
        return
    if provider is None or provider.region is None:
        yield _problem("region", "Only a provider that has regions takes one.")
    elif len(values.region) > MAX_REGION_CHARS or not provider.region.has(values.region):
        known = ", ".join(provider.region.hosts) or f"written like {provider.region.example}"
        yield _problem("region", f"{values.provider} has no such region; they are {known}.")


def _check_smtp(values: ServiceValues) -> Iterator[Problem]:
    if not values.host:
        yield from _check_no_host(values)
    elif _host(values.host) is None:
        yield _problem("host", "The host is a host name or an IP address, without scheme, port and spaces.")
    if values.port is not None and not 1 <= values.port <= 65535:
        yield _problem("port", "A port is a number from 1 to 65535.")
    if values.encryption and values.encryption not in list(Encryption):
        yield _problem("encryption", "The encryption is TLS, SSL or NONE.")
    yield from _check_credentials(values)


def _check_no_host(values: ServiceValues) -> Iterator[Problem]:
    """Where the provider has regions, it is for want of one; of a region that it does not have is told already."""
    provider = provider_named(values.provider)
    if provider is None or provider.region is None:
        yield _problem("host", "An SMTP service needs a host.")
    elif not values.region:
        yield _problem("region", f"{values.provider} needs a region, for example {provider.region.example}.")


def _check_reach(values: ServiceValues, guard: Guard | None) -> Iterator[Problem]:
    """A name is held to the guard when it is connected to; so is an address, but of that it can be said now."""
    host = _host(values.host) if values.host and values.kind == ServiceKind.SMTP else None
    if host is None or guard is None:
        return
    if wrong := refused_host(host, guard):
        yield _problem("host", wrong)
    elif 1 <= _port(values) <= 65535 and (wrong := refused_port(host, _port(values), guard)):
        yield _problem("port", wrong)


def _check_credentials(values: ServiceValues) -> Iterator[Problem]:
    yield from _check_text("username", values.username, MAX_USERNAME_CHARS)
    yield from _check_text("password", values.password, MAX_PASSWORD_CHARS)
    yield from _check_ses(values)
    has_password = bool(values.password or values.ses_secret_access_key) or values.password_kept
    has_oauth2 = values.oauth2 is not None or values.oauth2_kept
    if values.username and not has_password and not has_oauth2:
        yield _problem("password", "A user name needs a password, or oauth2; give both or neither.")
    if has_password and has_oauth2:
        yield _problem("oauth2", "Give a password or oauth2, not both.")
    elif has_password and not values.username:
        yield _problem("username", "A password needs a user name; give both or neither.")
    elif has_oauth2 and not values.username:
        yield _problem("username", "OAuth2 needs a user name: the address of the mailbox.")


def _check_oauth2(values: ServiceValues, guard: Guard | None) -> Iterator[Problem]:
    if values.oauth2 is not None and values.kind == ServiceKind.SMTP:
        yield from check_oauth2(values.oauth2, guard)


def _check_ses(values: ServiceValues) -> Iterator[Problem]:
    if not values.ses_secret_access_key:
        return
    yield from _check_text("sesSecretAccessKey", values.ses_secret_access_key, MAX_PASSWORD_CHARS)
    if values.password:
        yield _problem("sesSecretAccessKey", "Give the password, or the key that it is derived from, not both.")
    if values.provider != ProviderName.AMAZON_SES:
        yield _problem("sesSecretAccessKey", f"Only for the provider {ProviderName.AMAZON_SES}.")
    elif not values.region and values.host:
        yield _problem("region", "The password is derived for a region, for example eu-west-1.")


def _check_trusted_ca(values: ServiceValues, max_chars: int | None) -> Iterator[Problem]:
    if not values.trusted_ca or values.kind != ServiceKind.SMTP:
        return
    if max_chars is not None and len(values.trusted_ca) > max_chars:
        yield _problem("trustedCa", f"At most {max_chars} characters are allowed.")
        return
    wrong = check_authorities(values.trusted_ca)
    if wrong is not None:
        yield _problem("trustedCa", wrong)


def _check_limits(values: ServiceValues) -> Iterator[Problem]:
    limits = (
        ("maxConnections", values.max_connections, 1, MAX_CONNECTIONS),
        (
            "maxRecipientsPerTransaction",
            values.max_recipients_per_transaction,
            1,
            MAX_RECIPIENTS_PER_TRANSACTION,
        ),
        ("messagesPerSecond", values.messages_per_second, MIN_MESSAGES_PER_SECOND, MAX_MESSAGES_PER_SECOND),
        ("recipientsPerMinute", values.recipients_per_minute, 1, MAX_RECIPIENTS),
        ("recipientsPerHour", values.recipients_per_hour, 1, MAX_RECIPIENTS),
        ("recipientsPerDay", values.recipients_per_day, 1, MAX_RECIPIENTS),
    )
    for path, limit, least, most in limits:
        if limit is not None and not least <= limit <= most:
            yield _problem(path, f"The limit is from {least} to {most}, or null for none.")


def _password(values: ServiceValues) -> str | None:
    if values.ses_secret_access_key and values.region:
        return ses_smtp_password(values.ses_secret_access_key, values.region)
    return values.password or None


def _port(values: ServiceValues) -> int:
    default = 465 if values.encryption == Encryption.SSL else 587
    return default if values.port is None else values.port


def _host(text: str) -> str | None:
    """The host as an IP address or as A-labels in lower case (RFC 5890), or None if it is neither."""
    try:
        return str(ip_address(text))
    except ValueError:
        return _host_name(text.removesuffix("."))


def _host_name(text: str) -> str | None:
    try:
        name = text.lower() if text.isascii() else idna.encode(text, uts46=True).decode()
    except idna.IDNAError:
        return None
    labels = name.split(".")
    # A name that ends in a number would be taken for an IPv4 address by resolvers: 127.1, 0x7f.1.
    numeric = labels[-1].isdecimal() or labels[-1].startswith("0x")
    fits = len(name) <= MAX_HOST_CHARS and all(_HOST_LABEL.fullmatch(label) for label in labels)
    return name if fits and not numeric else None


def _problem(path: str, message: str) -> Problem:
    return Problem(ErrorCode.INVALID_INPUT, message, (path,))
