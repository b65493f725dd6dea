"""Section 3 of the contract, first half, and section 4: what the SMTP server says, and what is answered then."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from app.inbox.receiver import Action, Drop, Stage, Wait
from tests.journeys.contract import (
    ANN,
    Answer,
    Arrival,
    Row,
    arrival,
    failed,
    mail,
    not_taken,
    queued,
    refused,
    sent,
    taken,
)

BOB, GONE, LATER = "bob@x.example", "gone@x.example", "later@x.example"
PASSWORD = "correct-horse-battery-staple"
LOGIN = {"username": "me@x.example", "password": PASSWORD}
MAY_LOGIN = {"credentials": {"me@x.example": PASSWORD}}
NO_USER = "550 5.1.1 No such user"
MAIL = mail()


def on(stage: Stage, action: Action | str, **rule: Any) -> tuple[Stage, Action | str, Mapping[str, Any]]:
    """A rule of the server's script."""
    return stage, action, rule


def not_before_the_answer(stage: Stage, **rule: Any) -> tuple[Stage, Action | str, Mapping[str, Any]]:
    """A rule behind those of the first attempt: the second one ends when the request is answered, and not sooner."""
    return on(stage, Wait(asyncio.Event()), **rule)


def to(*addresses: str) -> dict[str, str]:
    """The field that names them."""
    return {"to": ", ".join(addresses)}


def under(**headers: str) -> dict[str, str]:
    """Headers beside the key's."""
    return {"X-DreamFactory-API-Key": "{admin}"} | {name.replace("_", "-"): value for name, value in headers.items()}


def refused_at(stage: Stage, reply: str, code: int, enhanced: str) -> Row:
    """The server refuses the whole mail for good."""
    return Row([(MAIL, failed(reply, code, smtp_code=code, enhanced_code=enhanced))], script=[on(stage, reply)])


def deferred_at(stage: Stage, reply: str) -> Row:
    """The server wants it later, and takes it then."""
    return Row([(MAIL, queued())], [Arrival()], script=[on(stage, reply, times=1), not_before_the_answer(stage)])


def out_of_reach(says: str, **service: Any) -> Row:
    """The server cannot be talked to."""
    return Row([(MAIL, failed(says))], service=service)


def encrypted(encryption: str, certificate: str | None, says: str = "", *, implicit: bool = False) -> Row:
    """A server with this certificate, and a service with this encryption."""
    smtp = {"tls": certificate, "implicit_tls": implicit}
    exchange = (MAIL, failed(says) if says else sent())
    return Row(
        [exchange], [] if says else [Arrival(tls=encryption != "NONE")], smtp, service={"encryption": encryption}
    )


REPLIES = {
    "all accepted": taken(mail(**to(ANN, BOB)), ANN, BOB, to="ann@x.example, bob@x.example"),
    "some refused": Row(
        [(mail(**to(GONE, ANN), cc=BOB), sent(2))],
        [arrival(ANN, BOB, to="gone@x.example, ann@x.example", cc=BOB)],
        script=[on(Stage.RCPT, NO_USER, address=GONE)],
        states={GONE: "FAILED", ANN: "SENT", BOB: "SENT"},
    ),
    "all refused": Row(
        [(mail(**to(ANN, BOB)), failed(NO_USER, 550, smtp_code=550, enhanced_code="5.1.1"))],
        script=[on(Stage.RCPT, NO_USER)],
        states={ANN: "FAILED", BOB: "FAILED"},
    ),
    "the sender refused": refused_at(Stage.MAIL, "553 5.7.1 Not your address", 553, "5.7.1"),
    "the transaction refused": refused_at(Stage.DATA, "554 5.5.1 Not now, not ever", 554, "5.5.1"),
    "the content refused": refused_at(Stage.DOT, "554 5.7.1 Spam", 554, "5.7.1"),
    "the content refused without an enhanced code": Row(
        [(MAIL, failed("552 Too large", 552, smtp_code=552, enhanced_code=None))],
        script=[on(Stage.DOT, "552 Too large")],
    ),
    "the recipient deferred": deferred_at(Stage.RCPT, "450 4.2.1 Greylisted"),
    "the sender deferred": deferred_at(Stage.MAIL, "451 4.3.0 Try later"),
    "the content deferred": deferred_at(Stage.DOT, "452 4.3.1 Disk full"),
    "a service that is not available deferred": deferred_at(Stage.DATA, "451 4.3.2 Try later"),
    "one deferred, one refused, one accepted": Row(
        [(mail(**to(LATER, GONE, ANN)), queued(2))],
        [
            arrival(ANN, to="later@x.example, gone@x.example, ann@x.example"),
            arrival(LATER, to="later@x.example, gone@x.example, ann@x.example"),
        ],
        script=[
            on(Stage.RCPT, NO_USER, address=GONE),
            on(Stage.RCPT, "450 4.2.1 Later", address=LATER, times=1),
            not_before_the_answer(Stage.RCPT, address=LATER),
        ],
        states={LATER: "SENT", GONE: "FAILED", ANN: "SENT"},
    ),
    "one deferred and then refused after a 200": Row(
        [(mail(**to(ANN, LATER)), queued(2))],
        [arrival(ANN, to="ann@x.example, later@x.example")],
        script=[
            on(Stage.RCPT, "450 4.2.1 Later", address=LATER, times=1),
            not_before_the_answer(Stage.RCPT, address=LATER),
            on(Stage.RCPT, NO_USER, address=LATER),
        ],
        states={ANN: "SENT", LATER: "FAILED"},
    ),
    "the connection lost in the middle": Row(
        [(MAIL, queued())],
        [Arrival()],
        script=[on(Stage.RCPT, Drop(), times=4), not_before_the_answer(Stage.RCPT)],
    ),
}

