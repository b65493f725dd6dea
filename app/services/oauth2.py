"""How a service gets its access tokens (OAuth 2.0, RFC 6749): what may be configured, and what the token endpoint is
told. Pure but for the key that signs."""

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from ipaddress import ip_address
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from app.errors import ErrorCode, Problem
from app.mail.characters import header_breaking
from app.outbound.guard import LOOPBACK, Guard, is_among

MAX_NAME_CHARS = 255
MAX_SCOPE_CHARS = 500
MAX_ENDPOINT_CHARS = 500
MAX_SECRET_CHARS = 16 * 1024
MIN_RSA_BITS = 2048

_ASSERTION_SECONDS = 3600  # the longest that Google takes
_TENANT = re.compile(r"[A-Za-z0-9.-]{1,255}")


class OAuth2Grant(StrEnum):
    """By what right tokens are issued."""

    MICROSOFT_CLIENT_CREDENTIALS = "MICROSOFT_CLIENT_CREDENTIALS"
    MICROSOFT_REFRESH_TOKEN = "MICROSOFT_REFRESH_TOKEN"  # noqa: S105 - a kind of grant
    GOOGLE_REFRESH_TOKEN = "GOOGLE_REFRESH_TOKEN"  # noqa: S105 - a kind of grant
    GOOGLE_SERVICE_ACCOUNT = "GOOGLE_SERVICE_ACCOUNT"

    @property
    def is_microsoft(self) -> bool:
        """Whether Microsoft's endpoint issues them, else Google's."""
        return self.name.startswith("MICROSOFT")


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuth2Values:
    """As given; an empty text means the same as None. `grant` is a name of OAuth2Grant. `client_id`: of a service
    account its address. None for `scope` and `token_endpoint`: the default of the grant."""

    grant: str
    client_id: str
    tenant: str | None = None
    scope: str | None = None
    token_endpoint: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)


_SECRETS = {"client_secret": "clientSecret", "refresh_token": "refreshToken", "private_key": "privateKey"}
_NEEDED: Mapping[OAuth2Grant, frozenset[str]] = {
    OAuth2Grant.MICROSOFT_CLIENT_CREDENTIALS: frozenset({"client_secret"}),
    OAuth2Grant.MICROSOFT_REFRESH_TOKEN: frozenset({"refresh_token"}),
    OAuth2Grant.GOOGLE_REFRESH_TOKEN: frozenset({"client_secret", "refresh_token"}),
    OAuth2Grant.GOOGLE_SERVICE_ACCOUNT: frozenset({"private_key"}),
}
_OPTIONAL: Mapping[OAuth2Grant, frozenset[str]] = {
    OAuth2Grant.MICROSOFT_REFRESH_TOKEN: frozenset({"client_secret"})  # of an app that can keep one
}
_DEFAULT_SCOPES: Mapping[OAuth2Grant, str] = {
    OAuth2Grant.MICROSOFT_CLIENT_CREDENTIALS: "https://outlook.office365.com/.default",
    OAuth2Grant.MICROSOFT_REFRESH_TOKEN: "https://outlook.office.com/SMTP.Send offline_access",
    OAuth2Grant.GOOGLE_SERVICE_ACCOUNT: "https://mail.google.com/",
}


def check_oauth2(values: OAuth2Values, guard: Guard | None) -> Iterator[Problem]:
    """Everything that is wrong, each problem with its path below `oauth2`. `guard`: as for the service's server; by it
    http is permitted to this machine's loopback only."""
    if values.grant not in list(OAuth2Grant):
        yield _problem("grant", f"The grant is one of {', '.join(OAuth2Grant)}.")
        return
    grant = OAuth2Grant(values.grant)
    if not values.client_id:
        yield _problem("clientId", "A client id is needed; of a service account it is its address.")
    texts = (("clientId", values.client_id, MAX_NAME_CHARS), ("scope", values.scope, MAX_SCOPE_CHARS))
    for path, text, most in texts:
        if len(text or "") > most or header_breaking(text or ""):
            yield _problem(path, f"At most {most} characters are allowed, and no control characters.")
    yield from _check_tenant(grant, values.tenant)
    if values.token_endpoint and (wrong := endpoint_problem(values.token_endpoint, guard)):
        yield _problem("tokenEndpoint", wrong)
    yield from _check_secrets(grant, values)


def endpoint_problem(url: str, guard: Guard | None) -> str | None:
    """What is wrong with the URL of a token endpoint, as far as can be said without a look-up."""
    if len(url) > MAX_ENDPOINT_CHARS or not url.isascii() or any(char <= " " for char in url):
        return f"A URL has at most {MAX_ENDPOINT_CHARS} characters of ASCII, and no spaces."
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "The URL cannot be read."
    if not host or parts.username is not None or parts.fragment or port == 0:
        return "The URL names a host, and no user or fragment."
    if parts.scheme == "https" or (parts.scheme == "http" and _is_permitted_loopback(host, guard)):
        return None
    return "The URL begins with https://; http:// is for this machine's loopback, where that is permitted."


