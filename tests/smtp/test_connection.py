import asyncio
import base64
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
import trustme

from app.inbox.receiver import Action, Answer, Drop, Endless, Hang, Raw, Receiver, Reset, Script, SessionLog, Stage
from app.smtp.connection import connect
from app.smtp.failure import Cause, Failure, Phase, SmtpFailure
from app.smtp.server import Credentials, Encryption, Server, Timeouts

MakeServer = Callable[..., Server]
Eventually = Callable[[Callable[[], bool]], Awaitable[None]]

CREDENTIALS = Credentials("bob-the-user", "s3cret-pass")
KNOWN = {CREDENTIALS.username: CREDENTIALS.password}
ENCRYPTED = {Encryption.TLS: False, Encryption.SSL: True}
IMPATIENT = Timeouts(connect=10, greeting=0.1, ehlo=0.1, tls=0.1, auth=0.1)


async def failure_of(server: Server) -> Failure:
    with pytest.raises(SmtpFailure) as caught:
        await connect(server)
    for secret in (CREDENTIALS.username, CREDENTIALS.password):
        assert secret not in caught.value.failure.message
        assert secret not in repr(caught.value.failure)
    return caught.value.failure


def has_said_nothing_secret(sessions: list[SessionLog]) -> bool:
    """Neither mail nor credential in what the receiver could read."""
    secrets = [CREDENTIALS.username.encode(), CREDENTIALS.password.encode(), b"AUTH", b"MAIL"]
    encoded = [base64.b64encode(secret) for secret in secrets[:2]]
    return not any(secret in bytes(log.received) for log in sessions for secret in [*secrets, *encoded])


@pytest.mark.parametrize("encryption", list(Encryption))
async def test_a_connection_is_greeted_encrypted_and_authenticated(
    encryption: Encryption, server_for: MakeServer, certificate: ssl.SSLContext
) -> None:
    tls = None if encryption is Encryption.NONE else certificate
    async with Receiver(keep=True, tls=tls, implicit_tls=encryption is Encryption.SSL, credentials=KNOWN) as receiver:
        connection = await connect(server_for(receiver, encryption, credentials=CREDENTIALS))
        assert connection.usable
        assert connection.extensions["auth"] == "PLAIN LOGIN"
        assert "starttls" not in connection.extensions
        assert receiver.sessions[0].tls is (tls is not None)
        said = ["EHLO", "STARTTLS", "EHLO", "AUTH"] if encryption is Encryption.TLS else ["EHLO", "AUTH"]
        assert receiver.sessions[0].verbs == said
        assert receiver.sessions[0].commands[0] == "EHLO client.example"
        connection.close()
        assert not connection.usable


async def test_the_host_may_be_a_name(server_for: MakeServer, certificate: ssl.SSLContext) -> None:
    async with Receiver(tls=certificate) as receiver:
        connection = await connect(server_for(receiver, Encryption.TLS, host="localhost"))
        connection.close()


@pytest.mark.parametrize("encryption", [Encryption.TLS, Encryption.SSL])
@pytest.mark.parametrize("problem", ["hostname mismatch", "expired", "not trusted"])
async def test_a_bad_certificate_gets_neither_mail_nor_password(
    encryption: Encryption, problem: str, server_for: MakeServer, bad_certificates: dict[str, ssl.SSLContext]
) -> None:
    tls = bad_certificates[problem]
    async with Receiver(keep=True, tls=tls, implicit_tls=ENCRYPTED[encryption], credentials=KNOWN) as receiver:
        failure = await failure_of(server_for(receiver, encryption, credentials=CREDENTIALS))
        assert (failure.phase, failure.cause) == (Phase.TLS, Cause.CERTIFICATE)
        assert failure.message.startswith("Certificate error: ")
        assert problem in failure.message
        assert failure.of_service
        assert has_said_nothing_secret(receiver.sessions)


async def test_an_authority_of_the_systems_choice_only_is_not_enough_for_a_private_one(
    server_for: MakeServer, certificate: ssl.SSLContext
) -> None:
    async with Receiver(keep=True, tls=certificate) as receiver:
        failure = await failure_of(server_for(receiver, Encryption.TLS, trusted=False))
        assert "not trusted" in failure.message


async def test_an_authority_of_the_servers_own_is_trusted_besides_those_of_the_file(
    server_for: MakeServer, ca: trustme.CA, certificate: ssl.SSLContext
) -> None:
    own, other = (authority.cert_pem.bytes().decode() for authority in (ca, trustme.CA()))
    async with Receiver(keep=True, tls=certificate) as receiver:
        untrusting = server_for(receiver, Encryption.TLS, trusted=False)
        for server in (replace(untrusting, trusted_ca=own), replace(server_for(receiver), trusted_ca=other)):
            (await connect(server)).close()
        assert "not trusted" in (await failure_of(replace(untrusting, trusted_ca=other))).message


