"""The policy, against a reference that was written from its description alone."""

from collections.abc import Iterable
from itertools import chain, combinations
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.policy import (
    ServiceScope,
    allows,
    require,
    require_for_all,
    require_intervene,
    sees_service,
    visible_services,
)
from app.access.principal import Action, GrantRule, Principal
from app.errors import ErrorCode, Forbidden

SERVICES = [UUID(int=number) for number in range(1, 5)]
STRANGER = UUID(int=99)


def principal(*grants: GrantRule) -> Principal:
    return Principal(UUID(int=1000), "mailer", UUID(int=1001), "laptop", grants)


def grant(service_id: UUID | None, *actions: Action) -> GrantRule:
    return GrantRule(service_id, frozenset(actions))


SOME = (Action.SEND, Action.READ_MESSAGES, Action.MANAGE_SERVICES)


def every_set_of_actions() -> Iterable[tuple[Action, ...]]:
    return chain.from_iterable(combinations(SOME, size) for size in range(len(SOME) + 1))


def reference(who: Principal, action: Action, service_id: UUID | None) -> bool:
    table = {rule.service_id: rule.actions for rule in who.grants}
    if service_id in table and action not in (Action.MANAGE_ACCESS, Action.MANAGE_TEMPLATES):
        return action in table[service_id]
    if None in table:
        return action in table[None]
    return False


MATRIX = [
    principal(*(grant(service_id, *actions) for service_id, actions in rows))
    for rows in chain(
        [()],
        (((None, everywhere),) for everywhere in every_set_of_actions()),
        (((SERVICES[0], here),) for here in every_set_of_actions()),
        (
            ((None, everywhere), (SERVICES[0], here), (SERVICES[1], there))
            for everywhere in every_set_of_actions()
            for here in every_set_of_actions()
            for there in [(Action.SEND,), (Action.READ_MESSAGES, Action.MANAGE_SERVICES)]
        ),
    )
]


def test_the_whole_matrix_agrees_with_the_reference() -> None:
    asked = [
        (allows(who, action, service_id), reference(who, action, service_id))
        for who in MATRIX
        for action in SOME
        for service_id in (None, *SERVICES, STRANGER)
    ]

    assert len(asked) == (1 + 8 + 8 + 128) * 3 * 6
    assert all(answer == expected for answer, expected in asked)
    assert {answer for answer, _ in asked} == {True, False}


principals = st.lists(
    st.builds(GrantRule, st.sampled_from([None, *SERVICES]), st.frozensets(st.sampled_from(Action))),
    unique_by=lambda rule: rule.service_id,
).map(lambda grants: principal(*grants))


@given(principals, st.sampled_from(Action), st.sampled_from([None, *SERVICES, STRANGER]))
def test_any_grants_in_any_order_agree_with_the_reference(
    who: Principal, action: Action, service_id: UUID | None
) -> None:
    assert allows(who, action, service_id) == reference(who, action, service_id)


@given(principals, st.sampled_from(Action), st.sampled_from([None, *SERVICES, STRANGER]))
def test_a_scope_holds_exactly_the_allowed_services(who: Principal, action: Action, service_id: UUID | None) -> None:
    assert visible_services(who, action).includes(service_id) == allows(who, action, service_id)
    both = (action, Action.SEND)
    assert visible_services(who, *both).includes(service_id) == any(allows(who, one, service_id) for one in both)


@given(principals, st.sampled_from(SERVICES))
def test_a_service_is_read_by_who_reads_or_manages_it(who: Principal, service_id: UUID) -> None:
    expected = reference(who, Action.READ_SERVICES, service_id) or reference(who, Action.MANAGE_SERVICES, service_id)
    assert sees_service(who, service_id) == expected


def test_nothing_is_allowed_without_a_grant() -> None:
    assert not any(allows(principal(), action, service_id) for action in Action for service_id in (None, STRANGER))


def test_a_grant_for_a_service_takes_away_what_the_grant_for_all_gives() -> None:
    who = principal(grant(None, *Action), grant(SERVICES[0], Action.READ_MESSAGES))

    assert not allows(who, Action.SEND, SERVICES[0])
    assert allows(who, Action.SEND, SERVICES[1])


def test_a_scope_is_only_these_or_all_but_these() -> None:
    only = principal(grant(SERVICES[0], Action.SEND), grant(SERVICES[1], Action.READ_MESSAGES))
    all_but = principal(grant(None, Action.SEND), grant(SERVICES[1], Action.READ_MESSAGES))

    assert visible_services(only, Action.SEND) == ServiceScope(all=False, service_ids=frozenset({SERVICES[0]}))
    assert visible_services(all_but, Action.SEND) == ServiceScope(all=True, service_ids=frozenset({SERVICES[1]}))


def test_a_refusal_names_the_role_and_the_action() -> None:
    with pytest.raises(
        Forbidden, match=r"^Access Forbidden\. The role 'mailer' is not granted SEND for this service\.$"
    ):
        require(principal(), Action.SEND, SERVICES[0])
    with pytest.raises(
        Forbidden, match=r"^Access Forbidden\. The role 'mailer' is not granted MANAGE_SERVICES for all services\.$"
    ):
        require_for_all(principal(grant(SERVICES[0], Action.MANAGE_SERVICES)), Action.MANAGE_SERVICES)


def test_a_refusal_does_not_tell_whether_the_service_exists() -> None:
    who = principal(grant(SERVICES[0], Action.SEND))
    refusals = []
    for service_id in (SERVICES[1], None):
        with pytest.raises(Forbidden) as refused:
            require(who, Action.SEND, service_id)
        refusals.append(refused.value.problems)

    assert refusals[0] == refusals[1]
    assert refusals[0][0].code is ErrorCode.FORBIDDEN


def test_what_is_allowed_is_not_refused() -> None:
    require(principal(grant(SERVICES[0], Action.MANAGE_SERVICES)), Action.MANAGE_SERVICES, SERVICES[0])
    require_for_all(principal(grant(None, Action.MANAGE_SERVICES)), Action.MANAGE_SERVICES)


@pytest.mark.parametrize("who", MATRIX)
@pytest.mark.parametrize("own", [True, False])
def test_who_manages_a_service_changes_all_its_mail_and_who_sends_only_their_own(who: Principal, own: bool) -> None:
    for service_id in (*SERVICES, None):
        expected = reference(who, Action.MANAGE_SERVICES, service_id) or (
            own and reference(who, Action.SEND, service_id)
        )
        if expected:
            require_intervene(who, service_id, own=own)
        else:
            with pytest.raises(Forbidden):
                require_intervene(who, service_id, own=own)