def default_scope(grant: OAuth2Grant) -> str | None:
    """What is asked for unless the service says otherwise; None: what the refresh token was issued for."""
    return _DEFAULT_SCOPES.get(grant)


def token_request(values: OAuth2Values, username: str, endpoint: str, moment: datetime) -> dict[str, str]:
    """The fields of the request to the endpoint for a token to the mailbox `username`; values without problems.

    Raises ValueError for a private key that cannot sign.
    """
    grant = OAuth2Grant(values.grant)
    scope = values.scope or default_scope(grant)
    fields = {"client_id": values.client_id, "client_secret": values.client_secret, "scope": scope}
    match grant:
        case OAuth2Grant.MICROSOFT_CLIENT_CREDENTIALS:
            fields["grant_type"] = "client_credentials"
        case OAuth2Grant.MICROSOFT_REFRESH_TOKEN | OAuth2Grant.GOOGLE_REFRESH_TOKEN:
            fields |= {"grant_type": "refresh_token", "refresh_token": values.refresh_token}
        case OAuth2Grant.GOOGLE_SERVICE_ACCOUNT:
            claims = {"iss": values.client_id, "sub": username, "scope": scope, "aud": endpoint}
            assertion = _assertion(claims, values.private_key or "", moment)
            fields = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
    return {name: value for name, value in fields.items() if value}


def _check_tenant(grant: OAuth2Grant, tenant: str | None) -> Iterator[Problem]:
    if not grant.is_microsoft:
        if tenant:
            yield _problem("tenant", "Only Microsoft has tenants.")
    elif tenant and not _TENANT.fullmatch(tenant):
        yield _problem("tenant", "A tenant is its id or one of its domains.")
    elif not tenant and grant is OAuth2Grant.MICROSOFT_CLIENT_CREDENTIALS:
        yield _problem("tenant", "Client credentials are those of a tenant: give its id, or one of its domains.")


def _check_secrets(grant: OAuth2Grant, values: OAuth2Values) -> Iterator[Problem]:
    allowed = _NEEDED[grant] | _OPTIONAL.get(grant, frozenset())
    for name, path in _SECRETS.items():
        secret = getattr(values, name)
        if not secret and name in _NEEDED[grant]:
            yield _problem(path, f"{grant} needs it.")
        elif secret and name not in allowed:
            yield _problem(path, f"{grant} takes none.")
        elif secret and (wrong := _secret_problem(name, secret)):
            yield _problem(path, wrong)


def _secret_problem(name: str, secret: str) -> str | None:
    if len(secret) > MAX_SECRET_CHARS:
        return f"At most {MAX_SECRET_CHARS} characters are allowed."
    if name == "private_key":
        return None if _is_rsa_key(secret) else f"It is no RSA private key in PEM, of at least {MIN_RSA_BITS} bits."
    return "Control characters are not allowed." if header_breaking(secret) else None


def _is_rsa_key(pem: str) -> bool:
    try:
        _rsa_key(pem)
    except ValueError:
        return False
    return True


def _rsa_key(pem: str) -> RSAPrivateKey:
    """Raises ValueError, which shows nothing of the key."""
    try:
        key = load_pem_private_key(pem.encode("ascii"), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("no private key") from None
    if not isinstance(key, RSAPrivateKey) or key.key_size < MIN_RSA_BITS:
        raise ValueError("no RSA key that is long enough")
    return key


def _assertion(claims: Mapping[str, str | None], private_key: str, moment: datetime) -> str:
    """A JWT, signed with RS256 (RFC 7515, RFC 7523)."""
    issued = int(moment.timestamp())
    timed = {**claims, "iat": issued, "exp": issued + _ASSERTION_SECONDS}
    signed = f"{_encoded({'alg': 'RS256', 'typ': 'JWT'})}.{_encoded(timed)}"
    signature = _rsa_key(private_key).sign(signed.encode(), PKCS1v15(), SHA256())
    return f"{signed}.{_base64url(signature)}"


def _encoded(part: Mapping[str, object]) -> str:
    return _base64url(json.dumps(part, separators=(",", ":")).encode())


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def _is_permitted_loopback(host: str, guard: Guard | None) -> bool:
    try:
        address = ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return False
    return is_among(LOOPBACK, address) and (guard is None or guard.permits(address))


def _problem(path: str, message: str) -> Problem:
    return Problem(ErrorCode.INVALID_INPUT, message, ("oauth2", path))
