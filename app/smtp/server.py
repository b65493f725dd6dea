"""One SMTP server, as needed to talk to it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum

from app.outbound.guard import PUBLIC, Guard


class Encryption(StrEnum):
    """TLS: STARTTLS required (implicit TLS on port 465). SSL: implicit TLS. NONE: clear text."""

    TLS = "TLS"
    SSL = "SSL"
    NONE = "NONE"


@dataclass(frozen=True, slots=True)
class Credentials:
    """User name and password; with `is_token` the password is an OAuth 2.0 access token (RFC 6750). It never shows in
    a repr."""

    username: str
    password: str = field(repr=False)
    is_token: bool = False


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token; `is_fresh`: it was issued just now, so that asking for another one would not help."""

    text: str = field(repr=False)
    is_fresh: bool


ObtainToken = Callable[[str | None], Awaitable[AccessToken]]
"""Gives a token to authenticate with, never the one that the server has just refused, if any. Raises SmtpFailure."""


@dataclass(frozen=True, slots=True)
class TokenCredentials:
    """User name, and where the access token for each connection comes from."""

    username: str
    obtain: ObtainToken = field(repr=False)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds each phase may take. RFC 5321 section 4.5.3.2 asks for minutes after connecting."""

    connect: float = 10
    greeting: float = 30
    ehlo: float = 30
    tls: float = 15
    auth: float = 30
    mail: float = 60
    rcpt: float = 60
    data: float = 60
    content: float = 300
    dot: float = 600


@dataclass(frozen=True, slots=True)
class Server:
    """Where and how to connect. `client_name` is what EHLO says. `trusted_ca_file`: PEM file of certificate
    authorities trusted besides the system's; `trusted_ca`: PEM text of more of them. `clear_text_auth`: allow AUTH
    without TLS to a non-loopback host. `guard`: which of the host's addresses may be connected to."""

    host: str
    port: int
    encryption: Encryption
    client_name: str
    credentials: Credentials | TokenCredentials | None = None
    timeouts: Timeouts = Timeouts()
    trusted_ca_file: str | None = None
    trusted_ca: str | None = None
    clear_text_auth: bool = False
    guard: Guard = PUBLIC

    @property
    def implicit_tls(self) -> bool:
        """TLS from the first byte: asked for, or implied by port 465 (RFC 8314)."""
        return self.encryption is Encryption.SSL or (self.encryption is Encryption.TLS and self.port == 465)

    @property
    def starttls(self) -> bool:
        """STARTTLS is required before anything else is said."""
        return self.encryption is Encryption.TLS and not self.implicit_tls
