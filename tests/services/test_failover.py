"""Which service stands in for which: tables."""

from uuid import UUID

import pytest

from app.services.failover import Condition, Move, choose_service, plan_moves

A, B, C, GONE = (UUID(int=number) for number in range(1, 5))
CONDITIONS = {
    "r": Condition.READY,
    "d": Condition.DUE,
    "p": Condition.PROVING,
    "-": Condition.DOWN,
    "s": Condition.SHUT,
}


def conditions(letters: str) -> dict[UUID, Condition]:
    """Of A, B and C, a letter each."""
    return {key: CONDITIONS[letter] for key, letter in zip((A, B, C), letters, strict=True)}


@pytest.mark.parametrize(
    ("letters", "chosen"),
    [
        ("rrr", A),
        ("drr", A),
        ("prr", A),
        ("srr", A),
        ("-rr", B),
        ("-dr", B),
        ("-pr", C),
        ("--r", C),
        ("-sr", C),
        ("---", A),
        ("-sp", A),
    ],
)
def test_a_mail_leaves_by_the_first_usable_fallback_only_where_its_own_service_is_down(
    letters: str, chosen: UUID
) -> None:
    assert choose_service(A, [B, C], conditions(letters)) == chosen


@pytest.mark.parametrize(
    ("letters", "elsewhere", "moves"),
    [
        ("rrr", [], []),
        ("rrr", [B], [Move(B, A)]),
        ("-rr", [], [Move(A, B), Move(A, C)]),
        ("-rr", [B], [Move(A, B), Move(A, C)]),
        ("-dr", [], [Move(A, B, one=True), Move(A, C)]),
        ("--r", [B], [Move(A, C), Move(B, C)]),
        ("---", [B], []),
        ("drr", [], []),
        ("drr", [B], [Move(B, A, one=True)]),
        ("d--", [B], [Move(B, A, one=True)]),
        ("prr", [B], []),
        ("p-r", [B], [Move(B, C)]),
        ("srr", [B, C], [Move(B, A), Move(C, A)]),
        ("-s-", [B], [Move(B, A)]),
        ("-rr", [GONE], [Move(A, B), Move(A, C), Move(GONE, B), Move(GONE, C), Move(GONE, A)]),
    ],
)
def test_waiting_mail_leaves_what_is_down_and_returns_to_what_comes_first(
    letters: str, elsewhere: list[UUID], moves: list[Move]
) -> None:
    assert plan_moves(A, [B, C], elsewhere, conditions(letters)) == moves


def test_who_has_no_fallback_any_more_takes_its_mail_back() -> None:
    assert plan_moves(A, [], [B], conditions("-rr")) == [Move(B, A)]
