"""Connect, TLS or STARTTLS, EHLO, authenticate: every phase by its own clock."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import cast

from aiosmtplib import SMTP, SMTPHeloError, SMTPServerDisconnected
from aiosmtplib.protocol import SMTPProtocol

from app.mail.reply import Reply, Severity
from app.outbound.resolve import Resolve, resolve_host
from app.smtp.auth import authenticate
from app.smtp.content import each
from app.smtp.failure import (
    Cause,
    Failure,
    Phase,
    SmtpFailure,
    failure_from,
    is_reply_code,
    not_offered,
    phase_within,
    refused,
    reply_from,
)
from app.smtp.known_replies import KnownReplies
from app.smtp.protocol import Protocol
from app.smtp.reach import reach
from app.smtp.server import AccessToken, Credentials, Server, TokenCredentials
from app.smtp.tls import tls_context
from app.smtp.train import Train, Turn, Unseated


async def connect(server: Server, resolve: Resolve = resolve_host) -> "Connection":
    """A connection that is ready for MAIL: greeted, encrypted as `server` demands, authenticated.

    Only addresses that the server's guard permits are connected to. Certificate and host name are always verified.
    Where STARTTLS is demanded and not offered, nothing more is said. An access token is had before the server is
    reached; where the server refuses one that was not fresh, another one is tried, once, on another connection. Raises
    SmtpFailure; nothing stays open then, nor on cancellation.
    """
    credentials = server.credentials
    if not isinstance(credentials, TokenCredentials):
        return await _connect(server, credentials, resolve)
    token = await credentials.obtain(None)
    try:
        return await _connect_by_token(server, credentials, token, resolve)
    except SmtpFailure as failed:
        if token.is_fresh or not _refused_credentials(failed.failure):
            raise
    token = await credentials.obtain(token.text)
    return await _connect_by_token(server, credentials, token, resolve)


async def _connect_by_token(
    server: Server, credentials: TokenCredentials, token: AccessToken, resolve: Resolve
) -> "Connection":
    """The session's server has the token itself, so that it is taken out of replies."""
    with_token = Credentials(credentials.username, token.text, is_token=True)
    return await _connect(replace(server, credentials=with_token), with_token, resolve)


def _refused_credentials(failure: Failure) -> bool:
    return failure.phase is Phase.AUTH and failure.reply is not None and failure.reply.severity is Severity.PERMANENT


async def _connect(server: Server, credentials: Credentials | None, resolve: Resolve) -> "Connection":
    timeouts = server.timeouts
    async with phase_within(server, Phase.CONNECT, timeouts.connect):
        connected = await reach(server, resolve)
    connection = Connection(server)
    try:
        await connection.open(connected)
        await connection.greet()
        await connection.ehlo()
        if server.starttls:
            await connection.starttls()
            await connection.ehlo()
        if credentials is not None:
            async with connection.within(Phase.AUTH, timeouts.auth):
                await authenticate(connection.client, server, credentials)
    except BaseException:
        connection.close()
        raise
    return connection


