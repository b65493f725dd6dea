"""Content by BDAT (RFC 3030): octets counted, not stuffed, and no reply to be waited for before they go."""

from dataclasses import replace

from app.mail.reply import Reply
from app.smtp.connection import Connection
from app.smtp.content import Chunks, each
from app.smtp.exchange import WITHHELD, Exchange, read_envelope
from app.smtp.failure import Phase, SmtpFailure
from app.smtp.large import LargeChunks


async def send_at_once(exchange: Exchange) -> None:
    """MAIL, RCPT and the content in one write, behind a transaction whose replies are still to come. Recipients that it
    leaves without a reply may be sent the mail by DATA.

    `may_finish` is asked for all recipients before anything is written: from then on the server may have the mail for
    each of them that it has not refused. Raises SmtpFailure.
    """
    connection, turn = exchange.connection, exchange.turn
    if not await exchange.may_finish(exchange.due):
        raise SmtpFailure(WITHHELD)
    payload = (await exchange.content.chunks().begin()).last
    connection.send(Phase.MAIL, turn, [*exchange.commands(), _bdat(payload, last=True)], payload)
    turn.pass_on()
    connection.invite()
    await turn.wait()
    refusals: dict[str, Reply] = {}
    try:
        accepted = await read_envelope(exchange, refusals)
        reply = await connection.reply(Phase.DOT, exchange.timeouts.dot)
        _take_verdict(exchange, accepted, reply, refusals)
    except SmtpFailure as error:
        exchange.conclude(refusals, error)
        if error.failure.reply is not None:
            raise
        connection.rides_badly = True
        raise SmtpFailure(replace(error.failure, phase=Phase.DOT)) from error
    exchange.replies.update(refusals)


async def send_in_chunks(exchange: Exchange) -> None:
    """MAIL, RCPT and one octet in one write; once the server has taken that, the rest, in as many chunks as it takes.
    The octet shows that the server knows BDAT before it gets lines that it might take for commands; Postfix takes no
    empty chunk. Recipients that it leaves without a reply may be sent the mail by DATA. Raises SmtpFailure."""
    chunks = await exchange.content.chunks().begin()
    accepted = await _introduce(exchange, chunks.take(1))
    if not accepted:
        return
    try:
        reply = await _content(exchange, accepted, chunks)
    except SmtpFailure as error:
        if error.failure.reply is None or error.failure.reply.code == 421:
            raise
        reply = error.failure.reply
    exchange.replies.update(dict.fromkeys(accepted, reply))


async def _introduce(exchange: Exchange, octet: bytes) -> list[str]:
    """Those of the recipients for whom the server takes content; the others have their reply."""
    connection = exchange.connection
    connection.send(Phase.MAIL, exchange.turn, [*exchange.commands(), _bdat(octet, last=False)], octet)
    await exchange.turn.wait()
    refusals: dict[str, Reply] = {}
    try:
        accepted = await read_envelope(exchange, refusals)
        reply = await connection.reply(Phase.DATA, exchange.timeouts.data)
        if connection.unread:
            raise connection.protocol_failure(reply, Phase.DATA)
        if not exchange.is_positive(reply, 2, Phase.DATA):
            _refuse(connection, accepted, reply, refusals)
            accepted = []
    except SmtpFailure as error:
        exchange.conclude(refusals, error)
        raise
    exchange.replies.update(refusals)
    return accepted


async def _content(exchange: Exchange, accepted: list[str], chunks: Chunks | LargeChunks) -> Reply:
    """All chunks, and the reply that is the verdict; until the last one is begun, the server cannot have taken the
    mail. A refusal amid the content is as good as one after it, though the connection is closed then."""
    connection, timeouts, turn = exchange.connection, exchange.timeouts, exchange.turn
    framed = (_bdat(chunk, last=False) + b"\r\n" + chunk async for chunk in each(chunks))
    owed = await connection.upload(framed, timeouts.content, replies=True)
    if not await exchange.may_finish(accepted):
        connection.close()
        raise SmtpFailure(WITHHELD)
    connection.finish_chunks(turn, _bdat(chunks.last, last=True) + b"\r\n" + chunks.last)
    connection.invite()
    try:
        verdicts = [await connection.reply(Phase.DOT, timeouts.dot) for _ in range(owed + 1)]
        refusals = [reply for reply in verdicts if not exchange.is_positive(reply, 2, Phase.DOT)]
        if refusals and verdicts[-1] not in refusals:
            raise connection.protocol_failure(verdicts[-1], Phase.DOT)
    except SmtpFailure as error:
        connection.rides_badly = error.failure.in_doubt and turn.is_followed()
        raise
    connection.in_transaction = bool(refusals)
    connection.messages_sent += 1
    return refusals[0] if refusals else verdicts[-1]


def _take_verdict(exchange: Exchange, accepted: list[str], reply: Reply, refusals: dict[str, Reply]) -> None:
    """Raises SmtpFailure for one that makes no sense: content taken for nobody, or more replies than commands."""
    connection = exchange.connection
    is_taken = exchange.is_positive(reply, 2, Phase.DOT)
    if connection.unread or (is_taken and not accepted):
        raise connection.protocol_failure(reply, Phase.DOT)
    connection.in_transaction = connection.in_transaction and not is_taken
    connection.messages_sent += 1
    if is_taken:
        refusals.update(dict.fromkeys(accepted, reply))
    else:
        _refuse(connection, accepted, reply, refusals)


def _refuse(connection: Connection, accepted: list[str], reply: Reply, refusals: dict[str, Reply]) -> None:
    """The reply is the verdict of the accepted ones, unless it is about BDAT and not about the mail: then they have
    none, and the content may go by DATA."""
    if accepted and reply.code in _NOT_KNOWN:
        connection.chunks_badly = True
        connection.disbelieve("chunking")
    else:
        refusals.update(dict.fromkeys(accepted, reply))


_NOT_KNOWN = frozenset({500, 501, 502, 503, 504})


def _bdat(chunk: bytes, *, last: bool) -> bytes:
    return b"BDAT %d LAST" % len(chunk) if last else b"BDAT %d" % len(chunk)
