"""The rules of a service, as a table."""

from dataclasses import replace
from typing import Any

import pytest
import trustme

from app.errors import ErrorCode
from app.outbound.guard import LOOPBACK, Guard
from app.services.check import ServiceValues, check_service, in_stored_form
from app.services.models import ServiceKind
from app.smtp.server import Encryption

SMTP = ServiceValues(name="email", host="smtp.example.org")
PEM = trustme.CA().cert_pem.bytes().decode()
SANDBOX = ServiceValues(name="email", kind=ServiceKind.SANDBOX)


def fields(values: ServiceValues) -> list[str]:
    return [".".join(problem.field) for problem in check_service(values)]


@pytest.mark.parametrize(
    "values",
    [
        SMTP,
        SANDBOX,
        replace(SMTP, name="A-b_9"),
        replace(SMTP, name="x" * 40),
        replace(SMTP, label="l" * 128, description="d" * 2000),
        replace(SMTP, description="one\r\n\ttwo"),
        replace(SMTP, port=1),
        replace(SMTP, port=25),
        replace(SMTP, port=65535),
        *(replace(SMTP, encryption=encryption.value) for encryption in Encryption),
        *(
            replace(SMTP, host=host)
            for host in (
                "localhost",
                "SMTP.Example.org.",
                "mail_server",
                "127.0.0.1",
                "::1",
                "2001:db8::25",
                "post.bücher.example",
                "3com.example",
                "a" * 63 + ".example",
            )
        ),
        replace(SMTP, username="u" * 255, password="p" * 1024),
        replace(SMTP, username="u", password_kept=True),
        replace(SMTP, username="", password=""),
        replace(SMTP, from_email="a@example.org", from_name="Zoë", reply_to_email="b@bücher.example"),
        replace(SMTP, label="", description="", from_email="", from_name="", reply_to_email="", reply_to_name=""),
        replace(SANDBOX, encryption="TLS", clear_text_auth=True),
        replace(SMTP, trusted_ca=PEM),
        replace(SMTP, trusted_ca=""),
    ],
)
def test_a_proper_service_passes(values: ServiceValues) -> None:
    assert check_service(values) == ()


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        *(
            (replace(SMTP, name=name), "name")
            for name in ("", "a b", "x" * 41, "é", "a.b", "a/b", "a\n", "\u017f", "\u212a")
        ),
        (replace(SMTP, label="l" * 129), "label"),
        (replace(SMTP, label="a\nb"), "label"),
        (replace(SMTP, description="d" * 2001), "description"),
        (replace(SMTP, description="\x00"), "description"),
        (replace(SMTP, description="\ud800"), "description"),
        (replace(SMTP, kind="PIGEON"), "kind"),
        *(
            (replace(SMTP, host=host), "host")
            for host in (
                None,
                "",
                "smtp://example.org",
                "example.org:25",
                "exa mple.org",
                " example.org",
                "example.org ",
                "example.org/x",
                "user@example.org",
                "[::1]",
                "-a.example",
                "a-.example",
                "a..example",
                ".",
                "127.1",
                "0x7f.0x1",
                "1.2.3.256",
                "a" * 64 + ".example",
                ".".join(["a" * 63] * 4) + ".example",
                "bü\ncher.example",
                "a\x00b",
                "\ud800.example",
            )
        ),
        *((replace(SMTP, port=port), "port") for port in (0, -1, 65536)),
        (replace(SMTP, encryption="STARTTLS"), "encryption"),
        (replace(SMTP, username="u"), "password"),
        (replace(SMTP, username="u", password=""), "password"),
        (replace(SMTP, password="p"), "username"),
        (replace(SMTP, password_kept=True), "username"),
        (replace(SMTP, username="u" * 256, password="p"), "username"),
        (replace(SMTP, username="u\r", password="p"), "username"),
        (replace(SMTP, username="u", password="p" * 1025), "password"),
        (replace(SMTP, username="u", password="p\x00"), "password"),
        (replace(SANDBOX, trusted_ca=PEM), "trustedCa"),
        (replace(SMTP, from_name="a\r\nBcc: b"), "fromName"),
        (replace(SMTP, from_name="n" * 257), "fromName"),
        (replace(SMTP, reply_to_name="\u2028"), "replyToName"),
        (replace(SANDBOX, host="smtp.example.org"), "host"),
        (replace(SANDBOX, port=25), "port"),
        (replace(SANDBOX, username="u"), "username"),
        (replace(SANDBOX, password="p"), "password"),
        (replace(SANDBOX, password_kept=True), "password"),
    ],
)
def test_a_wrong_field_is_named(values: ServiceValues, wrong: str) -> None:
    assert fields(values) == [wrong]
    assert check_service(values)[0].code is ErrorCode.INVALID_INPUT


def test_addresses_are_judged_by_the_rules_of_mail() -> None:
    problems = check_service(replace(SMTP, from_email="a@b@c d", reply_to_email="nobody"))

    assert [(problem.field, problem.code) for problem in problems] == [
        (("fromEmail",), ErrorCode.INVALID_EMAIL),
        (("replyToEmail",), ErrorCode.INVALID_EMAIL),
    ]


