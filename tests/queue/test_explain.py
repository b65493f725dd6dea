"""Why a mail waits, and until when."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.queue.explain import Cause, Other, Waiting, Way, explain
from app.queue.states import CLAIMABLE, SETTLED, RecipientState
from app.services.usage import LimitName, Usage

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PER_SECOND, PER_MINUTE, PER_HOUR, PER_DAY = LimitName
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
DUE = Waiting(RecipientState.QUEUED, NOW - MINUTE)
LATER = NOW + 10 * MINUTE
CLEAR = Way()

ALONE: dict[str, tuple[Waiting, datetime | None, Way, Cause, str, datetime | None]] = {
    "its time has not come": (
        Waiting(RecipientState.QUEUED, LATER), LATER, CLEAR,
        Cause.SCHEDULED, "It is scheduled for 2026-11-22T12:10:00+00:00.", LATER,
    ),
    "it is held": (Waiting(RecipientState.HELD, None), None, CLEAR, Cause.HELD, "It is held until releaseEmail.", None),
    "the service is not active": (
        DUE, None, Way(is_active=False), Cause.SERVICE_INACTIVE, "The service is not active.", None,
    ),
    "an operator paused the service": (
        DUE, None, Way(paused_at=NOW - HOUR, paused_reason="Moving house"),
        Cause.SERVICE_PAUSED, "The service has been paused since 2026-11-22T11:00:00+00:00: Moving house", None,
    ),
    "the circuit is open": (
        DUE, None, Way(fault="Connection refused by mx.example:25.", probe_at=NOW + MINUTE),
        Cause.CIRCUIT_OPEN,
        (
            "The server cannot be talked to: Connection refused by mx.example:25."
            " It is tried again at 2026-11-22T12:01:00+00:00."
        ),
        NOW + MINUTE,
    ),
    "another mail proves the credentials": (
        DUE, None, Way(probe_at=NOW + MINUTE),
        Cause.CIRCUIT_OPEN, "Another mail proves the service's credentials first.", NOW + MINUTE,
    ),
    "its worker was lost": (
        Waiting(RecipientState.CLAIMED, NOW - HOUR), None, Way(lease_until=NOW),
        Cause.IN_TURN, "It is due, and the next one to be sent.", NOW,
    ),
    "its worker was lost, and no other is there": (
        Waiting(RecipientState.CLAIMED, NOW - HOUR), None, Way(lease_until=NOW, has_worker=False),
        Cause.NO_WORKER, "No worker is running.", None,
    ),
    "no worker is running": (DUE, None, Way(has_worker=False), Cause.NO_WORKER, "No worker is running.", None),
    "the daily quota is used up": (
        DUE, None, Way(usages=(Usage(PER_DAY, 500, 500, LATER),)),
        Cause.DAILY_QUOTA, "The limit of 500 recipients per day is reached.", LATER,
    ),
    "the minute is used up": (
        DUE, None, Way(usages=(Usage(PER_MINUTE, 10, 10, NOW + MINUTE),)),
        Cause.RATE_LIMIT, "The limit of 10 recipients per minute is reached.", NOW + MINUTE,
    ),
    "the second is used up": (
        DUE, None, Way(usages=(Usage(PER_SECOND, 1, 0.2, NOW + timedelta(seconds=5)),)),
        Cause.RATE_LIMIT, "The limit of 0.2 messages per second is reached.", NOW + timedelta(seconds=5),
    ),
    "the server said later": (
        Waiting(RecipientState.DEFERRED, LATER, 2, "450 4.2.1 Try later"), None, CLEAR,
        Cause.BACKOFF, "It waits after 2 attempts: 450 4.2.1 Try later", LATER,
    ),
    "others go first": (DUE, None, Way(ahead=3), Cause.IN_TURN, "It is due; 3 messages of the service go first.", NOW),
    "nothing at all": (DUE, None, CLEAR, Cause.IN_TURN, "It is due, and the next one to be sent.", NOW),
    "it is being sent": (
        Waiting(RecipientState.CLAIMED, NOW), None, Way(lease_until=LATER),
        Cause.SENDING, "A worker is sending it right now.", NOW,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ALONE.values(), ids=ALONE.keys())
def test_one_thing_keeps_it_back(
    case: tuple[Waiting, datetime | None, Way, Cause, str, datetime | None],
) -> None:
    recipient, scheduled_at, way, cause, message, until = case
    explanation = explain([recipient], scheduled_at, way, NOW)

    [reason] = explanation.reasons
    assert (reason.cause, reason.message, reason.until) == (cause, message, until)
    assert explanation.eta == until


def test_everything_at_once_is_told_in_the_order_in_which_it_has_to_get_past() -> None:
    way = Way(
        is_active=False,
        paused_at=NOW,
        paused_reason="Moving house",
        fault="Host not found: mx.example.",
        probe_at=NOW + MINUTE,
        has_worker=False,
        usages=(
            Usage(PER_MINUTE, 10, 10, NOW + MINUTE),
            Usage(PER_DAY, 500, 500, LATER),
            Usage(PER_HOUR, 2, 50, None),
        ),
    )
    recipients = [
        Waiting(RecipientState.QUEUED, LATER),
        Waiting(RecipientState.HELD, None),
        Waiting(RecipientState.DEFERRED, LATER, 1, "451 Later"),
        Waiting(RecipientState.SENT, None),
    ]
    explanation = explain(recipients, LATER, way, NOW)

    assert [reason.cause for reason in explanation.reasons] == [
        Cause.SCHEDULED,
        Cause.HELD,
        Cause.SERVICE_INACTIVE,
        Cause.SERVICE_PAUSED,
        Cause.CIRCUIT_OPEN,
        Cause.NO_WORKER,
        Cause.DAILY_QUOTA,
        Cause.RATE_LIMIT,
        Cause.BACKOFF,
    ]
    assert explanation.reasons[1].message == "1 of 3 recipients are held until releaseEmail."
    assert explanation.eta is None


def test_it_leaves_when_the_last_of_what_keeps_it_back_has_ended() -> None:
    way = Way(fault="Down.", probe_at=NOW + MINUTE, usages=(Usage(PER_DAY, 500, 500, NOW + HOUR),))
    assert explain([DUE], NOW - HOUR, way, NOW).eta == NOW + HOUR
    assert explain([replace(DUE, due_at=NOW + DAY)], NOW + DAY, way, NOW).eta == NOW + DAY


def test_mail_that_expires_before_says_so() -> None:
    way = Way(usages=(Usage(PER_DAY, 500, 500, LATER),))
    explanation = explain([DUE], None, way, NOW, expires_at=LATER)

    assert [reason.cause for reason in explanation.reasons] == [Cause.DAILY_QUOTA, Cause.EXPIRY]
    assert explanation.reasons[1].message == "It expires before that, at 2026-11-22T12:10:00+00:00."
    assert explanation.eta is None
    assert explain([DUE], None, way, NOW, expires_at=LATER + MINUTE).eta == LATER


def test_what_becomes_of_the_other_services_is_told_where_one_is_down() -> None:
    down = Way(fault="Connection refused.", probe_at=LATER)
    others = (Other("b", is_own=False, fault="554 go away."), Other("c", is_own=False, is_shut=True))
    told = explain([DUE], None, replace(down, others=others), NOW)
    assert [(reason.cause, reason.message) for reason in told.reasons[1:]] == [
        (Cause.FALLBACK, "It does not leave by the fallback b: its server cannot be talked to: 554 go away."),
        (Cause.FALLBACK, "It does not leave by the fallback c: that is paused, or not active."),
    ]
    assert told.eta == LATER
    assert explain([DUE], None, Way(others=others), NOW).reasons == explain([DUE], None, Way(), NOW).reasons

    elsewhere = explain([DUE], None, Way(others=(Other("a", is_own=True, fault="Connection refused."),)), NOW)
    assert [reason.cause for reason in elsewhere.reasons] == [Cause.FALLBACK, Cause.IN_TURN]
    assert elsewhere.reasons[0].message.startswith("It leaves by a fallback, not by its own service a: its server")
    assert elsewhere.eta == NOW


def test_a_proof_that_is_due_keeps_nothing_back() -> None:
    assert explain([DUE], None, Way(probe_at=NOW), NOW).eta == NOW


def test_held_recipients_do_not_keep_the_others_back() -> None:
    assert explain([Waiting(RecipientState.HELD, None), DUE], None, CLEAR, NOW).eta == NOW


@pytest.mark.parametrize(
    ("ahead", "used", "free_at", "eta"),
    [
        (0, 10, LATER, LATER),
        (9, 10, LATER, LATER),
        (10, 10, LATER, LATER + HOUR),
        (25, 10, LATER, LATER + 2 * HOUR),
        (3, 6, None, NOW),
        (4, 6, None, NOW + HOUR),
        (14, 6, None, NOW + 2 * HOUR),
    ],
)
def test_those_that_go_first_use_the_windows_up(ahead: int, used: int, free_at: datetime | None, eta: datetime) -> None:
    way = Way(usages=(Usage(PER_HOUR, used, 10, free_at),), ahead=ahead)
    assert explain([DUE], None, way, NOW).eta == eta


def test_those_that_go_first_take_their_turns() -> None:
    way = Way(usages=(Usage(PER_SECOND, 0, 0.5, None),), ahead=30)
    assert explain([DUE], None, way, NOW).eta == NOW + MINUTE


def test_as_many_as_were_counted_may_be_more() -> None:
    [reason] = explain([DUE], None, Way(ahead=50, counted=50), NOW).reasons
    assert reason.message == "It is due; 50 or more messages of the service go first."


moments = st.timedeltas(-DAY, DAY).map(lambda delta: NOW + delta)
waiting = st.builds(Waiting, st.sampled_from(RecipientState), moments, st.integers(0, 5), st.none() | st.just("450"))
usages = st.builds(
    Usage, st.sampled_from(LimitName), st.integers(0, 60), st.integers(1, 50).map(float), st.none() | moments
)
ways = st.builds(
    Way,
    is_active=st.booleans(),
    paused_at=st.none() | moments,
    paused_reason=st.just("Closed"),
    fault=st.none() | st.just("Down."),
    probe_at=st.none() | moments,
    lease_until=st.none() | moments,
    has_worker=st.booleans(),
    usages=st.lists(usages, max_size=4).map(tuple),
    ahead=st.integers(0, 1000),
)


@given(st.lists(waiting, min_size=1, max_size=4), st.none() | moments, ways)
def test_whatever_the_facts_are_the_answer_makes_sense(
    recipients: list[Waiting], scheduled_at: datetime | None, way: Way
) -> None:
    explanation = explain(recipients, scheduled_at, way, NOW)
    order = [list(Cause).index(reason.cause) for reason in explanation.reasons]
    states = {recipient.state for recipient in recipients}

    assert order == sorted(order)
    assert bool(explanation.reasons) is not (states <= SETTLED)
    if not states & (CLAIMABLE | {RecipientState.CLAIMED}):
        assert explanation.eta is None
    if explanation.eta is not None:
        assert explanation.eta >= NOW
        assert all(
            reason.until is None or reason.until <= explanation.eta
            for reason in explanation.reasons
            if reason.cause not in (Cause.BACKOFF, Cause.HELD)
        )