async def test_a_missing_authority_file_is_told_without_its_path(
    server_for: MakeServer, certificate: ssl.SSLContext
) -> None:
    async with Receiver(tls=certificate) as receiver:
        server = replace(server_for(receiver, Encryption.TLS), trusted_ca_file="/nowhere/private-ca.pem")
        failure = await failure_of(server)
        assert failure.message.startswith("Certificate error: ")
        assert "nowhere" not in failure.message


async def test_stripped_starttls_gets_neither_mail_nor_password(server_for: MakeServer) -> None:
    async with Receiver(keep=True, credentials=KNOWN) as receiver:
        failure = await failure_of(server_for(receiver, Encryption.TLS, credentials=CREDENTIALS))
        assert (failure.phase, failure.cause) == (Phase.TLS, Cause.TLS)
        assert failure.message.startswith("Certificate error: the server ")
        assert "does not offer STARTTLS" in failure.message
        assert receiver.sessions[0].commands == ["EHLO client.example"]


@pytest.mark.parametrize(
    ("action", "cause"),
    [
        (Answer("454 4.7.0 TLS not available"), Cause.TLS),
        (Answer("554 5.7.0 no"), Cause.TLS),
        (Answer("421 4.3.2 bye"), Cause.TLS),
        (Answer("220 go ahead", close=True), Cause.DISCONNECTED),
        (Drop(), Cause.DISCONNECTED),
        (Hang(), Cause.TIMED_OUT),
    ],
)
async def test_starttls_that_fails_gets_neither_mail_nor_password(
    action: Action, cause: Cause, server_for: MakeServer, certificate: ssl.SSLContext
) -> None:
    script = Script().on(Stage.STARTTLS, action)
    async with Receiver(keep=True, tls=certificate, credentials=KNOWN, script=script) as receiver:
        server = server_for(receiver, Encryption.TLS, credentials=CREDENTIALS)
        if isinstance(action, Hang):
            server = replace(server, timeouts=replace(server.timeouts, tls=0.1))
        failure = await failure_of(server)
        assert (failure.phase, failure.cause) == (Phase.TLS, cause)
        assert has_said_nothing_secret(receiver.sessions)


async def test_what_was_injected_before_the_handshake_is_not_believed(
    server_for: MakeServer, certificate: ssl.SSLContext
) -> None:
    script = Script().on(Stage.STARTTLS, Raw(b"220 go\r\n250-injected\r\n250 XINJECTED\r\n"))
    async with Receiver(tls=certificate, script=script) as receiver:
        connection = await connect(server_for(receiver, Encryption.TLS))
        assert "size" in connection.extensions
        assert "xinjected" not in connection.extensions
        connection.close()


async def test_implicit_tls_to_a_starttls_port_is_explained(
    server_for: MakeServer, certificate: ssl.SSLContext
) -> None:
    async with Receiver(keep=True, tls=certificate, credentials=KNOWN) as receiver:
        failure = await failure_of(server_for(receiver, Encryption.SSL, credentials=CREDENTIALS))
        assert (failure.phase, failure.cause) == (Phase.TLS, Cause.TLS)
        assert failure.message.startswith("Certificate error: ")
        assert "encryption must be TLS" in failure.message
        assert has_said_nothing_secret(receiver.sessions)


@pytest.mark.parametrize("encryption", [Encryption.TLS, Encryption.NONE])
async def test_clear_text_to_an_implicit_tls_port_is_explained(
    encryption: Encryption, server_for: MakeServer, certificate: ssl.SSLContext
) -> None:
    async with Receiver(keep=True, tls=certificate, implicit_tls=True, credentials=KNOWN) as receiver:
        failure = await failure_of(server_for(receiver, encryption, credentials=CREDENTIALS, timeouts=IMPATIENT))
        assert (failure.phase, failure.cause) == (Phase.GREETING, Cause.TIMED_OUT)
        assert failure.message.startswith("Connection timed out")
        assert "if the server expects implicit TLS, encryption must be SSL" in failure.message
        assert receiver.sessions == []


async def test_a_closed_port(server_for: MakeServer) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        failure = await failure_of(server_for(port))
    assert (failure.phase, failure.cause) == (Phase.CONNECT, Cause.CONNECTION_REFUSED)
    assert failure.message.startswith(f"Connection refused by 127.0.0.1:{port}.")


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 64 + ".example", "two..dots"])
async def test_a_host_that_does_not_exist(host: str, server_for: MakeServer) -> None:
    failure = await failure_of(server_for(25, host=host))
    assert (failure.phase, failure.cause) == (Phase.CONNECT, Cause.HOST_NOT_FOUND)
    assert failure.message == f"Host not found: {host}."


