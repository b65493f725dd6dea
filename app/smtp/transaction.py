"""MAIL, RCPT, DATA, content, final dot: one Reply per recipient (RFC 5321 section 3.3)."""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from app.mail.content import Content
from app.mail.envelope import Envelope
from app.mail.reply import Reply, Severity
from app.smtp.connection import Connection
from app.smtp.failure import Cause, Failure, Phase, SmtpFailure
from app.smtp.large import LargeChunks
from app.smtp.server import Timeouts

_CHUNK = 64 * 1024
_PATH = re.compile(
    r'(?:"(?:[^"\\\x00-\x1f\x7f\ud800-\udfff]|\\[^\x00-\x1f\x7f\ud800-\udfff])*"|[^\s<>"\x00-\x1f\x7f\ud800-\udfff])*'
)


MayFinish = Callable[[Collection[str]], Awaitable[bool]]


async def _always(_: Collection[str]) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class TransactionResult:
    """What became of each recipient. One with a reply has its verdict: the reply to its RCPT, to MAIL or DATA, to
    the final dot, or our own where the server's extensions rule it out. `failure` is that of all the others; with
    `try_again` the server took nothing for them, and a new connection may do better at once."""

    replies: Mapping[str, Reply]
    failure: Failure | None = None
    try_again: bool = False


async def transact(
    connection: Connection,
    envelope: Envelope,
    content: bytes | Content,
    timeouts: Timeouts,
    may_finish: MayFinish = _always,
) -> TransactionResult:
    """Send `content` (CRLF line ends) to the recipients of `envelope`; each phase has its seconds in `timeouts`.

    `may_finish` is asked right before the last chunk and the final dot, with the addresses that the server accepted;
    after a no neither is sent, the connection is closed, and the failure is WITHHELD: nobody got the mail.
    MAIL, RCPT and DATA go out in one write where PIPELINING (RFC 2920) is offered. Raises nothing but cancellation,
    which closes the connection. 421 in any phase is a failure that carries that reply. After a refusal
    `connection.in_transaction` may be true: RSET is needed before the next MAIL.
    """
    connection.dot_sent = False
    well_formed = await _is_well_formed(content)
    while True:
        replies = _ruled_out(connection.extensions, envelope, len(content), well_formed)
        due = [address for address in dict.fromkeys(envelope.recipients) if address not in replies]
        try:
            accepted = await _introduce(connection, envelope, due, content, timeouts, replies) if due else []
            if accepted:
                reply = await _content(connection, content, timeouts, partial(may_finish, accepted))
                replies.update(dict.fromkeys(accepted, reply))
        except SmtpFailure as error:
            if all(address in replies for address in due):
                return TransactionResult(replies)
            return TransactionResult(replies, error.failure, _may_try_again(connection, error.failure))
        if accepted or not _can_do_without(connection, envelope, {address: replies[address] for address in due}):
            return TransactionResult(replies)


def _can_do_without(connection: Connection, envelope: Envelope, refusals: Mapping[str, Reply]) -> bool:
    """Whether MAIL was refused for its parameters, which the server offers, and so is worth saying without them: first
    without those that can be spared, then for the recipients who need no SMTPUTF8."""
    codes = {reply.code for reply in refusals.values()}
    if connection.in_transaction or not codes or not codes <= _PARAMETERS_REFUSED:
        return False
    refused = connection.extensions.keys() & {"size", "8bitmime"}
    if not refused and _needs_smtputf8(envelope, refusals):
        refused = connection.extensions.keys() & {"smtputf8"}
    connection.disbelieve(*refused)
    return bool(refused)


_PARAMETERS_REFUSED = frozenset({504, 555})


def _needs_smtputf8(envelope: Envelope, due: Iterable[str]) -> bool:
    return envelope.smtputf8 or not all(address.isascii() for address in (envelope.reverse_path, *due))


def _may_try_again(connection: Connection, failure: Failure) -> bool:
    """421, pipelining that does not work, or a warm connection that the server had closed: the mail was not taken."""
    if failure.reply is not None:
        return failure.reply.code == 421
    closed_while_idle = failure.phase is Phase.MAIL and failure.cause is Cause.DISCONNECTED and connection.messages_sent
    return connection.out_of_step or bool(closed_while_idle)


async def _introduce(
    connection: Connection,
    envelope: Envelope,
    due: list[str],
    content: bytes | Content,
    timeouts: Timeouts,
    replies: dict[str, Reply],
) -> list[str]:
    """Say MAIL, RCPT, DATA. Those of the `due` recipients for whom the server now waits for content, if any; the
    refused ones get their entry in `replies`."""
    mail = [b"MAIL FROM:<" + envelope.reverse_path.encode() + b">"]
    mail += _mail_parameters(connection.extensions, content, _needs_smtputf8(envelope, due))
    say = _pipelined if connection.pipelining else _in_turn
    return await say(connection, b" ".join(mail), {address: _rcpt(address) for address in due}, timeouts, replies)


