"""MAIL, RCPT, content and its end: one Reply per recipient (RFC 5321 section 3.3)."""

from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import replace
from typing import Any

from msgspec import Struct

from app.mail.content import Content as StoredContent
from app.mail.envelope import Envelope
from app.mail.reply import Reply
from app.smtp.bdat import send_at_once, send_in_chunks
from app.smtp.commands import needs_smtputf8, ruled_out
from app.smtp.connection import Connection
from app.smtp.content import Content, look_at, look_through
from app.smtp.data import send_by_data
from app.smtp.exchange import Exchange, MayFinish
from app.smtp.failure import Cause, Failure, Phase, SmtpFailure
from app.smtp.server import Timeouts
from app.smtp.train import BROKEN_OFF, Turn, Unseated


async def _always(_: Collection[str]) -> bool:
    return True


class TransactionResult(Struct, frozen=True):
    """What became of each recipient. One with a reply has its verdict: the reply to its RCPT, to MAIL or DATA, to
    the end of the content, or our own where the server's extensions rule it out. `failure` is that of all the others;
    with `try_again` the server took nothing for them, and a new connection may do better at once. `is_bumped`: that is
    so because of the transaction before it on the connection."""

    replies: Mapping[str, Reply]
    failure: Failure | None = None
    try_again: bool = False
    is_bumped: bool = False


async def transact(
    connection: Connection,
    envelope: Envelope,
    content: bytes | StoredContent,
    timeouts: Timeouts,
    may_finish: MayFinish = _always,
) -> TransactionResult:
    """Send `content` (CRLF line ends) to the recipients of `envelope`; each phase has its seconds in `timeouts`.

    `may_finish` is asked right before the last of the content and its end, with the addresses that the server accepted,
    or may yet accept; after a no neither is sent, and the failure is WITHHELD: nobody got the mail. MAIL, RCPT and DATA
    go out in one write where PIPELINING (RFC 2920) is offered, the content by BDAT where CHUNKING is, too. May be
    called while another transaction on the connection waits for its last reply: this one is then right behind it.
    Raises nothing but cancellation, which closes the connection once the transactions before have their replies. 421 in
    any phase is a failure that carries that reply. After a refusal `connection.in_transaction` may be true: RSET is
    needed before the next MAIL.
    """
    verdicts: dict[str, Reply] = {}
    examined: Content | None = None
    while True:
        turn = connection.train.board()
        failure: Failure | None = BROKEN_OFF
        try:
            examined = examined or look_at(content) or await look_through(content)
            exchange = _exchange(connection, turn, envelope, examined, timeouts, may_finish, verdicts)
            if exchange.due:
                await _way_of(exchange)(exchange)
            failure = None
        except SmtpFailure as error:
            failure = error.failure
            return _broken(exchange, error)
        except BaseException:
            if turn.is_first():
                connection.close()
            raise
        finally:
            is_lost = failure is not None and not connection.client.is_connected
            turn.leave(failure if is_lost else None, in_transaction=connection.in_transaction)
        if exchange.is_settled() and (exchange.accepted or not _can_do_without(exchange)):
            return TransactionResult(exchange.replies)
        verdicts = {} if exchange.is_settled() else exchange.replies


def _exchange(
    connection: Connection,
    turn: Turn,
    envelope: Envelope,
    content: Content,
    timeouts: Timeouts,
    may_finish: MayFinish,
    verdicts: Mapping[str, Reply],
) -> Exchange:
    replies = ruled_out(connection.extensions, envelope, content)
    replies.update(verdicts)
    due = list(dict.fromkeys(envelope.recipients))
    if replies:
        due = [address for address in due if address not in replies]
    return Exchange(connection, turn, envelope, content, timeouts, may_finish, due, replies)


def _way_of(exchange: Exchange) -> Callable[[Exchange], Coroutine[Any, Any, None]]:
    """What notes the replies of those for whom it comes to a verdict, and raises SmtpFailure."""
    connection, turn = exchange.connection, exchange.turn
    if connection.chunks_badly and connection.in_transaction and turn.is_first():
        return _send_after_reset
    if not connection.chunking:
        return send_by_data
    if exchange.content.is_small() and turn.is_clear() and not turn.is_first():
        return send_at_once
    return send_in_chunks


async def _send_after_reset(exchange: Exchange) -> None:
    """After BDAT that was refused. Who does not know it takes its octets for the beginning of RSET."""
    try:
        await exchange.connection.reset()
    except SmtpFailure as error:
        raise SmtpFailure(Failure(Phase.MAIL, Cause.PROTOCOL, error.failure.message)) from error
    await _way_of(exchange)(exchange)


def _can_do_without(exchange: Exchange) -> bool:
    """Whether MAIL was refused for its parameters, which the server offers, and so is worth saying without them: first
    without those that can be spared, then for the recipients who need no SMTPUTF8."""
    connection, due = exchange.connection, exchange.due
    if connection.in_transaction:
        return False
    codes = {exchange.replies[address].code for address in due}
    if not codes or not codes <= _PARAMETERS_REFUSED:
        return False
    refused = connection.extensions.keys() & {"size", "8bitmime"}
    if not refused and needs_smtputf8(exchange.envelope, due):
        refused = connection.extensions.keys() & {"smtputf8"}
    connection.disbelieve(*refused)
    return bool(refused)


_PARAMETERS_REFUSED = frozenset({504, 555})


def _broken(exchange: Exchange, error: SmtpFailure) -> TransactionResult:
    """The result of a transaction that the failure ended."""
    replies, failure = exchange.replies, error.failure
    if exchange.is_settled():
        return TransactionResult(replies)
    if not isinstance(error, Unseated):
        return TransactionResult(replies, failure, _may_try_again(exchange.connection, failure))
    if exchange.turn.has_ended and not _is_421(failure):
        return TransactionResult(replies, replace(failure, phase=Phase.DOT, reply=None))
    failure = Failure(Phase.MAIL, Cause.DISCONNECTED, failure.message)
    return TransactionResult(replies, failure, try_again=True, is_bumped=True)


def _may_try_again(connection: Connection, failure: Failure) -> bool:
    """421, pipelining or chunking that does not work, or a warm connection that the server had closed: the mail was not
    taken."""
    if failure.reply is not None:
        return _is_421(failure)
    if failure.in_doubt or failure.cause is Cause.WITHHELD:
        return False
    closed_while_idle = failure.phase is Phase.MAIL and failure.cause is Cause.DISCONNECTED and connection.messages_sent
    return connection.out_of_step or connection.chunks_badly or bool(closed_while_idle)


def _is_421(failure: Failure) -> bool:
    return failure.reply is not None and failure.reply.code == 421
