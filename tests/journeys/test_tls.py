"""A server that cannot prove who it is gets neither the mail nor the password, and the recipient's detail says why."""

import ssl
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from app.inbox.receiver import Receiver
from tests.journeys.conftest import Running
from tests.journeys.doors import UPDATE_SERVICE, Doors, Message, error_of

PASSWORD = "correct-horse-battery-staple"
TEXT = "For the eyes of the recipient."
CREDENTIALS = {"me@x.example": PASSWORD}


async def make_service(doors: Doors, receiver: Receiver, encryption: str) -> None:
    await doors.graphql.create_service(
        "secure", port=receiver.port, encryption=encryption, username="me@x.example", password=PASSWORD
    )


async def send_by_both_doors(doors: Doors) -> tuple[Message, Message]:
    """What became of a mail by each door: the first finds out, the second fails on the circuit that it opened."""
    by_graphql = await doors.graphql.send_email(
        service="secure", to=[{"email": "a@x.example"}], text=TEXT, waitSeconds=30
    )
    response = await doors.rest.send("secure", {"to": "a@x.example", "body_text": TEXT})
    assert response.status_code == 500
    by_rest = await doors.graphql.message(response.headers["x-message-id"])
    assert error_of(response)["message"] == by_rest["a@x.example"].detail
    return by_graphql, by_rest


def assert_nothing_secret_was_said(receiver: Receiver) -> None:
    assert receiver.mails == []
    for session in receiver.sessions:
        assert set(session.verbs) <= {"EHLO", "STARTTLS", "QUIT"}
        for secret in _forms_of_secrets():
            assert secret not in session.received


def _forms_of_secrets() -> Iterator[bytes]:
    yield from (PASSWORD.encode(), b64encode(PASSWORD.encode()), TEXT.encode())
    yield b64encode(f"\0me@x.example\0{PASSWORD}".encode())


def assert_both_wait_or_failed_because(reason: str, by_graphql: Message, by_rest: Message) -> None:
    assert (by_graphql.state, by_rest.state) == ("DEFERRED", "FAILED")
    for message in (by_graphql, by_rest):
        [recipient] = message.recipients
        assert str(recipient.detail).startswith("Certificate error")
        assert reason in str(recipient.detail)
        assert recipient.attempts == ()
        assert PASSWORD not in str(message)


async def test_starttls_that_was_stripped_is_not_done_without(running: Running) -> None:
    async with (
        Receiver(keep=True, credentials=CREDENTIALS) as receiver,
        running(circuit_probe_interval=3600) as doors,
    ):
        await make_service(doors, receiver, "TLS")
        messages = await send_by_both_doors(doors)
        assert_both_wait_or_failed_because("does not offer STARTTLS", *messages)
        assert_nothing_secret_was_said(receiver)


@pytest.mark.parametrize("encryption", ["TLS", "SSL"])
@pytest.mark.parametrize(
    "problem", ["hostname mismatch", "has expired", "self-signed or from an authority that is not trusted"]
)
async def test_a_bad_certificate_ends_the_session(
    problem: str, encryption: str, running: Running, bad_certificates: dict[str, ssl.SSLContext], ca_file: Path
) -> None:
    implicit = encryption == "SSL"
    tls = bad_certificates[problem]
    async with (
        Receiver(keep=True, credentials=CREDENTIALS, tls=tls, implicit_tls=implicit) as receiver,
        running(trusted_ca_file=ca_file, circuit_probe_interval=3600) as doors,
    ):
        await make_service(doors, receiver, encryption)
        messages = await send_by_both_doors(doors)
        assert_both_wait_or_failed_because(problem, *messages)
        assert_nothing_secret_was_said(receiver)
        assert len(receiver.sessions) == (0 if implicit else 1)


async def test_a_private_authority_that_is_not_configured_is_not_trusted(
    running: Running, certificate: ssl.SSLContext
) -> None:
    async with (
        Receiver(keep=True, credentials=CREDENTIALS, tls=certificate) as receiver,
        running(circuit_probe_interval=3600) as doors,
    ):
        await make_service(doors, receiver, "TLS")
        messages = await send_by_both_doors(doors)
        assert_both_wait_or_failed_because("HELIOGRAPH_TRUSTED_CA_FILE", *messages)
        assert_nothing_secret_was_said(receiver)


@pytest.mark.parametrize("encryption", ["TLS", "SSL"])
async def test_an_authority_of_a_services_own_is_trusted_for_that_service_alone(
    encryption: str, running: Running, certificate: ssl.SSLContext, ca: trustme.CA
) -> None:
    implicit = encryption == "SSL"
    async with (
        Receiver(keep=True, tls=certificate, implicit_tls=implicit) as receiver,
        running(retry_schedule=(3600,)) as doors,
    ):
        own = ca.cert_pem.bytes().decode()
        made = await doors.graphql.create_service("own", port=receiver.port, encryption=encryption, trustedCa=own)
        await doors.graphql.create_service("bare", port=receiver.port, encryption=encryption)
        mail = {"to": [{"email": "a@x.example"}], "text": TEXT, "waitSeconds": 30}
        assert (await doors.graphql.send_email(service="own", **mail)).state == "SENT"
        bare = await doors.graphql.send_email(service="bare", **mail)
        assert bare.state == "DEFERRED"
        detail = str(bare["a@x.example"].detail)
        assert detail.startswith("Certificate error")
        assert "trustedCa" in detail
        assert "HELIOGRAPH_TRUSTED_CA_FILE" in detail

        # The warm connection was made under the authority that is gone now.
        await doors.graphql.change(UPDATE_SERVICE, id=made["id"], trustedCa=None)
        assert (await doors.graphql.send_email(service="own", **mail)).state == "DEFERRED"
    assert len(receiver.mails) == 1


@pytest.mark.parametrize("encryption", ["TLS", "SSL"])
async def test_a_good_certificate_gets_the_password_and_the_mail(
    encryption: str, running: Running, certificate: ssl.SSLContext, ca_file: Path
) -> None:
    implicit = encryption == "SSL"
    async with (
        Receiver(keep=True, credentials=CREDENTIALS, tls=certificate, implicit_tls=implicit) as receiver,
        running(trusted_ca_file=ca_file) as doors,
    ):
        await make_service(doors, receiver, encryption)
        response = await doors.rest.send("secure", {"to": "a@x.example", "body_text": TEXT})
        assert (response.status_code, response.json()) == (200, {"count": 1})
        message = await doors.graphql.send_email(
            service="secure", to=[{"email": "a@x.example"}], text=TEXT, waitSeconds=30
        )
        assert message.state == "SENT"
    assert [(mail.tls, mail.username) for mail in receiver.mails] == [(True, "me@x.example")] * 2
    assert len(receiver.sessions) == 1
