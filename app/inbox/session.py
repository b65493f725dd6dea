"""One SMTP session of the receiver: RFC 5321, RFC 4954 (AUTH), RFC 3207 (STARTTLS), strict about line ends."""

import base64
import binascii
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from app.inbox.received import ReceivedMail, SessionLog
from app.inbox.script import Answer, Drop, Endless, Hang, Overlook, Raw, Reset, Script, Stage, Wait, reply_octets
from app.inbox.syntax import content_problem, mail_problem, read_chunk, read_path
from app.inbox.wire import ClosedError, TooLongError, Wire
from app.inbox.xoauth2 import CHALLENGE, user_and_token

log = logging.getLogger(__name__)

_COMMAND_LINE = 512
_MAIL_LINE = 1000  # 512 and what SIZE, BODY, SMTPUTF8 and AUTH= add to it
_AUTH_LINE = 12288  # RFC 4954 section 4
_MAX_RECIPIENTS = 1000
_MAX_ERRORS = 20


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a receiver behaves in every session; `Receiver` says what each means."""

    hostname: str
    tls: ssl.SSLContext | None
    implicit_tls: bool
    extensions: frozenset[str]
    check: Callable[[str, str], bool] | None
    mechanisms: tuple[str, ...]
    take: Callable[[ReceivedMail], Awaitable[None]]
    script: Script
    max_bytes: int


@dataclass(slots=True)
class _Transaction:
    reverse_path: str
    parameters: dict[str, str | None]
    recipients: list[str] = field(default_factory=list)
    chunks: bytearray = field(default_factory=bytearray)


class _HangupError(Exception):
    """The session ends here."""


class Session:
    """Answers one client until it leaves, is dropped by the script, idles too long or makes too many errors."""

    def __init__(self, wire: Wire, behaviour: Behaviour, record: SessionLog | None) -> None:
        self._wire = wire
        self._behaviour = behaviour
        self._record = record
        self._ehlo_name: str | None = None
        self._username: str | None = None
        self._transaction: _Transaction | None = None
        self._accepted = 0
        self._errors = 0
        self._verbs: dict[str, Callable[[str], Awaitable[bool]]] = {
            "EHLO": self._ehlo,
            "HELO": self._helo,
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "BDAT": self._bdat,
            "RSET": self._rset,
            "NOOP": self._noop,
            "VRFY": self._vrfy,
            "QUIT": self._quit,
        }

    async def run(self) -> None:
        """Talk until the end of the session, then close the connection."""
        try:
            if self._record is not None:
                self._record.tls = self._wire.tls
            await self._scripted(Stage.GREETING, f"220 {self._behaviour.hostname} ESMTP")
            while self._errors < _MAX_ERRORS:
                await self._command()
            await self._reply("421 4.7.0 Too many errors")
        except (ClosedError, _HangupError):
            pass
        except TimeoutError:
            await self._time_out()
        finally:
            self._wire.close()

    async def _time_out(self) -> None:
        try:
            await self._wire.send(reply_octets("421 4.4.2 Idle for too long"))
        except (ClosedError, TimeoutError):
            self._wire.abort()

    async def _command(self) -> bool:
        try:
            line = await self._line(_AUTH_LINE)
        except TooLongError:
            return await self._error("500 5.5.2 Line too long")
        except ValueError:
            return await self._error("500 5.5.2 Lines are UTF-8, end in CRLF and hold neither CR, LF nor NUL")
        verb, _, argument = line.partition(" ")
        verb = verb.upper()
        if len(line.encode()) + 2 > {"MAIL": _MAIL_LINE, "AUTH": _AUTH_LINE}.get(verb, _COMMAND_LINE):
            return await self._error("500 5.5.2 Line too long")
        handle = self._verbs.get(verb)
        if handle is None:
            return await self._error("500 5.5.1 Command not recognized")
        return await handle(argument.strip(" "))

    async def _ehlo(self, name: str) -> bool:
        if not name or " " in name:
            return await self._error("501 5.5.4 EHLO needs one domain or address literal")
        reply = "\n".join([f"250 {self._behaviour.hostname} greets {name}", *self._offered()])
        return await self._hello(Stage.EHLO, name, reply)

    def _offered(self) -> list[str]:
        behaviour = self._behaviour
        lines = [f"SIZE {behaviour.max_bytes}" if name == "SIZE" else name for name in sorted(behaviour.extensions)]
        if self._offers_starttls():
            lines.append("STARTTLS")
        if behaviour.check is not None and behaviour.mechanisms:
            lines.append(f"AUTH {' '.join(behaviour.mechanisms)}")
        return lines

    def _offers_starttls(self) -> bool:
        return self._behaviour.tls is not None and not self._wire.tls

    async def _helo(self, name: str) -> bool:
        if not name or " " in name:
            return await self._error("501 5.5.4 HELO needs a domain")
        return await self._hello(Stage.HELO, name, f"250 {self._behaviour.hostname}")

    async def _hello(self, stage: Stage, name: str, reply: str) -> bool:
        self._transaction = None
        if not await self._scripted(stage, reply):
            return False
        self._ehlo_name = name
        return True

    async def _starttls(self, argument: str) -> bool:
        context = self._behaviour.tls
        if context is None or self._wire.tls:
            return await self._error("503 5.5.1 STARTTLS is not offered")
        if argument:
            return await self._error("501 5.5.4 STARTTLS has no argument")
        if not await self._scripted(Stage.STARTTLS, "220 2.0.0 Go ahead"):
            return False
        await self._wire.start_tls(context)
        self._ehlo_name = self._username = self._transaction = None
        if self._record is not None:
            self._record.tls = True
        return True

    async def _auth(self, argument: str) -> bool:
        mechanism, _, initial = argument.partition(" ")
        if problem := self._auth_problem(mechanism.upper()):
            return await self._error(problem)
        try:
            if mechanism.upper() == "PLAIN":
                _, username, password = (await self._credential(initial, "")).split("\0")
            elif mechanism.upper() == "XOAUTH2":
                username, password = user_and_token(await self._credential(initial, ""))
            else:
                username = await self._credential(initial, "Username:")
                password = await self._credential("", "Password:")
        except (ValueError, TooLongError):
            return await self._error("501 5.5.2 Credentials cancelled or malformed")
        check = self._behaviour.check
        valid = check is not None and check(username, password)
        if not valid and mechanism.upper() == "XOAUTH2":
            await self._challenge()
        reply = "235 2.7.0 Authenticated" if valid else "535 5.7.8 Authentication credentials invalid"
        if not await self._scripted(Stage.AUTH, reply):
            return False
        self._username = username
        return True

    async def _challenge(self) -> None:
        """Say in JSON what is wrong with a token; the client answers with nothing, and gets the reply."""
        await self._send(b"334 " + CHALLENGE + b"\r\n")
        with contextlib.suppress(ValueError, TooLongError):
            await self._line(_AUTH_LINE)

    def _auth_problem(self, mechanism: str) -> str | None:
        if self._behaviour.check is None or self._ehlo_name is None:
            return "503 5.5.1 AUTH is not offered, or EHLO is missing"
        if self._username is not None or self._transaction is not None:
            return "503 5.5.1 Authenticated already, or in the midst of a mail transaction"
        if mechanism not in self._behaviour.mechanisms:
            return "504 5.5.4 Mechanism not offered"
        return None

    async def _credential(self, given: str, challenge: str) -> str:
        """One base64 answer, given with the command or asked for. Raises ValueError, TooLongError."""
        if not given:
            await self._send(f"334 {base64.b64encode(challenge.encode()).decode()}\r\n".encode())
            given = await self._line(_AUTH_LINE)
        try:
            return base64.b64decode("" if given == "=" else given, validate=True).decode()
        except binascii.Error as error:
            raise ValueError from error

    async def _mail(self, argument: str) -> bool:
        if self._ehlo_name is None or self._transaction is not None:
            return await self._error("503 5.5.1 EHLO first, and one transaction at a time")
        if self._behaviour.check is not None and self._username is None:
            return await self._error("530 5.7.0 Authentication required")
        path, parameters = read_path("FROM", argument)
        if path is None or parameters is None:
            return await self._error("501 5.5.4 Syntax: MAIL FROM:<path> [parameters]")
        if problem := mail_problem(path, parameters, self._behaviour.extensions, self._behaviour.max_bytes):
            return await self._reply(problem)
        if not await self._scripted(Stage.MAIL, "250 2.1.0 Sender ok", path):
            return False
        self._transaction = _Transaction(path, parameters)
        return True

    async def _rcpt(self, argument: str) -> bool:
        if self._transaction is None:
            return await self._error("503 5.5.1 MAIL first")
        path, parameters = read_path("TO", argument)
        if not path or parameters is None:
            return await self._error("501 5.5.4 Syntax: RCPT TO:<path>")
        if parameters:
            return await self._reply("555 5.5.4 Parameter not recognized")
        if not path.isascii() and "SMTPUTF8" not in self._transaction.parameters:
            return await self._reply("553 5.6.7 A non-ASCII address needs SMTPUTF8")
        if len(self._transaction.recipients) >= _MAX_RECIPIENTS:
            return await self._reply("452 4.5.3 Too many recipients")
        if not await self._scripted(Stage.RCPT, "250 2.1.5 Recipient ok", path):
            return False
        self._transaction.recipients.append(path)
        return True

    async def _data(self, argument: str) -> bool:
        transaction = self._transaction
        if transaction is None or not transaction.recipients:
            return await self._error("503 5.5.1 MAIL and RCPT first")
        if argument:
            return await self._error("501 5.5.4 DATA has no argument")
        if not await self._scripted(Stage.DATA, "354 End data with <CRLF>.<CRLF>"):
            return False
        await self._wire.arrival()
        await self._scripted(Stage.CONTENT, None)
        content, problem = await self._content()
        self._transaction = None
        if problem:
            return await self._reply(problem)
        return await self._end(transaction, content)

    async def _end(self, transaction: _Transaction, content: bytes) -> bool:
        reply = await self._verdict(Stage.DOT, "250 2.0.0 Taken") or b""
        if reply[:1] == b"2":
            reply = await self._take(transaction, content, reply)
        return await self._send(reply)

    async def _bdat(self, argument: str) -> bool:
        """After a refusal the transaction is left as it is: only RSET ends it (RFC 3030 section 2)."""
        if "CHUNKING" not in self._behaviour.extensions:
            return await self._error("500 5.5.1 Command not recognized")
        chunk = read_chunk(argument)
        if chunk is None:
            return await self._error("501 5.5.4 Syntax: BDAT size [LAST]")
        size, is_last = chunk
        if size > self._behaviour.max_bytes:
            await self._reply(f"552 5.3.4 The limit is {self._behaviour.max_bytes} octets")
            raise _HangupError
        octets = await self._wire.octets(size)
        transaction = self._transaction
        if transaction is None or not transaction.recipients:
            return await self._error("503 5.5.1 MAIL and RCPT first")
        transaction.chunks += octets
        if len(transaction.chunks) > self._behaviour.max_bytes:
            return await self._reply(f"552 5.3.4 The limit is {self._behaviour.max_bytes} octets")
        if not await self._scripted(Stage.BDAT, None if is_last else f"250 2.0.0 {len(octets)} octets"):
            return False
        return await self._end_chunks(transaction) if is_last else True

    async def _end_chunks(self, transaction: _Transaction) -> bool:
        content = bytes(transaction.chunks)
        if problem := content_problem(content):
            return await self._reply(problem)
        taken = await self._end(transaction, content)
        if taken:
            self._transaction = None
        return taken

    async def _content(self) -> tuple[bytes, str | None]:
        """The content, and the reply that refuses it or None."""
        try:
            stuffed = await self._wire.content(self._behaviour.max_bytes)
        except TooLongError:
            return b"", f"552 5.3.4 The limit is {self._behaviour.max_bytes} octets"
        content = stuffed.replace(b"\r\n.", b"\r\n").removeprefix(b".")
        return content, content_problem(content)

    async def _take(self, transaction: _Transaction, content: bytes, reply: bytes) -> bytes:
        mail = ReceivedMail(
            reverse_path=transaction.reverse_path,
            recipients=tuple(transaction.recipients),
            content=content,
            ehlo_name=self._ehlo_name or "",
            username=self._username,
            tls=self._wire.tls,
            parameters=transaction.parameters,
        )
        try:
            await self._behaviour.take(mail)
        except Exception:
            log.exception("a received mail could not be taken")
            return reply_octets("451 4.3.0 Could not be stored")
        self._accepted += 1
        if self._record is not None:
            self._record.mails += 1
        return await self._verdict(Stage.ACCEPTED, None) or reply

    async def _rset(self, argument: str) -> bool:
        self._transaction = None
        return await self._scripted(Stage.RSET, "250 2.0.0 Reset")

    async def _noop(self, argument: str) -> bool:
        return await self._scripted(Stage.NOOP, "250 2.0.0 Ok")

    async def _vrfy(self, argument: str) -> bool:
        return await self._reply("252 2.1.5 Send some mail to find out")

    async def _quit(self, argument: str) -> bool:
        await self._scripted(Stage.QUIT, "221 2.0.0 Goodbye")
        raise _HangupError

    async def _line(self, limit: int) -> str:
        """A line without CRLF, recorded. Raises TooLongError, or ValueError when it is not a proper line."""
        octets = await self._wire.line(limit)
        if self._record is not None:
            self._record.waits = self._wire.waits
        line = octets.decode("utf-8", "backslashreplace").removesuffix("\r")
        if self._record is not None:
            self._record.commands.append(line)
        if not octets.endswith(b"\r") or b"\r" in octets[:-1] or b"\0" in octets:
            raise ValueError("not a line")
        octets.decode("utf-8")
        return line

    async def _error(self, reply: str) -> bool:
        self._errors += 1
        return await self._reply(reply)

    async def _reply(self, text: str) -> bool:
        return await self._send(reply_octets(text))

    async def _scripted(self, stage: Stage, reply: str | None, address: str | None = None) -> bool:
        """Send what the script says, else `reply`; whether that was a positive reply."""
        octets = await self._verdict(stage, reply, address)
        return octets is None or await self._send(octets)

    async def _verdict(self, stage: Stage, reply: str | None, address: str | None = None) -> bytes | None:
        for action in self._behaviour.script.actions(stage, address, self._accepted):
            match action:
                case Wait(event):
                    await event.wait()
                case Overlook():
                    self._wire.overlook()
                case Answer(close=True):
                    await self._send(action.octets)
                    raise _HangupError
                case Answer() | Raw():
                    return action.octets
                case Endless():
                    await self._wire.send_endlessly(action.octets, action.every)
                case Drop():
                    raise _HangupError
                case Reset():
                    self._wire.reset()
                    raise _HangupError
                case Hang():
                    await self._wire.hang()
                    raise _HangupError
        return None if reply is None else reply_octets(reply)

    async def _send(self, octets: bytes) -> bool:
        await self._wire.send(octets)
        if octets.startswith(b"421"):
            raise _HangupError
        return octets[:1] in (b"2", b"3")