def test_all_problems_are_named_at_once() -> None:
    values = replace(SMTP, name="a b", host="x y", port=0, encryption="?", username="u", from_email="@", label="\n")

    assert sorted(fields(values)) == ["encryption", "fromEmail", "host", "label", "name", "password", "port"]


@pytest.mark.parametrize(
    ("encryption", "port", "stored"),
    [
        (None, None, (Encryption.TLS, 587)),
        ("TLS", None, (Encryption.TLS, 587)),
        ("SSL", None, (Encryption.SSL, 465)),
        ("NONE", None, (Encryption.NONE, 587)),
        ("SSL", 2465, (Encryption.SSL, 2465)),
        ("TLS", 25, (Encryption.TLS, 25)),
    ],
)
def test_the_port_follows_from_the_encryption(
    encryption: str | None, port: int | None, stored: tuple[Encryption, int]
) -> None:
    values = in_stored_form(replace(SMTP, encryption=encryption, port=port))

    assert (values.encryption, values.port) == stored


@pytest.mark.parametrize(
    ("host", "stored"),
    [
        ("SMTP.Example.ORG.", "smtp.example.org"),
        ("Post.BÜCHER.example", "post.xn--bcher-kva.example"),
        ("2001:DB8:0:0::25", "2001:db8::25"),
        ("127.0.0.1", "127.0.0.1"),
    ],
)
def test_a_host_is_stored_as_it_is_looked_up(host: str, stored: str) -> None:
    assert in_stored_form(replace(SMTP, host=host)).host == stored


def test_an_empty_text_is_stored_as_none_and_the_name_in_lower_case() -> None:
    values = in_stored_form(replace(SMTP, name="EMail", label="", username="", password="", from_name=""))

    assert (values.name, values.label, values.username, values.password, values.from_name) == ("email", *[None] * 4)


def test_a_sandbox_is_stored_without_a_server() -> None:
    values = in_stored_form(replace(SANDBOX, encryption="TLS", clear_text_auth=True))

    assert (values.host, values.port, values.encryption, values.clear_text_auth) == (None, None, "NONE", False)


def limited(service: ServiceValues, field: str, limit: float | None) -> ServiceValues:
    changes: dict[str, Any] = {field: limit}
    return replace(service, **changes)


@pytest.mark.parametrize(
    ("field", "path", "least", "most", "between"),
    [
        ("max_connections", "maxConnections", 1, 1000, 5),
        ("max_recipients_per_transaction", "maxRecipientsPerTransaction", 1, 10_000, 50),
        ("messages_per_second", "messagesPerSecond", 0.0001, 10_000, 0.2),
        ("recipients_per_minute", "recipientsPerMinute", 1, 10**9, 100),
        ("recipients_per_hour", "recipientsPerHour", 1, 10**9, 100),
        ("recipients_per_day", "recipientsPerDay", 1, 10**9, 100),
    ],
)
def test_a_limit_is_above_zero_and_sane(field: str, path: str, least: float, most: float, between: float) -> None:
    for service in (SMTP, SANDBOX):
        for good in (None, least, between, most):
            assert check_service(limited(service, field, good)) == ()
        for bad in (0, -1, least / 2, most + 1, float("nan"), float("inf")):
            (problem,) = check_service(limited(service, field, bad))
            assert problem.field == (path,)
            assert str(most) in problem.message


def test_a_password_never_shows() -> None:
    values = replace(SMTP, username="u", password="canary\n" + "p" * 2000)

    assert "canary" not in repr(values)
    assert "canary" not in repr(check_service(values))


def test_a_trusted_authority_has_a_longest_text() -> None:
    values = replace(SMTP, trusted_ca=PEM)
    assert check_service(values, max_trusted_ca_chars=len(PEM)) == ()
    [problem] = check_service(values, max_trusted_ca_chars=len(PEM) - 1)
    assert (problem.field, problem.message) == (("trustedCa",), f"At most {len(PEM) - 1} characters are allowed.")


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        (SMTP, None),
        (replace(SMTP, host="127.0.0.1"), "host"),
        (replace(SMTP, host="0:0:0:0:0:ffff:127.0.0.1"), "host"),
        (replace(SMTP, host="LOCALHOST."), "host"),
        (replace(SMTP, port=22), "port"),
        (replace(SMTP, port=None, encryption="SSL"), "port"),
        (replace(SMTP, port=None, encryption=None), None),
        (replace(SMTP, host="127.0.0.1", port=22), "host"),
        (SANDBOX, None),
    ],
)
def test_host_and_port_are_held_to_a_guard(values: ServiceValues, wrong: str | None) -> None:
    strict = Guard(refused=LOOPBACK, ports=(587,))
    assert check_service(values) == ()
    assert [problem.field for problem in check_service(values, guard=strict)] == ([(wrong,)] if wrong else [])


def test_a_host_or_port_that_is_none_is_told_once() -> None:
    values = replace(SMTP, host="127.1", port=70000)
    assert [problem.field for problem in check_service(values, guard=Guard(ports=(587,)))] == [("host",), ("port",)]