async def test_a_host_that_does_not_accept(server_for: MakeServer) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()):
            server = server_for(full.getsockname()[1], timeouts=Timeouts(connect=0.1))
            failure = await failure_of(server)
    assert (failure.phase, failure.cause) == (Phase.CONNECT, Cause.TIMED_OUT)
    assert failure.message.startswith("Connection timed out")


SERVICE_FAILURES: list[tuple[Stage, Action, Cause, str, int | None]] = [
    (Stage.GREETING, Answer("554 5.7.1 go away"), Cause.REFUSED, "554 5.7.1 go away", 554),
    (Stage.GREETING, Answer("421 4.3.2 later"), Cause.REFUSED, "421 4.3.2 later", 421),
    (Stage.GREETING, Drop(), Cause.DISCONNECTED, "Connection refused: ", None),
    (Stage.GREETING, Reset(), Cause.DISCONNECTED, "Connection refused: ", None),
    (Stage.GREETING, Hang(), Cause.TIMED_OUT, "Connection timed out", None),
    (Stage.GREETING, Raw(b"HTTP/1.1 400 Bad Request\r\n"), Cause.PROTOCOL, "", None),
    (Stage.GREETING, Raw(b"999 what\r\n"), Cause.PROTOCOL, "", None),
    (Stage.GREETING, Endless(b"220-endless\r\n"), Cause.PROTOCOL, "", None),
    (Stage.GREETING, Endless(b"endless"), Cause.PROTOCOL, "", None),
    (Stage.GREETING, Endless(b"220-slow\r\n", every=0.01), Cause.TIMED_OUT, "Connection timed out", None),
    (Stage.EHLO, Answer("550 5.7.1 not you"), Cause.REFUSED, "550 5.7.1 not you", 550),
    (Stage.EHLO, Endless(b"250-endless\r\n"), Cause.PROTOCOL, "", None),
    (Stage.EHLO, Answer("421 4.3.2 later"), Cause.REFUSED, "421 4.3.2 later", 421),
    (Stage.EHLO, Drop(), Cause.DISCONNECTED, "Connection refused: ", None),
    (Stage.EHLO, Hang(), Cause.TIMED_OUT, "Connection timed out", None),
    (
        Stage.AUTH,
        Answer("535 5.7.8 bob-the-user is unknown"),
        Cause.AUTHENTICATION,
        "Authentication failed (535 5.7.8)",
        535,
    ),
    (Stage.AUTH, Answer("454 4.7.0 later"), Cause.AUTHENTICATION, "Authentication failed (454 4.7.0)", 454),
    (Stage.AUTH, Answer("421 4.7.0 enough"), Cause.AUTHENTICATION, "Authentication failed (421 4.7.0)", 421),
    (Stage.AUTH, Drop(), Cause.AUTHENTICATION, "Authentication failed", None),
    (Stage.AUTH, Hang(), Cause.TIMED_OUT, "Connection timed out", None),
]


@pytest.mark.parametrize(("stage", "action", "cause", "message", "code"), SERVICE_FAILURES)
async def test_every_phase_before_mail_can_fail(
    stage: Stage, action: Action, cause: Cause, message: str, code: int | None, server_for: MakeServer
) -> None:
    script = Script().on(stage, action)
    async with Receiver(keep=True, credentials=KNOWN, script=script) as receiver:
        server = server_for(receiver, credentials=CREDENTIALS)
        if cause is Cause.TIMED_OUT:
            server = replace(server, timeouts=replace(server.timeouts, **{stage.value: 0.1}))
        failure = await failure_of(server)
        assert failure.phase == stage.value
        assert failure.cause is cause
        assert failure.message.startswith(message)
        assert (failure.reply.code if failure.reply else None) == code
        assert failure.of_service
        assert not failure.in_doubt
        assert "MAIL" not in receiver.sessions[0].verbs


@pytest.mark.parametrize("code", [500, 502])
async def test_a_server_that_does_not_know_ehlo_is_greeted_with_helo(code: int, server_for: MakeServer) -> None:
    async with Receiver(keep=True, script=Script().on(Stage.EHLO, f"{code} 5.5.1 what?")) as receiver:
        connection = await connect(server_for(receiver))
        assert connection.usable
        assert dict(connection.extensions) == {}
        assert receiver.sessions[0].commands == ["EHLO client.example", "HELO client.example"]
        connection.close()


async def test_a_server_that_knows_neither_ehlo_nor_helo(server_for: MakeServer) -> None:
    script = Script().on(Stage.EHLO, "502 5.5.1 what?").on(Stage.HELO, "550 5.7.1 not you")
    async with Receiver(script=script) as receiver:
        failure = await failure_of(server_for(receiver))
        assert (failure.phase, failure.cause, failure.message) == (Phase.EHLO, Cause.REFUSED, "550 5.7.1 not you")


