"""What the replies and the failure of one transaction mean for each recipient."""

import dataclasses
from collections.abc import Callable
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from app.delivery.backoff import RetryPolicy
from app.delivery.outcome import fault_of, judge_attempt
from app.mail.reply import Reply
from app.queue.claim import Claim, ClaimedRecipient
from app.queue.doubt import OnDoubt
from app.queue.settle import Settlement
from app.queue.states import RecipientState
from app.services.circuit import Fault
from app.smtp.failure import SERVICE_PHASES, Cause, Failure, Phase
from app.smtp.transaction import TransactionResult
from tests.factories import NOW, after

POLICY = RetryPolicy((30, 120), 0, 3600)
SENT, FAILED, DEFERRED, EXPIRED = (
    RecipientState.SENT,
    RecipientState.FAILED,
    RecipientState.DEFERRED,
    RecipientState.EXPIRED,
)
OK, BUSY, NO = Reply(250, "taken"), Reply(450, "mailbox busy"), Reply(550, "no such user")
LOST = Failure(Phase.DOT, Cause.DISCONNECTED, "Connection lost.")
CLOSING = Failure(Phase.RCPT, Cause.REFUSED, "421 closing", Reply(421, "closing"))


def claim_of(*addresses: str, number: int = 1) -> Claim:
    recipients = tuple(ClaimedRecipient(UUID(int=i), address, number, NOW) for i, address in enumerate(addresses))
    return Claim(UUID(int=90), UUID(int=91), UUID(int=92), 1, "ada@example.com", False, recipients)


def judged(
    claim: Claim, result: TransactionResult, seconds: float = 0, *, awaited: bool = False, jitter: float = 0
) -> list[Settlement]:
    return judge_attempt(claim, result, after(seconds), POLICY, lambda: jitter, verdict_awaited=awaited)


@pytest.mark.parametrize(
    ("reply", "state"),
    [
        (Reply(250, ""), SENT),
        (Reply(251, ""), SENT),
        (Reply(421, ""), DEFERRED),
        (Reply(450, ""), DEFERRED),
        (Reply(550, ""), FAILED),
        (Reply(554, ""), FAILED),
        (Reply(999, ""), DEFERRED),
    ],
)
@pytest.mark.parametrize("awaited", [True, False])
def test_a_reply_decides_whoever_waits(reply: Reply, state: RecipientState, awaited: bool) -> None:
    (settlement,) = judged(claim_of("a@x"), TransactionResult({"a@x": reply}), awaited=awaited)

    assert (settlement.state, settlement.reply, settlement.phase, settlement.detail) == (state, reply, None, None)
    assert settlement.due_at == (after(30) if state is DEFERRED else None)


def test_each_recipient_has_its_own_reply_and_the_failure_is_for_the_rest() -> None:
    claim = claim_of("a@x", "b@x", "c@x", "d@x")
    settlements = judged(claim, TransactionResult({"a@x": OK, "b@x": BUSY, "c@x": NO}, LOST))

    assert [s.recipient_id for s in settlements] == [r.id for r in claim.recipients]
    assert [s.state for s in settlements] == [SENT, DEFERRED, FAILED, DEFERRED]
    assert [s.in_doubt for s in settlements] == [False, False, False, True]
    assert [s.phase for s in settlements] == [None, None, None, "dot"]


def test_in_doubt_fails_where_the_author_asked_for_it() -> None:
    claim = replace(claim_of("a@x", "b@x"), on_doubt=OnDoubt.FAIL)
    sent, failed = judged(claim, TransactionResult({"a@x": OK}, LOST))

    assert sent.state is SENT
    assert (failed.state, failed.due_at, failed.phase, failed.in_doubt) == (FAILED, None, "dot", True)
    assert failed.detail == "Uncertain: the server may or may not have taken the mail. Connection lost."


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.DOT])
def test_what_is_not_in_doubt_is_retried_whatever_the_author_asked_for(phase: Phase) -> None:
    claim = replace(claim_of("a@x"), on_doubt=OnDoubt.FAIL)
    for failure in (
        Failure(phase, Cause.DISCONNECTED, "Lost."),
        CLOSING,
        dataclasses.replace(CLOSING, phase=Phase.DOT),
    ):
        (settlement,) = judged(claim, TransactionResult({}, failure))
        assert (settlement.state, settlement.in_doubt) == (DEFERRED, False)


