"""What one transaction says and hears, whichever way its content goes: MAIL, RCPT, and whom the server accepts."""

from collections.abc import Awaitable, Callable, Collection, Mapping

from msgspec import Struct, field

from app.mail.envelope import Envelope
from app.mail.reply import Reply, Severity
from app.smtp.commands import mail_command, rcpt_command
from app.smtp.connection import Connection
from app.smtp.content import Content
from app.smtp.failure import Cause, Failure, Phase, SmtpFailure
from app.smtp.server import Timeouts
from app.smtp.train import Turn

MayFinish = Callable[[Collection[str]], Awaitable[bool]]

WITHHELD = Failure(Phase.CONTENT, Cause.WITHHELD, "The end of the mail was withheld, so the server did not take it.")
BAD_SEQUENCE = 503


class Exchange(Struct, eq=False):
    """A transaction with the `due` recipients; `replies` gets those that are known, `accepted` who was accepted."""

    connection: Connection
    turn: Turn
    envelope: Envelope
    content: Content
    timeouts: Timeouts
    may_finish: MayFinish
    due: list[str]
    replies: dict[str, Reply]
    accepted: list[str] = field(default_factory=list)

    def is_settled(self) -> bool:
        """Whether all have their reply."""
        replies = self.replies
        for address in self.due:  # noqa: SIM110 - a generator would take each mail several times as long
            if address not in replies:
                return False
        return True

    def commands(self) -> list[bytes]:
        """MAIL and RCPT, without CRLF."""
        mail = mail_command(self.connection.extensions, self.envelope, self.due, self.content)
        return [mail, *map(rcpt_command, self.due)]

    def is_positive(self, reply: Reply, digit: int, phase: Phase) -> bool:
        """Whether the reply begins with `digit`. Raises SmtpFailure for a positive one that does not."""
        if reply.code // 100 == digit:
            return True
        if reply.severity is Severity.POSITIVE:
            raise self.connection.protocol_failure(reply, phase)
        return False

    def conclude(self, replies: Mapping[str, Reply], error: SmtpFailure) -> None:
        """Keep the refusals that came before commands in a group broke off. A server that answers out of step has
        refused nobody: whose reply it was is not known then. One that says nothing, or hangs up, may be one that
        cannot pipeline after all."""
        connection, failure = self.connection, error.failure
        closed_while_idle = failure.phase is Phase.MAIL and connection.messages_sent
        at_the_end = failure.phase is Phase.DOT and failure.cause is not Cause.PROTOCOL
        connection.out_of_step = failure.reply is None and not closed_while_idle and not at_the_end
        if failure.cause is not Cause.PROTOCOL:
            self.replies.update(replies)


async def read_envelope(exchange: Exchange, refusals: dict[str, Reply]) -> list[str]:
    """The replies to MAIL and RCPT that were sent at once: who is accepted; the others are in `refusals`.

    Out of step is also who accepts RCPT though it refused MAIL, or calls RCPT a bad sequence (503) after it accepted
    MAIL. Raises SmtpFailure.
    """
    connection, timeouts = exchange.connection, exchange.timeouts
    if exchange.turn.has_reset:
        reply = await connection.reply(Phase.MAIL, timeouts.mail)
        if not exchange.is_positive(reply, 2, Phase.MAIL):
            raise connection.protocol_failure(reply, Phase.MAIL)
    reply = connection.at_hand() or await connection.reply(Phase.MAIL, timeouts.mail)
    connection.in_transaction = begun = exchange.is_positive(reply, 2, Phase.MAIL)
    if not begun:
        refusals.update(dict.fromkeys(exchange.due, reply))
    accepted = exchange.accepted
    for address in exchange.due:
        reply = connection.at_hand() or await connection.reply(Phase.RCPT, timeouts.rcpt)
        positive = exchange.is_positive(reply, 2, Phase.RCPT)
        if positive is not begun and (positive or reply.code == BAD_SEQUENCE):
            raise connection.protocol_failure(reply, Phase.RCPT)
        if positive:
            accepted.append(address)
        else:
            refusals.setdefault(address, reply)
    return list(accepted)