class Connection:
    """One session with one server, lent to one transaction at a time.

    aiosmtplib's client is driven command by command; its `connect` is not used, as that puts TCP, TLS and the greeting
    under one clock. Any command that is refused the time to end, or is cancelled, closes the connection: its reply
    would be taken for the next command's. `extensions`: what the last EHLO offered and is believed, keyword in lower
    case to its parameters. `pipelining`: several commands may be sent at once (RFC 2920), as offered and not found to
    be untrue; `chunking`: so may content by BDAT (RFC 3030), with `pipelining` only. `train`: the transactions under
    way; `invite`: let another one come on board, and say whether one did. `out_of_step`: the server did not answer
    pipelined commands as it should; `rides_badly`: the connection was lost at the end of a transaction with another one
    behind it; `chunks_badly`: it offered CHUNKING and refused BDAT. `has_quit`: we left, with QUIT.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self.client = SMTP(hostname=server.host, port=server.port, start_tls=False, timeout=None)
        self.client.local_hostname = server.client_name
        self.messages_sent = 0
        self.in_transaction = self.has_quit = False
        self.pipelining = self.chunking = False
        self.out_of_step = self.rides_badly = self.chunks_badly = False
        self.invite: Callable[[], bool] = lambda: False
        self._disbelieved: frozenset[str] = frozenset()
        self.extensions: Mapping[str, str] = {}
        self._may_pipeline = self._may_chunk = True
        self._known = KnownReplies()
        self._protocol = Protocol(connection_lost_callback=self._lost)
        self.train = Train(self._protocol.put_behind, self.close)

    @property
    def server(self) -> Server:
        """The one that it is a session with. What it says is told apart from its credentials, so that with other ones
        everything is read anew."""
        return self._server

    @server.setter
    def server(self, server: Server) -> None:
        self._server = server
        self._known.clear()

    def permit(self, *, pipelining: bool, chunking: bool) -> None:
        """Whether they may be made use of where they are offered."""
        self._may_pipeline, self._may_chunk = pipelining, chunking
        self._consider()

    def disbelieve(self, *keywords: str) -> None:
        """Do without these extensions, in lower case: the server refused what it had offered."""
        self._disbelieved |= set(keywords)
        self._learn()

    @property
    def usable(self) -> bool:
        """Whether another command may be sent: not closed by us, nor by the server as far as is known."""
        return self._protocol.is_usable()

    @property
    def unread(self) -> bool:
        """Whether the server sent more replies than it was sent commands."""
        return self._protocol.has_unread()

    async def noop(self) -> None:
        """Ask whether the server is still there. Raises SmtpFailure, closed then."""
        await self._expect(b"NOOP")

    async def reset(self) -> None:
        """Make the server forget the unfinished transaction. Raises SmtpFailure, closed then."""
        await self._expect(b"RSET")
        self.in_transaction = False

    def quit_soon(self) -> None:
        """Send QUIT, unless the server has left, and close, without waiting for the reply."""
        with contextlib.suppress(SMTPServerDisconnected):
            self._protocol.write(b"QUIT\r\n")
            self.has_quit = True
        self.client.close()

    def close(self) -> None:
        """Close at once; what was not yet sent is not sent any more."""
        transport = self._protocol.transport
        if transport is not None:
            cast(asyncio.Transport, transport).abort()
        self.client.close()

    async def command(self, phase: Phase, seconds: float, *words: bytes) -> Reply:
        """Send one command, return its reply, whatever it says. Raises SmtpFailure: 421, a lost connection, no
        reply within `seconds`, no SMTP; the connection is closed then."""
        try:
            self._protocol.send(b" ".join(words))
        except Exception as error:
            raise self._ended(error, phase) from error
        return await self.reply(phase, seconds)

    def send(self, phase: Phase, turn: Turn, lines: Sequence[bytes], payload: bytes = b"") -> None:
        """Send command lines, without CRLF, and the octets of the last one, in one write; each has one reply to be
        read. They go behind the end of the transaction before. Raises SmtpFailure."""
        try:
            self._protocol.check(lines)
            turn.send(b"\r\n".join((*lines, payload)), len(lines), in_transaction=self.in_transaction)
        except Unseated:
            raise
        except Exception as error:
            raise self._ended(error, phase) from error

    async def reply(self, phase: Phase, seconds: float) -> Reply:
        """The reply to the first command that has none yet; raises as `command` does."""
        await self.arrival(phase, seconds)
        return self.take(phase)

    async def arrival(self, phase: Phase, seconds: float) -> None:
        """Return once that can be taken; raises as `command` does."""
        try:
            if not self._protocol.has_reply():
                await self._protocol.arrival(seconds)
        except Exception as error:
            if not self._protocol.has_reply():  # in the very turn in which its time was over
                raise self._ended(error, phase) from error
        except BaseException:
            self.close()
            raise

    def take(self, phase: Phase) -> Reply:
        """What `reply` returns, once it has arrived; raises as `command` does."""
        if (known := self.at_hand()) is not None:
            return known
        line = self._protocol.first_line()
        try:
            response = self._protocol.take()
        except Exception as error:
            raise self._ended(error, phase) from error
        reply = self._judged(response.code, response.message, phase)
        self._known.learn(line, reply)
        return reply

    def at_hand(self) -> Reply | None:
        """What `reply` would return at once, where it is one that came before: most are. None tells nothing."""
        if (known := self._protocol.take_known(self._known.of_line)) is not None:
            self._heed_excess()
        return known

    def take_acceptance(self, replies: int) -> bool:
        """Take so many replies, to MAIL, RCPT and DATA, if they are what has arrived, came before and accept."""
        if self._known.count_acceptance(self._protocol.arrived()) != replies:
            return False
        self._protocol.take_all(replies)
        return True

    async def upload(
        self, chunks: Iterable[bytes] | AsyncIterable[bytes], seconds: float, *, replies: bool = False
    ) -> int:
        """Send content but for its last chunk, at the pace of the server. Raises SmtpFailure (CONTENT), with the
        reply of a server that refused the content before its end. With `replies` each chunk has one (BDAT); how many
        of them are still to come."""
        owed = 0
        try:
            async with self.within(Phase.CONTENT, seconds):
                async for chunk in each(chunks):
                    if replies:
                        self._protocol.put_behind(chunk, 1)
                        owed += 1
                    else:
                        self._protocol.put(chunk)
                    await self._protocol.room()
                    await asyncio.sleep(0)  # there is always room where the server is quick, and others wait
                    while self._heed_early_reply(owed):
                        owed -= 1
        except SmtpFailure:
            self._heed_early_reply()
            raise
        return owed

    def finish(self, turn: Turn, chunk: bytes) -> None:
        """Send the last chunk, final dot included; its reply is to be read. Raises SmtpFailure (CONTENT), nothing of
        the chunk sent then."""
        try:
            self._heed_early_reply()
            behind, replies = turn.end(is_clean=True)
            self._protocol.put(chunk + behind, replies)
        except Exception as error:
            raise self._ended(error, Phase.CONTENT) from error

    def finish_chunks(self, turn: Turn, chunk: bytes) -> None:
        """Send the last chunk of BDAT; its reply is to be read. Raises SmtpFailure (CONTENT), nothing sent then."""
        try:
            behind, replies = turn.end(is_clean=False)
            self._protocol.put_behind(chunk + behind, 1 + replies)
        except Exception as error:
            raise self._ended(error, Phase.CONTENT) from error

    def _ended(self, error: Exception, phase: Phase) -> SmtpFailure:
        """The failure that the error is; closes the connection."""
        self.close()
        return SmtpFailure(failure_from(error, phase, self.server))

    @contextlib.asynccontextmanager
    async def within(self, phase: Phase, seconds: float | None) -> AsyncIterator[None]:
        """Give the block `seconds` (None: any time); whatever it raises closes the connection and becomes an
        SmtpFailure."""
        try:
            async with phase_within(self.server, phase, seconds):
                yield
        except BaseException:
            self.close()
            raise

    def protocol_failure(self, reply: Reply, phase: Phase) -> SmtpFailure:
        """The failure of a reply that makes no sense in `phase`; closes the connection."""
        self.close()
        message = f"The server answered {reply.code}, which makes no sense here ({phase})."
        return SmtpFailure(Failure(phase, Cause.PROTOCOL, message))

    async def open(self, connected: socket.socket) -> None:
        """Take over the socket, and start implicit TLS where the server wants it."""
        implicit, timeouts = self.server.implicit_tls, self.server.timeouts
        try:
            context = await tls_context(self.server, implicit)
        except BaseException:
            connected.close()
            raise
        phase, seconds = (Phase.TLS, timeouts.tls) if implicit else (Phase.CONNECT, timeouts.connect)
        async with self.within(phase, seconds):
            await asyncio.get_running_loop().create_connection(
                lambda: self._protocol,
                sock=connected,
                ssl=context,
                server_hostname=self.server.host.rstrip(".") if implicit else None,
                ssl_handshake_timeout=2 * seconds if implicit else None,  # so that `within` is the clock
            )
        self.client.protocol = self._protocol
        self.client.transport = self._protocol.transport

    async def greet(self) -> Reply:
        """Wait for 220, which is returned."""
        reply = await self.reply(Phase.GREETING, self.server.timeouts.greeting)
        self._positive(reply, Phase.GREETING)
        return reply

    async def ehlo(self) -> None:
        """Say EHLO, learn the extensions. HELO to a server that does not know EHLO (RFC 5321 section 3.2)."""
        async with self.within(Phase.EHLO, self.server.timeouts.ehlo):
            try:
                await self.client.ehlo(timeout=None)
            except SMTPHeloError as error:
                if error.code not in (500, 502):
                    raise
                await self.client.helo(timeout=None)
        self._learn()

    async def starttls(self) -> None:
        """Upgrade to TLS (RFC 3207), or fail if that is not offered."""
        if "starttls" not in self.extensions:
            self.close()
            raise SmtpFailure(not_offered(self.server))
        context = await tls_context(self.server, True)
        async with self.within(Phase.TLS, self.server.timeouts.tls):
            self.extensions = {}
            await self.client.starttls(tls_context=context, server_hostname=self.server.host.rstrip("."), timeout=None)

    def _learn(self) -> None:
        offered = self.client.esmtp_extensions
        self.extensions = {keyword: offered[keyword] for keyword in offered.keys() - self._disbelieved}
        self._consider()

    def _consider(self) -> None:
        self.pipelining = self._may_pipeline and "pipelining" in self.extensions
        self.chunking = self._may_chunk and self.pipelining and "chunking" in self.extensions

    async def _expect(self, verb: bytes) -> None:
        """A probe of a warm connection may take as long as making a new one."""
        reply = await self.command(Phase.MAIL, self.server.timeouts.connect, verb)
        self._positive(reply, Phase.MAIL)

    def _positive(self, reply: Reply, phase: Phase) -> None:
        if reply.severity is not Severity.POSITIVE:
            self.close()
            raise SmtpFailure(refused(reply, phase, self.server))

    def _heed_excess(self) -> None:
        """More replies than commands (a 421 behind the last one, or nonsense) is where the session ends: the one too
        many would be taken for the next command's."""
        if self._protocol.has_unread():
            self.close()

    def _judged(self, code: int, text: str, phase: Phase) -> Reply:
        """The reply, unless it ends the session: 421 (RFC 5321 section 3.8) or no reply code at all."""
        self._heed_excess()
        reply = reply_from(code, text, self.server)
        if not is_reply_code(code):
            raise self.protocol_failure(reply, phase)
        if code == 421:
            self.close()
            raise SmtpFailure(refused(reply, phase, self.server))
        return reply

    def _heed_early_reply(self, owed: int = 0) -> bool:
        """A reply before the end: the server will not take the content, so the end must not follow. Whether there was
        one that is positive, and `owed` to a chunk."""
        early = self._protocol.early_reply()
        if early is None:
            return False
        reply = reply_from(early.code, early.message, self.server)
        if owed and 200 <= reply.code <= 299:
            return True
        if reply.severity is Severity.POSITIVE or not is_reply_code(reply.code):
            raise self.protocol_failure(reply, Phase.CONTENT)
        self.close()
        raise SmtpFailure(refused(reply, Phase.CONTENT, self.server))

    def _lost(self, _: SMTPProtocol) -> None:
        self.client.close()
