from collections.abc import Callable

import pytest

from app.inbox.receiver import Receiver
from app.smtp.auth import authenticate, may_send_in_clear
from app.smtp.connection import connect
from app.smtp.failure import Cause, Phase, SmtpFailure
from app.smtp.server import Credentials, Server

MakeServer = Callable[..., Server]

CREDENTIALS = Credentials("bob-the-user", "s3cret-pass")


@pytest.mark.parametrize(
    ("peer", "allowed"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.1", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("::ffff:192.0.2.1", False),
        ("fe80::1%eth0", False),
    ],
)
def test_a_password_goes_in_clear_text_to_loopback_only(peer: str, allowed: bool, server_for: MakeServer) -> None:
    assert may_send_in_clear(server_for(25), peer) is allowed
    assert may_send_in_clear(server_for(25, clear_text_auth=True), peer)


async def test_clear_text_is_refused_before_any_octet_of_a_credential(
    server_for: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Receiver(keep=True, credentials={CREDENTIALS.username: CREDENTIALS.password}) as receiver:
        server = server_for(receiver)
        connection = await connect(server)
        told = connection.client.get_transport_info
        monkeypatch.setattr(
            connection.client, "get_transport_info", lambda key: ("192.0.2.1", 25) if key == "peername" else told(key)
        )
        with pytest.raises(SmtpFailure) as caught:
            await authenticate(connection.client, server, CREDENTIALS)
        failure = caught.value.failure
        assert (failure.phase, failure.cause) == (Phase.AUTH, Cause.AUTHENTICATION)
        assert failure.message.startswith("Authentication failed: clear text")
        await connection.noop()
        assert receiver.sessions[0].verbs == ["EHLO", "NOOP"]
        allowed = server_for(receiver, clear_text_auth=True)
        await authenticate(connection.client, allowed, CREDENTIALS)
        assert receiver.sessions[0].verbs == ["EHLO", "NOOP", "AUTH"]
        connection.close()