UNREACHABLE = {
    "connection refused": out_of_reach("Connection refused", port=1),
    "host not found": out_of_reach("Host not found", host="nowhere.invalid", port=587),
    "firewall": replace(out_of_reach("Connection timed out", port="firewall"), installation="environment"),
    "a greeting that refuses": Row(
        [(MAIL, failed("554 5.3.2 Not today", 554, smtp_code=554))],
        script=[on(Stage.GREETING, "554 5.3.2 Not today")],
    ),
    "wrong credentials": Row(
        [(MAIL, Answer(500, says="Authentication failed", code=535, context={"smtp_code": 535, "retryable": False}))],
        smtp=MAY_LOGIN,
        service=LOGIN | {"password": "wrong"},
    ),
    "right credentials": Row(
        [(MAIL, sent())], [replace(Arrival(), username="me@x.example")], smtp=MAY_LOGIN, service=LOGIN
    ),
}

ENCRYPTIONS = {
    "tls: STARTTLS": encrypted("TLS", "good"),
    "tls: a server without STARTTLS gets nothing": encrypted("TLS", None, "Certificate error"),
    "tls: an expired certificate": encrypted("TLS", "has expired", "Certificate error"),
    "tls: the certificate of another host": encrypted("TLS", "hostname mismatch", "Certificate error"),
    "ssl: TLS from the first octet": encrypted("SSL", "good", implicit=True),
    "ssl: an unknown authority": encrypted(
        "SSL", "self-signed or from an authority that is not trusted", "Certificate error", implicit=True
    ),
    "ssl: a server that speaks clear text": encrypted("SSL", None, "Certificate error"),
    "none: clear text": encrypted("NONE", "good"),
}

WAITS = {
    "no verdict in time": Row(
        [(MAIL, queued())],
        [Arrival()],
        script=[on(Stage.GREETING, Wait(asyncio.Event()))],
        installation="hasty",
    ),
    "Prefer: respond-async": Row(
        [
            (
                replace(MAIL, headers=under(Prefer="respond-async")),
                sent(status=202, word="queued", Preference_Applied="respond-async"),
            )
        ],
        [Arrival()],
    ),
    "another preference": taken(replace(MAIL, headers=under(Prefer="wait=5"))),
    "the service answers at once": Row(
        [(MAIL, sent(status=202, word="queued"))], [Arrival()], service={"respondAsync": True}
    ),
    "at once means that a fault of the server comes later": Row(
        [(replace(MAIL, headers=under(Prefer="respond-async")), sent(status=202, word="queued"))],
        script=[on(Stage.RCPT, NO_USER)],
        states={ANN: "FAILED"},
    ),
}

ONCE = replace(MAIL, headers=under(Idempotency_Key="order of {service}"))

IDEMPOTENCY = {
    "the same key and request": Row([(ONCE, sent()), (ONCE, sent(Idempotent_Replayed="true"))], [Arrival()]),
    "the same key and request in another form": Row(
        [
            (ONCE, sent()),
            (replace(ONCE, path="/api/v2/{SERVICE}/", content_type=None), sent(Idempotent_Replayed="true")),
        ],
        [Arrival()],
    ),
    "the same key and another request": Row(
        [
            (ONCE, sent()),
            (
                replace(mail(subject="Other"), headers=ONCE.headers),
                refused(409, "", error_code="IDEMPOTENCY_CONFLICT", field="Idempotency-Key"),
            ),
        ],
        [Arrival()],
    ),
    "a replay of what was refused": Row(
        [(ONCE, failed(NO_USER, 550)), (ONCE, replace(failed(NO_USER, 550), headers={"Idempotent-Replayed": "true"}))],
        script=[on(Stage.RCPT, NO_USER)],
    ),
    "a refused request keeps no key": Row(
        [(replace(mail(to="x"), headers=ONCE.headers), refused(400, "Invalid email - 'x'.")), (ONCE, sent())],
        [Arrival()],
    ),
    "a key that is too long": not_taken(
        replace(MAIL, headers=under(Idempotency_Key="k" * 257)),
        400,
        "An idempotency key has 1 to 256",
        field="Idempotency-Key",
    ),
    "an empty key": not_taken(replace(MAIL, headers=under(Idempotency_Key="")), 400, "An idempotency key has 1 to 256"),
}

ROWS = {**REPLIES, **UNREACHABLE, **ENCRYPTIONS, **WAITS, **IDEMPOTENCY}
