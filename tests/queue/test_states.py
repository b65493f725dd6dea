"""The transition table is closed, and every mix of recipients gives a message exactly one state."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.queue.states import CLAIMABLE, SETTLED, TRANSITIONS, MessageState, RecipientState, message_state

R, M = RecipientState, MessageState
MIXES = [set(mix) for size in range(1, len(R) + 1) for mix in combinations(R, size)]


def test_every_state_is_in_the_table_and_leads_only_to_states_of_the_table() -> None:
    assert set(TRANSITIONS) == set(R)
    assert {target for targets in TRANSITIONS.values() for target in targets} <= set(R)


def test_every_state_can_be_reached_from_queued_and_can_end() -> None:
    assert _reached({R.QUEUED}) == set(R)
    assert all(_reached({state}) & SETTLED for state in R)


def _reached(states: set[RecipientState]) -> set[RecipientState]:
    further = states | {target for state in states for target in TRANSITIONS[state]}
    return states if further == states else _reached(further)


def test_what_was_sent_or_cancelled_never_changes() -> None:
    assert not TRANSITIONS[R.SENT] | TRANSITIONS[R.CANCELLED]


def test_nothing_settled_can_be_claimed() -> None:
    assert frozenset({R.QUEUED, R.CLAIMED, R.DEFERRED}) == CLAIMABLE
    assert not CLAIMABLE & SETTLED


def test_every_mix_of_states_gives_a_message_a_state() -> None:
    assert {message_state(mix) for mix in MIXES} == set(M)


@given(st.lists(st.sampled_from(R), min_size=1, max_size=12))
def test_a_message_state_depends_only_on_which_states_are_there(recipients: list[RecipientState]) -> None:
    state = message_state(recipients)

    assert state is message_state(list(reversed(recipients))) is message_state(set(recipients))
    assert (state in {M.QUEUED, M.SENDING, M.DEFERRED, M.HELD}) == (not SETTLED.issuperset(recipients))
    assert (state in {M.SENT, M.PARTIALLY_SENT}) == (SETTLED.issuperset(recipients) and R.SENT in recipients)


def test_a_message_without_recipients_has_no_state() -> None:
    with pytest.raises(ValueError, match="at least one recipient"):
        message_state([])


@pytest.mark.parametrize(
    ("recipients", "state"),
    [
        ({R.CLAIMED, R.QUEUED, R.SENT}, M.SENDING),
        ({R.QUEUED, R.DEFERRED, R.FAILED}, M.QUEUED),
        ({R.DEFERRED, R.HELD, R.SENT}, M.DEFERRED),
        ({R.HELD, R.CANCELLED}, M.HELD),
        ({R.SENT}, M.SENT),
        ({R.SENT, R.EXPIRED}, M.PARTIALLY_SENT),
        ({R.FAILED, R.EXPIRED, R.CANCELLED}, M.FAILED),
        ({R.EXPIRED, R.CANCELLED}, M.EXPIRED),
        ({R.CANCELLED}, M.CANCELLED),
    ],
)
def test_the_most_alive_state_wins_then_what_was_sent_then_the_gravest(
    recipients: set[RecipientState], state: MessageState
) -> None:
    assert message_state(recipients) is state
