import base64
import socket
import ssl
from dataclasses import replace

import aiosmtplib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.smtp.failure import Cause, Failure, Phase, SmtpFailure, failure_from, reply_from
from app.smtp.server import Credentials, Encryption, Server

SERVER = Server("mail.example", 587, Encryption.TLS, "client.example", Credentials("bob-the-user", "s3cret-pass"))


def wrapped(outer: BaseException, cause: BaseException) -> BaseException:
    outer.__cause__ = cause
    return outer


def verification_error(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code = code
    error.verify_message = "some reason"
    return error


ROWS: list[tuple[BaseException, Phase, Cause, str]] = [
    (
        wrapped(aiosmtplib.SMTPConnectError("x"), ConnectionRefusedError(111, "refused")),
        Phase.CONNECT,
        Cause.CONNECTION_REFUSED,
        "Connection refused by mail.example:587.",
    ),
    (ConnectionRefusedError(), Phase.CONNECT, Cause.CONNECTION_REFUSED, "Connection refused"),
    (OSError(101, "unreachable"), Phase.CONNECT, Cause.CONNECTION_REFUSED, "Connection refused: "),
    (
        wrapped(aiosmtplib.SMTPConnectError("x"), socket.gaierror(-2, "unknown")),
        Phase.CONNECT,
        Cause.HOST_NOT_FOUND,
        "Host not found: mail.example.",
    ),
    (aiosmtplib.SMTPConnectTimeoutError("x"), Phase.CONNECT, Cause.TIMED_OUT, "Connection timed out"),
    (aiosmtplib.SMTPReadTimeoutError("x"), Phase.EHLO, Cause.TIMED_OUT, "Connection timed out"),
    (TimeoutError(), Phase.GREETING, Cause.TIMED_OUT, "Connection timed out"),
    (
        verification_error(10),
        Phase.TLS,
        Cause.CERTIFICATE,
        "Certificate error: the certificate of mail.example:587 has",
    ),
    (
        wrapped(aiosmtplib.SMTPConnectError("x"), verification_error(62)),
        Phase.TLS,
        Cause.CERTIFICATE,
        "Certificate error: hostname mismatch",
    ),
    (verification_error(23), Phase.TLS, Cause.CERTIFICATE, "Certificate error: "),
    (ssl.SSLError(1, "WRONG_VERSION_NUMBER"), Phase.TLS, Cause.TLS, "Certificate error: "),
    (ssl.SSLEOFError(8, "eof"), Phase.TLS, Cause.DISCONNECTED, "Connection refused: "),
    (
        aiosmtplib.SMTPAuthenticationError(535, "5.7.8 no"),
        Phase.AUTH,
        Cause.AUTHENTICATION,
        "Authentication failed (535",
    ),
    (aiosmtplib.SMTPServerDisconnected("x"), Phase.AUTH, Cause.AUTHENTICATION, "Authentication failed"),
    (aiosmtplib.SMTPServerDisconnected("x"), Phase.RCPT, Cause.DISCONNECTED, "Connection lost: "),
    (ConnectionResetError(), Phase.DOT, Cause.DISCONNECTED, "Connection lost: "),
    (EOFError(), Phase.MAIL, Cause.DISCONNECTED, "Connection lost: "),
    (aiosmtplib.SMTPConnectResponseError(421, "4.3.2 x"), Phase.GREETING, Cause.REFUSED, "421 4.3.2 x"),
    (aiosmtplib.SMTPSenderRefused(550, "5.7.1 x", "a@b"), Phase.MAIL, Cause.REFUSED, "550 5.7.1 x"),
    (aiosmtplib.SMTPDataError(452, "4.3.1 x"), Phase.DOT, Cause.REFUSED, "452 4.3.1 x"),
    (aiosmtplib.SMTPResponseException(-1, "Malformed"), Phase.EHLO, Cause.PROTOCOL, "mail.example:587 answered"),
    (ValueError("s3cret-pass"), Phase.RCPT, Cause.PROTOCOL, "mail.example:587 could not"),
    (IndexError("s3cret-pass"), Phase.EHLO, Cause.PROTOCOL, "mail.example:587 could not"),
    (UnicodeEncodeError("ascii", "s3cret-pass", 0, 1, "x"), Phase.AUTH, Cause.PROTOCOL, "mail.example:587 could not"),
    (aiosmtplib.SMTPException("s3cret-pass"), Phase.TLS, Cause.PROTOCOL, "mail.example:587 could not"),
]


@pytest.mark.parametrize(("exc", "phase", "cause", "message"), ROWS, ids=lambda value: type(value).__name__)
def test_what_is_seen_becomes_what_is_said(exc: BaseException, phase: Phase, cause: Cause, message: str) -> None:
    failure = failure_from(exc, phase, SERVER)
    assert (failure.phase, failure.cause) == (phase, cause)
    assert failure.message.startswith(message)
    assert "s3cret" not in repr(failure)


ANY_ERROR = st.sampled_from([row[0] for row in ROWS] + [KeyboardInterrupt(), RuntimeError(), StopIteration()])


@given(ANY_ERROR, st.sampled_from(Phase), st.sampled_from(Encryption), st.sampled_from([25, 465, 587]))
def test_any_exception_becomes_a_failure_of_its_phase(
    exc: BaseException, phase: Phase, encryption: Encryption, port: int
) -> None:
    server = Server("::1", port, encryption, "client.example")
    failure = failure_from(exc, phase, server)
    assert failure.phase is phase
    assert failure.message
    assert failure.in_doubt is (phase is Phase.DOT and failure.reply is None)


def test_a_failure_that_is_one_already_stays_what_it_is() -> None:
    failure = Failure(Phase.AUTH, Cause.AUTHENTICATION, "Authentication failed: x.")
    assert failure_from(SmtpFailure(failure), Phase.DOT, SERVER) is failure


PLAIN = base64.b64encode(b"\0bob-the-user\0s3cret-pass").decode()


@pytest.mark.parametrize("said", ["bob-the-user", "s3cret-pass", "Ym9iLXRoZS11c2Vy", "czNjcmV0LXBhc3M=", PLAIN])
def test_a_credential_that_the_server_repeats_is_taken_out(said: str) -> None:
    exc = aiosmtplib.SMTPAuthenticationError(535, f"5.7.8 wrong password for {said}, sorry")
    failure = failure_from(exc, Phase.AUTH, SERVER)
    assert said not in repr(failure)
    assert failure.message == "Authentication failed (535 5.7.8)."
    assert failure.reply is not None
    assert failure.reply.text == "wrong password for …, sorry"


@pytest.mark.parametrize(
    ("username", "password", "said", "told"),
    [
        ("a", "pass", "a mailbox: <a@x.example> is not at hand", "… mailbox: <…@x.example> is not at hand"),
        ("bob", "pass", "Bob, bob1, _bob: not owned by user bob.", "…, bob1, _bob: not owned by user …."),
        ("x+", "5.7", "5.7.1 x+y 5.7", "…y …"),
        ("", "", "as it is", "as it is"),
    ],
)
def test_of_a_reply_only_whole_words_are_taken_out(username: str, password: str, said: str, told: str) -> None:
    server = replace(SERVER, credentials=Credentials(username, password))
    assert reply_from(553, said, server).text == told


def test_no_beginning_of_a_user_name_is_left_where_a_long_reply_is_cut() -> None:
    assert "bob" not in reply_from(550, "x" * 2042 + " bob-the-user", SERVER).text


@given(st.integers(200, 599), st.binary(max_size=5000))
def test_any_reply_text_can_be_stored(code: int, octets: bytes) -> None:
    text = reply_from(code, octets.decode("utf-8", "surrogateescape"), SERVER).text
    assert text.encode().decode() == text
    assert text.isprintable() or all(char.isprintable() or char in "\n" or ord(char) > 0x9F for char in text)
    assert len(text) <= 2048
