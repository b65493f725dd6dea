"""A small SMTP receiver on loopback: SANDBOX services deliver into it, and tests talk to it."""

import asyncio
import hmac
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Self

from app.inbox.received import ReceivedMail, SessionLog
from app.inbox.script import Action, Answer, Drop, Endless, Hang, Overlook, Raw, Reset, Script, Stage, Wait
from app.inbox.session import Behaviour, Session
from app.inbox.wire import Wire

__all__ = [
    "Action",
    "Answer",
    "Drop",
    "Endless",
    "Hang",
    "Overlook",
    "Raw",
    "ReceivedMail",
    "Receiver",
    "Reset",
    "Script",
    "SessionLog",
    "Stage",
    "Wait",
]

_TOO_MANY_SESSIONS = Answer("421 4.7.0 Too many sessions, try again later")
EXTENSIONS = ("8BITMIME", "ENHANCEDSTATUSCODES", "PIPELINING", "SIZE", "SMTPUTF8")


class Receiver:
    """An SMTP server (RFC 5321) that takes mail for any recipient and relays nothing.

    `port` 0 takes a free port; after `start`, `.port` tells which. `tls`: offer STARTTLS, or with `implicit_tls` speak
    TLS from the first byte. `credentials`: user name to password, or a function that checks both; AUTH is then offered
    with `mechanisms` (PLAIN, LOGIN, or XOAUTH2, where the token is the password), and required. `on_mail` is awaited
    before the reply to the final dot; when it raises, the reply is 451. `max_bytes` limits the content, `idle_timeout`
    (seconds) the silence of a client, `max_sessions` the sessions side by side; one too many meets `excess` for a
    greeting. `script` makes it misbehave. `keep` collects `.mails` and `.sessions` in memory: for tests.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        hostname: str = "receiver.invalid",
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        extensions: Iterable[str] = EXTENSIONS,
        credentials: Callable[[str, str], bool] | Mapping[str, str] | None = None,
        mechanisms: Iterable[str] = ("PLAIN", "LOGIN"),
        on_mail: Callable[[ReceivedMail], Awaitable[None]] | None = None,
        script: Script | None = None,
        max_bytes: int = 64 * 1024 * 1024,
        idle_timeout: float = 300,
        max_sessions: int | None = None,
        excess: Action = _TOO_MANY_SESSIONS,
        keep: bool = False,
    ) -> None:
        self.host = host
        self.port = port
        self.mails: list[ReceivedMail] = []
        self.sessions: list[SessionLog] = []
        self.script = script or Script()
        self._on_mail = on_mail
        self._idle_timeout = idle_timeout
        self._max_sessions = max_sessions
        self._excess = excess
        self._keep = keep
        self._arrived = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._wires: set[Wire] = set()
        self._behaviour = Behaviour(
            hostname=hostname,
            tls=tls,
            implicit_tls=implicit_tls and tls is not None,
            extensions=frozenset(extensions),
            check=_check(credentials),
            mechanisms=tuple(mechanisms),
            take=self._take,
            script=self.script,
            max_bytes=max_bytes,
        )

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        context = self._behaviour.tls if self._behaviour.implicit_tls else None
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._wire, self.host, self.port, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and end every session at once."""
        if self._server is None:
            return
        self._server.close()
        for wire in self._wires:
            wire.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def wait_for(self, count: int) -> list[ReceivedMail]:
        """Wait until `count` mails have been kept, and return all that were. Only with `keep`."""
        if not self._keep:
            raise ValueError("this receiver keeps no mails")
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.mails) >= count)
        return list(self.mails)

    def _wire(self) -> Wire:
        record = SessionLog() if self._keep else None

        def connected(wire: Wire) -> None:
            if record is not None:
                self.sessions.append(record)
            task = asyncio.get_running_loop().create_task(self._serve(wire, record))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return Wire(connected, self._idle_timeout, record.received if record is not None else None)

    async def _serve(self, wire: Wire, record: SessionLog | None) -> None:
        self._wires.add(wire)
        try:
            behaviour = self._behaviour
            if self._max_sessions is not None and len(self._wires) > self._max_sessions:
                behaviour = replace(behaviour, script=Script().on(Stage.GREETING, self._excess))
            await Session(wire, behaviour, record).run()
        finally:
            await self._part(wire)

    async def _part(self, wire: Wire) -> None:
        """Let the peer read the last reply, but not for ever."""
        try:
            await wire.closed(self._idle_timeout)
        except TimeoutError:
            wire.abort()
        finally:
            self._wires.discard(wire)

    async def _take(self, mail: ReceivedMail) -> None:
        if self._on_mail is not None:
            await self._on_mail(mail)
        if self._keep:
            async with self._arrived:
                self.mails.append(mail)
                self._arrived.notify_all()


def _check(credentials: Callable[[str, str], bool] | Mapping[str, str] | None) -> Callable[[str, str], bool] | None:
    if credentials is None or callable(credentials):
        return credentials
    known = dict(credentials)

    def check(username: str, password: str) -> bool:
        expected = known.get(username)
        return expected is not None and hmac.compare_digest(expected.encode(), password.encode())

    return check
