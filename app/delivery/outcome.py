"""What an attempt's result means for each recipient. Pure."""

from collections.abc import Callable, Sequence
from datetime import datetime

from app.delivery.asked_delay import asked_delay
from app.delivery.backoff import RetryPolicy, next_attempt
from app.mail.reply import Reply, Severity
from app.queue.claim import Claim, ClaimedRecipient
from app.queue.doubt import OnDoubt, uncertain
from app.queue.settle import Settlement
from app.queue.states import RecipientState
from app.services.circuit import Fault
from app.smtp.failure import Failure, Phase
from app.smtp.transaction import TransactionResult

_DEFERRED = RecipientState.DEFERRED
_STATES = {
    Severity.POSITIVE: RecipientState.SENT,
    Severity.TRANSIENT: _DEFERRED,
    Severity.PERMANENT: RecipientState.FAILED,
}


def judge_attempt(
    claim: Claim,
    result: TransactionResult,
    moment: datetime,
    policy: RetryPolicy,
    draw_jitter: Callable[[], float],
    *,
    verdict_awaited: bool,
) -> list[Settlement]:
    """One settlement per claimed recipient.

    A reply of the server decides for its recipient: 2yz sent, 4yz deferred, 5yz failed. Where there is none, the
    failure decides for all: deferred, in doubt failed where the author asked for that. A server that could not be
    talked to at all costs no attempt; while a client awaits the verdict it fails the mail, unless the server said
    4yz itself (421 in its greeting, 454 to AUTH). A deferral past the policy's end, or past the mail's own, is expired.
    """

    settlements: list[Settlement] = []
    for recipient in claim.recipients:
        reply = result.replies.get(recipient.address)
        if reply is not None:
            state = _STATES[reply.severity]
            detail, phase, in_doubt = None, None, False
        else:
            failure = _failure(result)
            reply, detail, phase, in_doubt = failure.reply, failure.message, failure.phase.value, failure.in_doubt
            fails = verdict_awaited and failure.of_service and not _is_for_now(failure)
            if in_doubt and claim.on_doubt is OnDoubt.FAIL:
                fails, detail = True, uncertain(failure.message)
            if not fails and fault_of(result, policy) is not None:
                settlements.append(_untried(recipient, failure))
                continue
            state = RecipientState.FAILED if fails else _DEFERRED
        due_at = None
        if state is _DEFERRED:
            due_at = next_attempt(
                recipient.number,
                recipient.tried_since or moment,
                moment,
                policy,
                draw_jitter(),
                asked=asked_delay(reply) if reply else None,
                expires_at=claim.expires_at,
            )
            state = _DEFERRED if due_at else RecipientState.EXPIRED
        settlements.append(Settlement(recipient.id, recipient.number, state, due_at, reply, detail, phase, in_doubt))
    return settlements


def over_the_limit(result: TransactionResult, recipients: Sequence[ClaimedRecipient]) -> list[ClaimedRecipient]:
    """Those the server has no room for in one transaction (RFC 5321 section 4.5.3.1.10): they go in the next one,
    as long as each gets rid of some."""
    if len(recipients) == 1:
        return []
    said = [(recipient, result.replies.get(recipient.address)) for recipient in recipients]
    if not any(reply is not None and reply.severity is Severity.POSITIVE for _, reply in said):
        return []
    return [recipient for recipient, reply in said if reply is not None and _is_too_many(reply)]


def _is_too_many(reply: Reply) -> bool:
    return reply.code == 452 and reply.enhanced_code in (None, "4.5.3")


def fault_of(result: TransactionResult, policy: RetryPolicy) -> Fault | None:
    """The fault that opens the service's circuit; None when the server could be talked to, or the bug is ours."""
    failure = result.failure
    if failure is None or not failure.of_service or failure.is_internal:
        return None
    asked = asked_delay(failure.reply) if failure.reply else None
    of_auth = failure.phase is Phase.AUTH
    return Fault(failure.message, failure.reply, of_auth, min(asked or 0, policy.max_asked_delay))


def _untried(recipient: ClaimedRecipient, failure: Failure) -> Settlement:
    return Settlement(
        recipient.id,
        recipient.number,
        _DEFERRED,
        detail=failure.message,
        phase=failure.phase,
        untried=True,
    )


def _is_for_now(failure: Failure) -> bool:
    return failure.reply is not None and failure.reply.severity is Severity.TRANSIENT


def _failure(result: TransactionResult) -> Failure:
    if result.failure is None:
        raise ValueError("a transaction names a reply for every recipient, or a failure")
    return result.failure