def _rcpt(address: str) -> bytes:
    return b"RCPT TO:<" + address.encode() + b">"


async def _in_turn(
    connection: Connection, mail: bytes, rcpts: Mapping[str, bytes], timeouts: Timeouts, replies: dict[str, Reply]
) -> list[str]:
    """Each command once the one before it has its reply."""
    reply = await connection.command(Phase.MAIL, timeouts.mail, mail)
    if not _is(reply, 2, connection, Phase.MAIL):
        replies.update(dict.fromkeys(rcpts, reply))
        return []
    connection.in_transaction = True
    accepted = []
    for address, rcpt in rcpts.items():
        reply = await connection.command(Phase.RCPT, timeouts.rcpt, rcpt)
        if _is(reply, 2, connection, Phase.RCPT):
            accepted.append(address)
        else:
            replies[address] = reply
    if not accepted:
        return []
    reply = await connection.command(Phase.DATA, timeouts.data, b"DATA")
    if _is(reply, 3, connection, Phase.DATA):
        return accepted
    replies.update(dict.fromkeys(accepted, reply))
    return []


async def _pipelined(
    connection: Connection, mail: bytes, rcpts: Mapping[str, bytes], timeouts: Timeouts, replies: dict[str, Reply]
) -> list[str]:
    """All commands in one write, DATA last (RFC 2920 section 3.1); then the replies, in the same order.

    A server that answers out of step has refused nobody: whose reply it was is not known then. One that says
    nothing, or hangs up, may be one that cannot pipeline after all.
    """
    refusals: dict[str, Reply] = {}
    try:
        await connection.send(Phase.MAIL, mail, *rcpts.values(), b"DATA")
        accepted = await _read_replies(connection, list(rcpts), timeouts, refusals)
    except SmtpFailure as error:
        closed_while_idle = error.failure.phase is Phase.MAIL and connection.messages_sent
        connection.out_of_step = error.failure.reply is None and not closed_while_idle
        if error.failure.cause is not Cause.PROTOCOL:
            replies.update(refusals)
        raise
    replies.update(refusals)
    return accepted


async def _read_replies(
    connection: Connection, due: list[str], timeouts: Timeouts, refusals: dict[str, Reply]
) -> list[str]:
    """Out of step is also who accepts RCPT though it refused MAIL, or calls RCPT and DATA bad sequence (503) after it
    accepted what comes before them."""
    reply = await connection.reply(Phase.MAIL, timeouts.mail)
    connection.in_transaction = begun = _is(reply, 2, connection, Phase.MAIL)
    if not begun:
        refusals.update(dict.fromkeys(due, reply))
    accepted = []
    for address in due:
        reply = await connection.reply(Phase.RCPT, timeouts.rcpt)
        positive = _is(reply, 2, connection, Phase.RCPT)
        if positive is not begun and (positive or reply.code == _BAD_SEQUENCE):
            raise connection.protocol_failure(reply, Phase.RCPT)
        if positive:
            accepted.append(address)
        else:
            refusals.setdefault(address, reply)
    reply = await connection.reply(Phase.DATA, timeouts.data)
    if connection.unread or (accepted and reply.code == _BAD_SEQUENCE):
        raise connection.protocol_failure(reply, Phase.DATA)
    if not _is(reply, 3, connection, Phase.DATA):
        refusals.update(dict.fromkeys(accepted, reply))
        return []
    if not accepted:
        await _end_without_content(connection, timeouts)
    return accepted


_BAD_SEQUENCE = 503


async def _end_without_content(connection: Connection, timeouts: Timeouts) -> None:
    """A lone dot, for a server that wants content for nobody; what it says to that concerns nobody either."""
    with contextlib.suppress(SmtpFailure):
        await connection.finish(b".\r\n", timeouts.data)
        connection.in_transaction = connection.dot_sent = False


async def _content(
    connection: Connection, content: bytes | Content, timeouts: Timeouts, may_finish: Callable[[], Awaitable[bool]]
) -> Reply:
    """Send the content and the final dot; until the last chunk is begun, the server cannot have taken the mail.

    A refusal amid the content is as good as one after it, though the connection is closed then.
    """
    try:
        last = await _all_but_the_last(connection, content, timeouts.content)
        if not await may_finish():
            connection.close()
            raise SmtpFailure(_WITHHELD)
        reply = await connection.finish(last + b".\r\n", timeouts.dot)
    except SmtpFailure as error:
        if error.failure.reply is None or error.failure.reply.code == 421:
            raise
        return error.failure.reply
    connection.in_transaction = False
    connection.messages_sent += 1
    _is(reply, 2, connection, Phase.DOT)
    return reply


