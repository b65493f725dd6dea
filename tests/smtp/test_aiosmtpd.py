"""The same client against a second, independent and strict server."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from app.mail import envelope as mail
from app.smtp.connection import connect
from app.smtp.failure import Cause, SmtpFailure
from app.smtp.server import Credentials, Encryption, Server
from app.smtp.transaction import transact

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # it does not see implicit TLS

MakeServer = Callable[..., Server]

CREDENTIALS = Credentials("bob-the-user", "s3cret-pass")
CONTENT = b"Subject: x\r\n\r\n.\r\n..\r\nMAIL FROM:<evil@example.org>\r\n" + b"y" * 998 + b"\r\n"
BOTH = mail.Envelope("a@example.org", ("b@example.org", "gone@example.org"))


class Handler:
    """Takes mail, but none for gone@."""

    def __init__(self) -> None:
        self.taken: list[Envelope] = []

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("gone@"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.taken.append(envelope)
        return "250 2.0.0 taken"


class Pipelining(Handler):
    """Offers what aiosmtpd can do and does not offer."""

    async def handle_EHLO(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [*responses[:-1], "250-PIPELINING", responses[-1]]


def authenticator(server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: object) -> AuthResult:
    assert isinstance(given, LoginPassword)
    valid = (given.login, given.password) == (CREDENTIALS.username.encode(), CREDENTIALS.password.encode())
    return AuthResult(success=valid, handled=valid)


@asynccontextmanager
async def aiosmtpd(
    handler: Handler, tls: ssl.SSLContext | None, implicit: bool, exclude: list[str]
) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    factory = partial(
        SMTP,
        handler,
        enable_SMTPUTF8=True,
        loop=loop,
        tls_context=None if implicit else tls,
        require_starttls=tls is not None and not implicit,
        authenticator=authenticator,
        auth_required=True,
        auth_require_tls=tls is not None and not implicit,
        auth_exclude_mechanism=exclude,
    )
    server = await loop.create_server(factory, "127.0.0.1", 0, ssl=tls if implicit else None)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize("encryption", list(Encryption))
@pytest.mark.parametrize("exclude", [[], ["PLAIN"]])
async def test_a_mail_goes_through(
    encryption: Encryption, exclude: list[str], server_for: MakeServer, certificate: ssl.SSLContext
) -> None:
    handler = Handler()
    tls = None if encryption is Encryption.NONE else certificate
    async with aiosmtpd(handler, tls, encryption is Encryption.SSL, exclude) as port:
        server = server_for(port, encryption, credentials=CREDENTIALS)
        connection = await connect(server)
        assert not connection.pipelining
        for content in (CONTENT, b".\r\n"):
            result = await transact(connection, BOTH, content, server.timeouts)
            assert result.failure is None
            assert {address: reply.code for address, reply in result.replies.items()} == {
                "b@example.org": 250,
                "gone@example.org": 550,
            }
        utf8 = mail.Envelope("jürgen@example.org", ("ä@example.org",))
        assert (await transact(connection, utf8, CONTENT, server.timeouts)).replies["ä@example.org"].code == 250
        connection.close()
    assert [taken.content for taken in handler.taken] == [CONTENT, b".\r\n", CONTENT]
    assert [taken.rcpt_tos for taken in handler.taken] == [["b@example.org"], ["b@example.org"], ["ä@example.org"]]


async def test_a_wrong_password_is_refused(server_for: MakeServer, certificate: ssl.SSLContext) -> None:
    async with aiosmtpd(Handler(), certificate, False, []) as port:
        wrong = Credentials(CREDENTIALS.username, "wrong")
        with pytest.raises(SmtpFailure) as caught:
            await connect(server_for(port, Encryption.TLS, credentials=wrong))
        assert caught.value.failure.cause is Cause.AUTHENTICATION
        assert caught.value.failure.message == "Authentication failed (535 5.7.8)."


@pytest.mark.parametrize("encryption", [Encryption.TLS, Encryption.SSL])
@pytest.mark.parametrize("problem", ["hostname mismatch", "expired", "not trusted"])
async def test_a_bad_certificate_is_refused(
    encryption: Encryption, problem: str, server_for: MakeServer, bad_certificates: dict[str, ssl.SSLContext]
) -> None:
    handler = Handler()
    async with aiosmtpd(handler, bad_certificates[problem], encryption is Encryption.SSL, []) as port:
        with pytest.raises(SmtpFailure) as caught:
            await connect(server_for(port, encryption, credentials=CREDENTIALS))
        assert problem in caught.value.failure.message
    assert handler.taken == []


async def test_rset_clears_a_refused_envelope(server_for: MakeServer) -> None:
    handler = Handler()
    async with aiosmtpd(handler, None, False, []) as port:
        server = server_for(port, credentials=CREDENTIALS)
        connection = await connect(server)
        result = await transact(connection, mail.Envelope("", ("gone@example.org",)), CONTENT, server.timeouts)
        assert result.replies["gone@example.org"].code == 550
        assert connection.in_transaction
        await connection.reset()
        await connection.noop()
        assert (await transact(connection, BOTH, CONTENT, server.timeouts)).replies["b@example.org"].code == 250
        connection.close()


@pytest.mark.parametrize("encryption", [Encryption.TLS, Encryption.NONE])
async def test_mails_go_right_behind_each_other(
    encryption: Encryption, server_for: MakeServer, certificate: ssl.SSLContext
) -> None:
    handler = Pipelining()
    tls = None if encryption is Encryption.NONE else certificate
    async with aiosmtpd(handler, tls, False, []) as port:
        server = server_for(port, encryption, credentials=CREDENTIALS)
        connection = await connect(server)
        assert connection.pipelining
        contents = [CONTENT, b".\r\n", (b"." * 76 + b"\r\n") * 2000, b"..\r\n", CONTENT]
        sending = (transact(connection, BOTH, content, server.timeouts) for content in contents)
        results = await asyncio.gather(*sending)
        assert [sorted(reply.code for reply in result.replies.values()) for result in results] == [[250, 550]] * 5
        nobody = mail.Envelope("", ("gone@example.org",))
        results = await asyncio.gather(
            *(transact(connection, envelope, CONTENT, server.timeouts) for envelope in (BOTH, nobody, BOTH))
        )
        codes = [sorted(reply.code for reply in result.replies.values()) for result in results]
        assert codes == [[250, 550], [550], [250, 550]]
        connection.close()
    assert [taken.content for taken in handler.taken] == [*contents, CONTENT, CONTENT]