def test_a_failure_with_a_reply_keeps_the_reply() -> None:
    (settlement,) = judged(claim_of("a@x"), TransactionResult({}, CLOSING))

    assert (settlement.state, settlement.reply, settlement.phase) == (DEFERRED, CLOSING.reply, "rcpt")
    assert (settlement.detail, settlement.in_doubt) == ("421 closing", False)


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("reply", [None, Reply(421, "busy"), Reply(554, "go away")])
@pytest.mark.parametrize("awaited", [True, False])
def test_a_server_that_cannot_be_talked_to_fails_only_a_mail_whose_verdict_is_awaited(
    phase: Phase, reply: Reply | None, awaited: bool
) -> None:
    failure = Failure(phase, Cause.REFUSED, "Connection refused.", reply)
    (settlement,) = judged(claim_of("a@x"), TransactionResult({}, failure), awaited=awaited)

    asked_to_come_back = reply is not None and reply.code == 421
    of_service = phase in SERVICE_PHASES
    assert settlement.state is (FAILED if awaited and of_service and not asked_to_come_back else DEFERRED)
    assert settlement.untried == (of_service and settlement.state is DEFERRED)
    assert (settlement.due_at is None) == of_service
    assert (settlement.phase, settlement.detail) == (phase.value, "Connection refused.")


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("reply", [None, Reply(454, "busy, try again in 5 minutes"), Reply(535, "no")])
def test_a_server_that_cannot_be_talked_to_is_a_fault_of_the_service(phase: Phase, reply: Reply | None) -> None:
    fault = fault_of(TransactionResult({"a@x": OK}, Failure(phase, Cause.REFUSED, "No.", reply)), POLICY)

    asked = 300 if reply is not None and reply.code == 454 else 0
    expected = Fault("No.", reply, phase is Phase.AUTH, asked)
    assert fault == (expected if phase in SERVICE_PHASES else None)


def test_a_server_is_not_left_alone_for_longer_than_the_policy_allows() -> None:
    refused = Failure(Phase.GREETING, Cause.REFUSED, "421", Reply(421, "try again in 100 hours"))
    fault = fault_of(TransactionResult({}, refused), POLICY)
    assert fault is not None
    assert fault.asked == POLICY.max_asked_delay


def test_a_server_that_was_talked_to_is_no_fault() -> None:
    assert fault_of(TransactionResult({"a@x": BUSY}), POLICY) is None
    assert fault_of(TransactionResult({}, LOST), POLICY) is None


@pytest.mark.parametrize(("awaited", "state"), [(True, FAILED), (False, DEFERRED)])
def test_a_bug_of_ours_costs_an_attempt_and_is_no_fault_of_the_service(awaited: bool, state: RecipientState) -> None:
    result = TransactionResult({}, Failure(Phase.CONNECT, Cause.INTERNAL, "Internal error."))
    (settlement,) = judged(claim_of("a@x"), result, awaited=awaited)

    assert fault_of(result, POLICY) is None
    assert (settlement.state, settlement.untried) == (state, False)


def test_what_was_answered_before_the_fault_keeps_its_verdict() -> None:
    refused = Failure(Phase.CONNECT, Cause.CONNECTION_REFUSED, "Connection refused.")
    settlements = judged(claim_of("a@x", "b@x", "c@x"), TransactionResult({"a@x": OK, "b@x": BUSY}, refused))

    assert [s.state for s in settlements] == [SENT, DEFERRED, DEFERRED]
    assert [s.untried for s in settlements] == [False, False, True]