async def _all_but_the_last(connection: Connection, content: bytes | Content, seconds: float) -> bytes:
    """Send all chunks but the last one, which is returned."""
    if not isinstance(content, bytes):
        large = LargeChunks(content)
        await connection.upload(large, seconds)
        return large.last
    *chunks, last = _chunks(content)
    await connection.upload((_stuffed(content, *chunk) for chunk in chunks), seconds)
    return _stuffed(content, *last)


_WITHHELD = Failure(Phase.CONTENT, Cause.WITHHELD, "The end of the mail was withheld, so the server did not take it.")


def _chunks(content: bytes) -> Iterator[tuple[int, int]]:
    """Where each chunk begins and ends; none ends between CR and LF."""
    start = 0
    while start < len(content):
        end = min(start + _CHUNK, len(content))
        end += content[end - 1 : end + 1] == b"\r\n"
        yield start, end
        start = end


def _stuffed(content: bytes, start: int, end: int) -> bytes:
    """Transparency (RFC 5321 section 4.5.2): a dot that begins a line is doubled."""
    stuffed = content[start:end].replace(b"\r\n.", b"\r\n..")
    begins_line = content[max(start - 1, 0) : start] in (b"", b"\n")
    return b"." + stuffed if begins_line and stuffed.startswith(b".") else stuffed


def _is(reply: Reply, digit: int, connection: Connection, phase: Phase) -> bool:
    """Whether the reply begins with `digit`. Raises SmtpFailure for a positive one that does not."""
    if reply.severity is not Severity.POSITIVE:
        return False
    if reply.code // 100 != digit:
        raise connection.protocol_failure(reply, phase)
    return True


def _mail_parameters(extensions: Mapping[str, str], content: bytes | Content, smtputf8: bool) -> list[bytes]:
    parameters = []
    if "size" in extensions:
        parameters.append(f"SIZE={len(content)}".encode())
    if "8bitmime" in extensions and not content.isascii():
        parameters.append(b"BODY=8BITMIME")
    if smtputf8:
        parameters.append(b"SMTPUTF8")
    return parameters


async def _is_well_formed(content: bytes | Content) -> bool:
    """Whether every line ends in CRLF; content of several chunks is looked through in a thread."""
    if not isinstance(content, bytes):
        return True
    if len(content) <= _CHUNK:
        return _has_crlf_only(content)
    return await asyncio.to_thread(_has_crlf_only, content)


def _has_crlf_only(content: bytes) -> bool:
    return content.endswith(b"\r\n") and all(
        content.count(b"\r\n", *chunk) == content.count(b"\n", *chunk) == content.count(b"\r", *chunk)
        for chunk in _chunks(content)
    )


def _ruled_out(extensions: Mapping[str, str], envelope: Envelope, size: int, well_formed: bool) -> dict[str, Reply]:
    """Our own replies, for recipients of whom nothing must go over the wire."""
    problem = _content_problem(extensions, size, well_formed) or _address_problem(extensions, envelope.reverse_path)
    if problem is None and envelope.smtputf8 and "smtputf8" not in extensions:
        problem = _NO_SMTPUTF8
    if problem is not None:
        return dict.fromkeys(envelope.recipients, problem)
    problems = {address: _address_problem(extensions, address) for address in envelope.recipients}
    return {address: reply for address, reply in problems.items() if reply is not None}


_NO_SMTPUTF8 = Reply(550, "The server does not offer SMTPUTF8, which this address needs.", "5.6.7")


def _content_problem(extensions: Mapping[str, str], size: int, well_formed: bool) -> Reply | None:
    limit = extensions.get("size", "").partition(" ")[0]
    if limit.isdecimal() and 0 < int(limit[:20]) < size:
        text = f"The message has {size} octets; the server takes at most {int(limit[:20])}."
        return Reply(552, text, "5.3.4")
    if not well_formed:
        return Reply(554, "The content has a line that does not end in CRLF.", "5.6.0")
    return None


def _address_problem(extensions: Mapping[str, str], address: str) -> Reply | None:
    if _PATH.fullmatch(address) is None:
        return Reply(553, "The address cannot be written in an SMTP command.", "5.1.3")
    return None if address.isascii() or "smtputf8" in extensions else _NO_SMTPUTF8
