"""Content by DATA (RFC 5321 section 3.3): dots stuffed, and ended with a dot."""

import asyncio
import contextlib

from app.mail.reply import Reply
from app.smtp.exchange import BAD_SEQUENCE, WITHHELD, Exchange, read_envelope
from app.smtp.failure import Phase, SmtpFailure

_MAIL, _DOT = Phase.MAIL, Phase.DOT  # the members of an Enum take several times as long to get


async def send_by_data(exchange: Exchange) -> None:
    """MAIL, RCPT and DATA, in one write where PIPELINING is offered, then the content and the final dot; until the last
    chunk is begun, the server cannot have taken the mail. Raises SmtpFailure.

    A refusal amid the content is as good as one after it, though the connection is closed then.
    """
    connection, turn, timeouts = exchange.connection, exchange.turn, exchange.timeouts
    accepted = await (_pipelined(exchange) if connection.pipelining else _in_turn(exchange))
    if not accepted:
        return
    try:
        last = exchange.content.stuffed_whole()
        if last is None:
            last = await _upload(exchange)
        if connection.invite():
            await asyncio.sleep(0)  # so that its envelope goes in the same write
        if not await exchange.may_finish(accepted):
            connection.close()
            raise SmtpFailure(WITHHELD)
        connection.finish(turn, last + b".\r\n")
        await connection.arrival(_DOT, timeouts.dot)
        reply = connection.take(_DOT)
    except SmtpFailure as error:
        connection.rides_badly = error.failure.in_doubt and turn.is_followed()
        if error.failure.reply is None or error.failure.reply.code == 421:
            raise
        reply = error.failure.reply
    else:
        connection.in_transaction = False
        connection.messages_sent += 1
        exchange.is_positive(reply, 2, _DOT)
    exchange.replies.update(dict.fromkeys(accepted, reply))


async def _in_turn(exchange: Exchange) -> list[str]:
    """Each command once the one before it has its reply. Those of the recipients for whom the server now waits for
    content, if any; the others have their reply."""
    connection, timeouts, replies = exchange.connection, exchange.timeouts, exchange.replies
    await exchange.turn.wait()
    mail, *rcpts = exchange.commands()
    reply = await connection.command(_MAIL, timeouts.mail, mail)
    if not exchange.is_positive(reply, 2, _MAIL):
        replies.update(dict.fromkeys(exchange.due, reply))
        return []
    connection.in_transaction = True
    accepted = exchange.accepted
    for address, rcpt in zip(exchange.due, rcpts, strict=True):
        reply = await connection.command(Phase.RCPT, timeouts.rcpt, rcpt)
        if exchange.is_positive(reply, 2, Phase.RCPT):
            accepted.append(address)
        else:
            replies[address] = reply
    if not accepted:
        return []
    reply = await connection.command(Phase.DATA, timeouts.data, b"DATA")
    if exchange.is_positive(reply, 3, Phase.DATA):
        return accepted
    replies.update(dict.fromkeys(accepted, reply))
    return []


async def _pipelined(exchange: Exchange) -> list[str]:
    """All commands in one write, DATA last (RFC 2920 section 3.1), behind the end of the transaction before; then the
    replies, in the same order. Returns as `_in_turn` does."""
    connection, turn, due = exchange.connection, exchange.turn, exchange.due
    connection.send(_MAIL, turn, [*exchange.commands(), b"DATA"])
    if turn.before is not None:
        await turn.wait()
    refusals: dict[str, Reply] = {}
    try:
        await connection.arrival(_MAIL, exchange.timeouts.mail)
        if not turn.has_reset and connection.take_acceptance(len(due) + 2):
            connection.in_transaction = True
            exchange.accepted = due
            return due
        accepted = await _read_replies(exchange, refusals)
    except SmtpFailure as error:
        exchange.conclude(refusals, error)
        raise
    exchange.replies.update(refusals)
    return accepted


async def _read_replies(exchange: Exchange, refusals: dict[str, Reply]) -> list[str]:
    """Out of step is also who calls DATA a bad sequence (503) after it accepted recipients."""
    connection = exchange.connection
    accepted = await read_envelope(exchange, refusals)
    reply = connection.at_hand() or await connection.reply(Phase.DATA, exchange.timeouts.data)
    if connection.unread or (accepted and reply.code == BAD_SEQUENCE):
        raise connection.protocol_failure(reply, Phase.DATA)
    if not exchange.is_positive(reply, 3, Phase.DATA):
        refusals.update(dict.fromkeys(accepted, reply))
        return []
    if not accepted:
        await _end_without_content(exchange)
    return accepted


async def _end_without_content(exchange: Exchange) -> None:
    """A lone dot, for a server that wants content for nobody; what it says to that concerns nobody either."""
    with contextlib.suppress(SmtpFailure):
        exchange.connection.finish(exchange.turn, b".\r\n")
        await exchange.connection.reply(_DOT, exchange.timeouts.data)
        exchange.connection.in_transaction = False


async def _upload(exchange: Exchange) -> bytes:
    """Send all chunks of the content but the last one, which is returned."""
    chunks = await exchange.content.stuffed().begin()
    await exchange.connection.upload(chunks, exchange.timeouts.content)
    return chunks.last