@pytest.mark.parametrize("result", [TransactionResult({"a@x": BUSY}), TransactionResult({}, LOST)])
def test_what_would_be_tried_after_the_end_is_given_up(result: TransactionResult) -> None:
    assert [s.state for s in judged(claim_of("a@x"), result, 3570)] == [DEFERRED]
    (settlement,) = judged(claim_of("a@x"), result, 3571)
    assert (settlement.state, settlement.due_at) == (EXPIRED, None)


def test_the_number_of_the_attempt_chooses_the_delay_of_each_recipient() -> None:
    (settlement,) = judged(claim_of("a@x", number=2), TransactionResult({"a@x": BUSY}))
    assert (settlement.number, settlement.due_at) == (2, after(120))


def test_the_jitter_is_drawn_for_each_recipient_that_is_deferred() -> None:
    draws = iter([0.5, -0.5])
    draw: Callable[[], float] = lambda: next(draws)  # noqa: E731
    result = TransactionResult({"a@x": BUSY, "b@x": OK, "c@x": BUSY})
    policy = RetryPolicy((100,), 0.2, 3600)
    settlements = judge_attempt(claim_of("a@x", "b@x", "c@x"), result, NOW, policy, draw, verdict_awaited=False)

    assert [s.due_at for s in settlements] == [after(110), None, after(90)]
    assert next(draws, None) is None


def test_a_result_that_says_nothing_of_a_recipient_is_a_bug() -> None:
    with pytest.raises(ValueError, match="a reply for every recipient, or a failure"):
        judged(claim_of("a@x"), TransactionResult({}))


@given(
    replies=st.dictionaries(st.sampled_from("abcd"), st.integers(100, 999)),
    failure=st.sampled_from([LOST, CLOSING, Failure(Phase.CONNECT, Cause.TIMED_OUT, "Connection timed out.")]),
    awaited=st.booleans(),
    age=st.floats(0, 10**5),
)
def test_every_recipient_is_settled_once_with_a_next_time_if_and_only_if_deferred(
    replies: dict[str, int], failure: Failure, awaited: bool, age: float
) -> None:
    result = TransactionResult({address: Reply(code, "said") for address, code in replies.items()}, failure)
    settlements = judged(claim_of(*"abcd"), result, age, awaited=awaited)

    assert [s.recipient_id for s in settlements] == [UUID(int=number) for number in range(4)]
    assert all((s.state is DEFERRED) == (s.due_at is not None or s.untried) for s in settlements)
    assert {
        s.state for s, address in zip(settlements, "abcd", strict=True) if replies.get(address) in range(200, 400)
    } <= {SENT}


def test_the_give_up_age_counts_from_the_first_attempt_not_from_the_acceptance() -> None:
    claim = claim_of("a@x")
    first = replace(claim, recipients=tuple(replace(r, tried_since=None) for r in claim.recipients))
    (settlement,) = judged(first, TransactionResult({"a@x": BUSY}), 10**7)

    assert (settlement.state, settlement.due_at) == (DEFERRED, after(10**7 + 30))


@pytest.mark.parametrize(("expires", "state"), [(30, EXPIRED), (30.001, DEFERRED), (None, DEFERRED)])
def test_what_would_be_tried_after_the_mail_expires_expires_now(expires: float | None, state: RecipientState) -> None:
    claim = replace(claim_of("a@x"), expires_at=None if expires is None else after(expires))
    (settlement,) = judged(claim, TransactionResult({"a@x": BUSY}))

    assert settlement.state is state


def test_the_server_is_left_alone_as_long_as_it_asks() -> None:
    result = TransactionResult({"a@x": Reply(450, "Greylisted, try again in 5 minutes")})
    (settlement,) = judged(claim_of("a@x"), result)
    assert settlement.due_at == after(300)
