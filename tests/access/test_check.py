"""The rules of roles and API keys, as tables."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from app.access.check import GrantValues, RoleValues, check_api_key, check_role
from app.errors import ErrorCode

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SERVICES = {"email", "news"}
ROLE = RoleValues(name="mailer", grants=(GrantValues("email", ["SEND"]),))


def fields(values: RoleValues) -> list[str]:
    return [".".join(problem.field) for problem in check_role(values, SERVICES)]


@pytest.mark.parametrize(
    "values",
    [
        ROLE,
        RoleValues(name="  Zoë's role 1 "),
        replace(ROLE, name=" " + "n" * 64 + " "),
        replace(ROLE, description="one\ntwo" + "d" * 1993),
        replace(
            ROLE,
            grants=(GrantValues(None, ["SEND", "READ_MESSAGES", "MANAGE_SERVICES"]), GrantValues("EMail", {"SEND"})),
        ),
        replace(ROLE, grants=(GrantValues(None, ("SEND", "SEND")),)),
    ],
)
def test_a_proper_role_passes(values: RoleValues) -> None:
    assert check_role(values, SERVICES) == ()


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        *((replace(ROLE, name=name), "name") for name in ("", "   ", "n" * 65, "a\nb", "a\x00", "\ud800", "a\u2028b")),
        (replace(ROLE, description="d" * 2001), "description"),
        (replace(ROLE, description="\x00"), "description"),
        (replace(ROLE, grants=(GrantValues("email", []),)), "grants.0.actions"),
        (replace(ROLE, grants=(GrantValues("email", ["send"]),)), "grants.0.actions"),
        (replace(ROLE, grants=(*ROLE.grants, GrantValues("fax", ["SEND"]))), "grants.1.service"),
        (replace(ROLE, grants=(*ROLE.grants, GrantValues("EMAIL", ["MANAGE_SERVICES"]))), "grants.1.service"),
        (
            replace(ROLE, grants=(GrantValues(None, ["SEND"]), GrantValues(None, ["MANAGE_SERVICES"]))),
            "grants.1.service",
        ),
    ],
)
def test_a_wrong_field_is_named(values: RoleValues, wrong: str) -> None:
    assert fields(values) == [wrong]


def test_all_problems_are_named_at_once() -> None:
    grants = (GrantValues("fax", []), GrantValues("news", ["FLY"]), GrantValues("NEWS", ["SEND"]))

    assert fields(RoleValues(name="", description="\x00", grants=grants)) == [
        "name",
        "description",
        "grants.0.service",
        "grants.0.actions",
        "grants.1.actions",
        "grants.2.service",
    ]


def test_an_unknown_service_is_named_with_its_own_code() -> None:
    (problem,) = check_role(replace(ROLE, grants=(GrantValues("a\r\nb", ["SEND"]),)), SERVICES)

    assert problem.code is ErrorCode.SERVICE_NOT_FOUND
    assert problem.message == r"Could not find a service for a\r\nb"


@pytest.mark.parametrize(
    "expires_at",
    [
        None,
        NOW + timedelta(microseconds=1),
        datetime(9998, 12, 31, tzinfo=UTC),
        NOW.astimezone(timezone(timedelta(hours=9))) + timedelta(1),
    ],
)
def test_an_api_key_expires_in_the_future_or_never(expires_at: datetime | None) -> None:
    assert check_api_key("laptop", expires_at, "x" * 16, True, NOW) == ()


@pytest.mark.parametrize(
    "expires_at",
    [
        NOW,
        NOW - timedelta(days=1),
        datetime(2030, 1, 1),  # noqa: DTZ001 - a time without an offset is what is refused
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=5))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=5))),
    ],
)
def test_an_api_key_cannot_expire_at_any_other_time(expires_at: datetime) -> None:
    assert [problem.field for problem in check_api_key("laptop", expires_at, None, True, NOW)] == [("expiresAt",)]


def test_all_problems_of_an_api_key_are_named_at_once() -> None:
    problems = check_api_key(" ", NOW, "canary", False, NOW)

    assert [(problem.field, problem.code) for problem in problems] == [
        (("roleId",), ErrorCode.NOT_FOUND),
        (("name",), ErrorCode.INVALID_INPUT),
        (("expiresAt",), ErrorCode.INVALID_INPUT),
        (("apiKey",), ErrorCode.INVALID_INPUT),
    ]
    assert "canary" not in repr(problems)