async def test_helo_is_no_way_around_starttls_and_auth(server_for: MakeServer, certificate: ssl.SSLContext) -> None:
    script = Script().on(Stage.EHLO, "502 5.5.1 what?")
    async with Receiver(keep=True, tls=certificate, credentials=KNOWN, script=script) as receiver:
        for encryption, phase in ((Encryption.TLS, Phase.TLS), (Encryption.NONE, Phase.AUTH)):
            failure = await failure_of(server_for(receiver, encryption, credentials=CREDENTIALS))
            assert failure.phase is phase
            assert "does not offer" in failure.message
        assert has_said_nothing_secret(receiver.sessions)


@pytest.mark.parametrize(("mechanisms", "used"), [(("LOGIN", "PLAIN"), "PLAIN"), (("LOGIN",), "LOGIN")])
async def test_one_mechanism_is_tried_once(mechanisms: tuple[str, ...], used: str, server_for: MakeServer) -> None:
    async with Receiver(keep=True, credentials={}, mechanisms=mechanisms) as receiver:
        failure = await failure_of(server_for(receiver, credentials=CREDENTIALS))
        assert failure.message == "Authentication failed (535 5.7.8)."
        tries = [command for command in receiver.sessions[0].commands if command.startswith("AUTH ")]
        assert [command.split()[1] for command in tries] == [used]


@pytest.mark.parametrize("mechanisms", [("PLAIN",), ("LOGIN",)])
async def test_a_password_of_any_characters_arrives(mechanisms: tuple[str, ...], server_for: MakeServer) -> None:
    credentials = Credentials("jürgen@example.org", "pä\u20ac ss\u2028" * 20)
    known = {credentials.username: credentials.password}
    async with Receiver(credentials=known, mechanisms=mechanisms) as receiver:
        (await connect(server_for(receiver, credentials=credentials))).close()


@pytest.mark.parametrize("mechanisms", [(), ("CRAM-MD5", "XOAUTH2")])
async def test_no_usable_mechanism_offered(mechanisms: tuple[str, ...], server_for: MakeServer) -> None:
    async with Receiver(keep=True, credentials=KNOWN, mechanisms=mechanisms) as receiver:
        failure = await failure_of(server_for(receiver, credentials=CREDENTIALS))
        assert (failure.phase, failure.cause) == (Phase.AUTH, Cause.AUTHENTICATION)
        assert failure.message.startswith("Authentication failed: the server ")
        assert receiver.sessions[0].verbs == ["EHLO"]


@pytest.mark.parametrize("code", [250, 451, 550])
async def test_noop_and_reset_tell_whether_the_server_is_there(code: int, server_for: MakeServer) -> None:
    script = Script().on(Stage.NOOP, f"{code} x").on(Stage.RSET, f"{code} x")
    async with Receiver(script=script) as receiver:
        for probe in ("noop", "reset"):
            connection = await connect(server_for(receiver))
            if code == 250:
                await getattr(connection, probe)()
                assert connection.usable
            else:
                with pytest.raises(SmtpFailure):
                    await getattr(connection, probe)()
                assert not connection.usable
            connection.close()


async def test_a_cancelled_command_closes_the_connection(server_for: MakeServer) -> None:
    async with Receiver(script=Script().on(Stage.NOOP, Hang())) as receiver:
        connection = await connect(server_for(receiver))
        probing = asyncio.ensure_future(connection.noop())
        await asyncio.sleep(0)
        probing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probing
        assert not connection.usable


async def test_a_reply_counts_though_its_time_is_over_in_the_same_turn(server_for: MakeServer) -> None:
    """Else a mail that was taken would be sent again."""
    async with Receiver(script=Script().on(Stage.NOOP, Hang())) as receiver:
        connection = await connect(server_for(receiver))
        asking = asyncio.ensure_future(connection.command(Phase.DOT, 60, b"NOOP"))
        await asyncio.sleep(0)
        connection._protocol._tell(TimeoutError())
        connection._protocol.data_received(b"250 taken\r\n")
        assert (await asking).code == 250
        assert connection.usable
        connection.close()


async def test_quit_is_said_and_not_waited_for(server_for: MakeServer, eventually: Eventually) -> None:
    async with Receiver(keep=True, script=Script().on(Stage.QUIT, Hang())) as receiver:
        connection = await connect(server_for(receiver))
        connection.quit_soon()
        assert not connection.usable
        connection.quit_soon()
        await eventually(lambda: receiver.sessions[0].verbs == ["EHLO", "QUIT"])


async def test_a_server_that_left_makes_the_connection_unusable(server_for: MakeServer) -> None:
    receiver = Receiver()
    await receiver.start()
    connection = await connect(server_for(receiver))
    await receiver.stop()
    with pytest.raises(SmtpFailure) as caught:
        await connection.noop()
    assert caught.value.failure.cause is Cause.DISCONNECTED
    assert not connection.usable
