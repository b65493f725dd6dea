"""MAIL, RCPT, DATA, content, final dot: one Reply per recipient (RFC 5321 section 3.3)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from app.mail.envelope import Envelope
from app.mail.reply import Reply, Severity
from app.smtp.connection import Connection
from app.smtp.failure import Failure, Phase, SmtpFailure
from app.smtp.server import Timeouts

_CHUNK = 64 * 1024
_PATH = re.compile(
    r'(?:"(?:[^"\\\x00-\x1f\x7f\ud800-\udfff]|\\[^\x00-\x1f\x7f\ud800-\udfff])*"|[^\s<>"\x00-\x1f\x7f\ud800-\udfff])*'
)


@dataclass(frozen=True, slots=True)
class TransactionResult:
    """What became of each recipient. One with a reply has its verdict: the reply to its RCPT, to MAIL or DATA, to
    the final dot, or our own where the server's extensions rule it out. `failure` is that of all the others."""

    replies: Mapping[str, Reply]
    failure: Failure | None = None


async def transact(connection: Connection, envelope: Envelope, content: bytes, timeouts: Timeouts) -> TransactionResult:
    """Send `content` (CRLF line ends) to the recipients of `envelope`; each phase has its seconds in `timeouts`.

    Raises nothing but cancellation, which closes the connection. 421 in any phase is a failure that carries
    that reply. After a refusal `connection.in_transaction` may be true: RSET is needed before the next MAIL.
    """
    replies = _ruled_out(connection.extensions, envelope, content)
    due = [address for address in dict.fromkeys(envelope.recipients) if address not in replies]
    if not due:
        return TransactionResult(replies)
    try:
        await _transact(connection, envelope.reverse_path, due, content, timeouts, replies, envelope.smtputf8)
    except SmtpFailure as error:
        return TransactionResult(replies, error.failure)
    return TransactionResult(replies)


async def _transact(
    connection: Connection,
    reverse_path: str,
    due: list[str],
    content: bytes,
    timeouts: Timeouts,
    replies: dict[str, Reply],
    smtputf8: bool,
) -> None:
    """Fill `replies` for the `due` recipients, phase by phase, as long as any of them is left."""
    smtputf8 = smtputf8 or not all(address.isascii() for address in (reverse_path, *due))
    parameters = _mail_parameters(connection.extensions, content, smtputf8)
    if await _mail(connection, reverse_path, parameters, due, timeouts, replies):
        accepted = [address for address in due if await _rcpt(connection, address, timeouts, replies)]
        if accepted and await _data(connection, accepted, timeouts, replies):
            reply = await _content(connection, content, timeouts)
            replies.update(dict.fromkeys(accepted, reply))


async def _mail(
    connection: Connection,
    reverse_path: str,
    parameters: list[bytes],
    due: list[str],
    timeouts: Timeouts,
    replies: dict[str, Reply],
) -> bool:
    reply = await connection.command(
        Phase.MAIL, timeouts.mail, b"MAIL", b"FROM:<" + reverse_path.encode() + b">", *parameters
    )
    if not _is(reply, 2, connection, Phase.MAIL):
        replies.update(dict.fromkeys(due, reply))
        return False
    connection.in_transaction = True
    return True


async def _rcpt(connection: Connection, address: str, timeouts: Timeouts, replies: dict[str, Reply]) -> bool:
    reply = await connection.command(Phase.RCPT, timeouts.rcpt, b"RCPT", b"TO:<" + address.encode() + b">")
    if _is(reply, 2, connection, Phase.RCPT):
        return True
    replies[address] = reply
    return False


async def _data(connection: Connection, accepted: list[str], timeouts: Timeouts, replies: dict[str, Reply]) -> bool:
    reply = await connection.command(Phase.DATA, timeouts.data, b"DATA")
    if _is(reply, 3, connection, Phase.DATA):
        return True
    replies.update(dict.fromkeys(accepted, reply))
    return False


async def _content(connection: Connection, content: bytes, timeouts: Timeouts) -> Reply:
    """Send the content and the final dot; until the last chunk is begun, the server cannot have taken the mail.

    A refusal amid the content is as good as one after it, though the connection is closed then.
    """
    stuffed = memoryview(_stuffed(content))
    chunks = [stuffed[start : start + _CHUNK] for start in range(0, len(stuffed), _CHUNK)]
    try:
        await connection.upload(chunks[:-1], timeouts.content)
        reply = await connection.finish(bytes(chunks[-1]) + b".\r\n", timeouts.dot)
    except SmtpFailure as error:
        if error.failure.reply is None or error.failure.reply.code == 421:
            raise
        return error.failure.reply
    connection.in_transaction = False
    connection.messages_sent += 1
    _is(reply, 2, connection, Phase.DOT)
    return reply


def _stuffed(content: bytes) -> bytes:
    """Transparency (RFC 5321 section 4.5.2): a dot that begins a line is doubled."""
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if stuffed.startswith(b".") else stuffed


def _is(reply: Reply, digit: int, connection: Connection, phase: Phase) -> bool:
    """Whether the reply begins with `digit`. Raises SmtpFailure for a positive one that does not."""
    if reply.severity is not Severity.POSITIVE:
        return False
    if reply.code // 100 != digit:
        raise connection.protocol_failure(reply, phase)
    return True


def _mail_parameters(extensions: Mapping[str, str], content: bytes, smtputf8: bool) -> list[bytes]:
    parameters = []
    if "size" in extensions:
        parameters.append(f"SIZE={len(content)}".encode())
    if "8bitmime" in extensions and not content.isascii():
        parameters.append(b"BODY=8BITMIME")
    if smtputf8:
        parameters.append(b"SMTPUTF8")
    return parameters


def _ruled_out(extensions: Mapping[str, str], envelope: Envelope, content: bytes) -> dict[str, Reply]:
    """Our own replies, for recipients of whom nothing must go over the wire."""
    problem = _content_problem(extensions, content) or _address_problem(extensions, envelope.reverse_path)
    if problem is None and envelope.smtputf8 and "smtputf8" not in extensions:
        problem = _NO_SMTPUTF8
    if problem is not None:
        return dict.fromkeys(envelope.recipients, problem)
    problems = {address: _address_problem(extensions, address) for address in envelope.recipients}
    return {address: reply for address, reply in problems.items() if reply is not None}


_NO_SMTPUTF8 = Reply(550, "The server does not offer SMTPUTF8, which this address needs.", "5.6.7")


def _content_problem(extensions: Mapping[str, str], content: bytes) -> Reply | None:
    limit = extensions.get("size", "").partition(" ")[0]
    if limit.isdecimal() and 0 < int(limit[:20]) < len(content):
        text = f"The message has {len(content)} octets; the server takes at most {int(limit[:20])}."
        return Reply(552, text, "5.3.4")
    if not content.endswith(b"\r\n") or not content.count(b"\r\n") == content.count(b"\n") == content.count(b"\r"):
        return Reply(554, "The content has a line that does not end in CRLF.", "5.6.0")
    return None


def _address_problem(extensions: Mapping[str, str], address: str) -> Reply | None:
    if _PATH.fullmatch(address) is None:
        return Reply(553, "The address cannot be written in an SMTP command.", "5.1.3")
    return None if address.isascii() or "smtputf8" in extensions else _NO_SMTPUTF8
