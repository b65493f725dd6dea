"""What of OAuth 2.0 may be configured, and what the token endpoint is told."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from app.outbound.guard import LOOPBACK, Guard
from app.services.oauth2 import OAuth2Values, check_oauth2, endpoint_problem, token_request

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
KEY = generate_rsa(65537, 2048)


def pem(key: Any) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


APP = OAuth2Values(grant="MICROSOFT_CLIENT_CREDENTIALS", client_id="app", tenant="t.example", client_secret="s")
USER = OAuth2Values(grant="MICROSOFT_REFRESH_TOKEN", client_id="app", refresh_token="r")
GOOGLE = OAuth2Values(grant="GOOGLE_REFRESH_TOKEN", client_id="app", client_secret="s", refresh_token="r")
ACCOUNT = OAuth2Values(grant="GOOGLE_SERVICE_ACCOUNT", client_id="bot@p.example", private_key=pem(KEY))


@pytest.mark.parametrize("values", [APP, USER, replace(USER, client_secret="s", tenant="consumers"), GOOGLE, ACCOUNT])
def test_each_grant_has_what_it_needs(values: OAuth2Values) -> None:
    assert list(check_oauth2(values, None)) == []


WRONG: list[tuple[OAuth2Values, str]] = [
    (replace(APP, grant="PASSWORD"), "grant"),
    (replace(APP, client_id=""), "clientId"),
    (replace(APP, client_id="x" * 256), "clientId"),
    (replace(APP, scope="a\nb"), "scope"),
    (replace(APP, tenant=None), "tenant"),
    (replace(APP, tenant="a/../b"), "tenant"),
    (replace(GOOGLE, tenant="t"), "tenant"),
    (replace(APP, client_secret=None), "clientSecret"),
    (replace(APP, refresh_token="canary"), "refreshToken"),
    (replace(APP, client_secret="canary\n"), "clientSecret"),
    (replace(APP, client_secret="canary" * 4000), "clientSecret"),
    (replace(USER, refresh_token=None), "refreshToken"),
    (replace(GOOGLE, client_secret=None), "clientSecret"),
    (replace(ACCOUNT, private_key=None), "privateKey"),
    (replace(ACCOUNT, private_key="canary"), "privateKey"),
    (replace(ACCOUNT, private_key=pem(generate_private_key(SECP256R1()))), "privateKey"),
    (replace(ACCOUNT, private_key=pem(generate_rsa(65537, 1024))), "privateKey"),
    (replace(ACCOUNT, client_secret="canary"), "clientSecret"),
    (replace(APP, token_endpoint="http://login.example/token"), "tokenEndpoint"),
]


@pytest.mark.parametrize(("values", "field"), WRONG)
def test_what_is_wrong_is_named_and_no_secret_shown(values: OAuth2Values, field: str) -> None:
    (problem,) = check_oauth2(values, None)
    assert problem.field == ("oauth2", field)
    assert "canary" not in f"{problem}{values!r}"


@pytest.mark.parametrize(
    ("url", "permitted", "forbidden"),
    [
        ("https://login.example/token?p=1", True, True),
        ("https://127.0.0.1:8443/token", True, True),  # what it connects to is the guard's to say
        ("http://127.0.0.1:1/token", True, False),
        ("http://localhost:1/token", True, False),
        ("http://[::1]:1/token", True, False),
        ("http://login.example/token", False, False),
        ("http://192.168.1.1/token", False, False),
        ("ftp://login.example/token", False, False),
        ("https://me@login.example/token", False, False),
        ("https://login.example/token#x", False, False),
        ("https:///token", False, False),
        ("https://login.example:99999/", False, False),
        ("https://login.example/ x", False, False),
        ("https://" + "x" * 500, False, False),
        ("login.example", False, False),
    ],
)
def test_an_endpoint_is_https_or_a_loopback_that_is_permitted(url: str, permitted: bool, forbidden: bool) -> None:
    guards = (Guard(allowed=LOOPBACK), Guard(refused=LOOPBACK))
    assert [endpoint_problem(url, guard) is None for guard in guards] == [permitted, forbidden]


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        (
            APP,
            {
                "grant_type": "client_credentials",
                "client_id": "app",
                "client_secret": "s",
                "scope": "https://outlook.office365.com/.default",
            },
        ),
        (
            USER,
            {
                "grant_type": "refresh_token",
                "client_id": "app",
                "refresh_token": "r",
                "scope": "https://outlook.office.com/SMTP.Send offline_access",
            },
        ),
        (replace(GOOGLE, scope="x"), {"grant_type": "refresh_token", "client_id": "app", "scope": "x"}),
        (GOOGLE, {"grant_type": "refresh_token", "client_secret": "s", "refresh_token": "r"}),
    ],
)
def test_the_endpoint_is_told_what_the_grant_asks_for(values: OAuth2Values, fields: dict[str, str]) -> None:
    told = token_request(values, "me@example.com", "https://e.example/", NOW)
    assert {name: told.get(name) for name in fields} == fields
    assert "" not in told.values()
    assert ("scope" in told) is (values.scope is not None or values.grant.startswith("MICROSOFT"))


def test_a_service_account_signs_for_its_user() -> None:
    told = token_request(ACCOUNT, "me@example.com", "https://e.example/token", NOW)
    assert told["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert told.keys() == {"grant_type", "assertion"}
    header, claims, signature = told["assertion"].split(".")
    assert isinstance(KEY, RSAPrivateKey)
    KEY.public_key().verify(_decoded(signature), f"{header}.{claims}".encode(), PKCS1v15(), SHA256())
    assert json.loads(_decoded(header)) == {"alg": "RS256", "typ": "JWT"}
    assert json.loads(_decoded(claims)) == {
        "iss": "bot@p.example",
        "sub": "me@example.com",
        "scope": "https://mail.google.com/",
        "aud": "https://e.example/token",
        "iat": int(NOW.timestamp()),
        "exp": int(NOW.timestamp()) + 3600,
    }


def test_a_key_that_cannot_sign_is_told_without_it() -> None:
    with pytest.raises(ValueError, match="no private key") as refused:
        token_request(replace(ACCOUNT, private_key="canary"), "me", "https://e.example/", NOW)
    assert "canary" not in repr(refused.value)


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
