"""AUTH by access token, against a receiver that checks it."""

import base64
import logging
from collections.abc import AsyncIterator, Callable

import pytest

from app.inbox.receiver import Receiver, Stage
from app.smtp.connection import connect
from app.smtp.failure import Cause, Phase, SmtpFailure
from app.smtp.server import AccessToken, Server, TokenCredentials

MakeServer = Callable[..., Server]

USER, GOOD = "me@example.com", "good-canary-token"
LONG = "long-canary-" + "x" * 2000


class Source:
    """Gives these tokens one after the other, and remembers what it was asked."""

    def __init__(self, *tokens: AccessToken) -> None:
        self.tokens = list(tokens)
        self.asked: list[str | None] = []

    async def obtain(self, refused: str | None) -> AccessToken:
        self.asked.append(refused)
        return self.tokens.pop(0)

    @property
    def credentials(self) -> TokenCredentials:
        return TokenCredentials(USER, self.obtain)


def cached(text: str) -> AccessToken:
    return AccessToken(text, is_fresh=False)


def fresh(text: str) -> AccessToken:
    return AccessToken(text, is_fresh=True)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    def check(username: str, token: str) -> bool:
        return username == USER and token in (GOOD, LONG)

    async with Receiver(keep=True, credentials=check, mechanisms=("PLAIN", "XOAUTH2")) as receiver:
        yield receiver


def encoded(token: str) -> str:
    return base64.b64encode(f"user={USER}\1auth=Bearer {token}\1\1".encode()).decode()


async def test_a_token_goes_with_the_command_where_its_line_has_room(
    receiver: Receiver, server_for: MakeServer
) -> None:
    for token in (GOOD, LONG):
        connection = await connect(server_for(receiver, credentials=Source(cached(token)).credentials))
        await connection.noop()
        connection.close()
    short, long = (session.commands for session in receiver.sessions)
    assert short[1:] == [f"AUTH XOAUTH2 {encoded(GOOD)}", "NOOP"]
    assert long[1:] == ["AUTH XOAUTH2", encoded(LONG), "NOOP"]


async def test_a_cached_token_that_is_refused_is_replaced_once(receiver: Receiver, server_for: MakeServer) -> None:
    source = Source(cached("stale"), fresh(GOOD))
    connection = await connect(server_for(receiver, credentials=source.credentials))
    await connection.noop()
    connection.close()
    assert source.asked == [None, "stale"]
    assert [session.verbs for session in receiver.sessions] == [["EHLO", "AUTH", ""], ["EHLO", "AUTH", "NOOP"]]


@pytest.mark.parametrize("tokens", [[fresh("bad-canary")], [cached("stale"), fresh("bad-canary")]])
async def test_a_fresh_token_that_is_refused_is_a_refusal(
    receiver: Receiver, server_for: MakeServer, tokens: list[AccessToken]
) -> None:
    source = Source(*tokens)
    with pytest.raises(SmtpFailure) as refused:
        await connect(server_for(receiver, credentials=source.credentials))
    failure = refused.value.failure
    assert (failure.phase, failure.cause) == (Phase.AUTH, Cause.AUTHENTICATION)
    assert failure.message == ("Authentication failed (535 5.7.8): the access token was refused with status 401.")
    assert len(receiver.sessions) == len(tokens)


@pytest.mark.parametrize(
    ("challenge", "status"),
    [
        (b'{"status":"400"}', "status 400"),
        (b'{"status":"canary <b>"}', None),
        (b'["canary"]', None),
        (b"[" * 5000, None),
        (b"canary", None),
    ],
)
async def test_of_a_challenge_only_a_plain_status_is_told(
    server_for: MakeServer, challenge: bytes, status: str | None
) -> None:
    async with Receiver(keep=True, credentials={USER: GOOD}, mechanisms=("XOAUTH2",)) as receiver:
        receiver.script.on(Stage.AUTH, f"334 {base64.b64encode(challenge).decode()}", times=1)
        with pytest.raises(SmtpFailure) as refused:
            await connect(server_for(receiver, credentials=Source(fresh(GOOD)).credentials))
    message = refused.value.failure.message
    assert "canary" not in message
    assert (status or "status") in message if status else "status" not in message


async def test_a_server_without_xoauth2_is_sent_no_token(server_for: MakeServer) -> None:
    async with Receiver(keep=True, credentials={USER: GOOD}) as receiver:
        with pytest.raises(SmtpFailure, match="does not offer XOAUTH2"):
            await connect(server_for(receiver, credentials=Source(cached(GOOD)).credentials))
        assert [session.verbs for session in receiver.sessions] == [["EHLO"]]


async def test_a_reply_that_repeats_the_token_is_told_without_it(
    receiver: Receiver, server_for: MakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.script.on(Stage.AUTH, f"535 5.7.8 {USER} {GOOD} {encoded(GOOD)} no")
    with caplog.at_level(logging.DEBUG), pytest.raises(SmtpFailure) as refused:
        await connect(server_for(receiver, credentials=Source(fresh(GOOD)).credentials))
    reply = refused.value.failure.reply
    assert reply is not None
    assert reply.text == "… … … no"
    assert GOOD not in f"{refused.value!r}{refused.value.failure!r}{caplog.text}{Source(fresh(GOOD)).credentials!r}"


async def test_a_source_that_has_none_keeps_the_server_alone(receiver: Receiver, server_for: MakeServer) -> None:
    async def obtain(_: str | None) -> AccessToken:
        raise refusal

    refusal = SmtpFailure.__new__(SmtpFailure)
    with pytest.raises(SmtpFailure) as refused:
        await connect(server_for(receiver, credentials=TokenCredentials(USER, obtain)))
    assert refused.value is refusal
    assert receiver.sessions == []
