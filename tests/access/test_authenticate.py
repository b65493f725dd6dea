"""Every answer that an API key can get, on both databases."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from app.access.api_keys import create_api_key, revoke_api_key
from app.access.authenticate import Shown, authenticate
from app.access.check import GrantValues, RoleValues
from app.access.manage import create_role, update_role
from app.access.models import ApiKey, Grant, Role
from app.access.principal import Action, GrantRule
from app.access.restrictions import Restrictions, stored_restrictions
from app.database.configuration import sqlite_path
from app.database.connection import close_database, open_database
from app.database.key import new_key
from app.errors import ErrorCode, Forbidden, Unauthenticated
from app.services.models import Service
from app.settings import Settings

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def now() -> datetime:
    return NOW


async def make_key(*grants: GrantValues, expires_at: datetime | None = None) -> tuple[ApiKey, str]:
    role = await create_role(RoleValues("mailer", grants=grants), None, now=now)
    return await create_api_key(role.id, "laptop", expires_at, None, now=now)


async def make_service(name: str) -> Service:
    return await Service.create(name=name, kind="SANDBOX", encryption="NONE", created_at=NOW, updated_at=NOW)


@pytest.mark.usefixtures("database")
async def test_a_key_becomes_its_role_with_all_grants() -> None:
    service = await make_service("email")
    api_key, text = await make_key(
        GrantValues(None, ["READ_MESSAGES"]), GrantValues("email", ["SEND", "MANAGE_SERVICES"])
    )
    principal = await authenticate(text, now=now)

    assert (principal.role_name, principal.api_key_id, principal.api_key_name) == ("mailer", api_key.id, "laptop")
    assert principal.role_id == (await Role.get(name="mailer")).id
    assert set(principal.grants) == {
        GrantRule(None, frozenset({Action.READ_MESSAGES})),
        GrantRule(service.id, frozenset({Action.SEND, Action.MANAGE_SERVICES})),
    }
    assert all(isinstance(value, UUID) for value in (principal.role_id, principal.api_key_id, service.id))


@pytest.mark.usefixtures("database")
async def test_a_role_without_grants_is_a_principal_without_rules() -> None:
    _, text = await make_key()

    assert (await authenticate(text, now=now)).grants == ()


@pytest.mark.usefixtures("database")
async def test_an_action_of_a_newer_version_is_not_granted() -> None:
    _, text = await make_key(GrantValues(None, ["SEND"]))
    await Grant.all().update(actions=["SEND", "TELEPORT"])

    assert (await authenticate(text, now=now)).grants == (GrantRule(None, frozenset({Action.SEND})),)


@pytest.mark.usefixtures("database")
async def test_a_key_comes_with_the_restrictions_of_its_grants() -> None:
    restrictions = Restrictions(allowed_senders=("*@a.example",), templates=(new_key(),), required_reply_to="*")
    _, text = await make_key(GrantValues(None, ["SEND"], replace(restrictions, templates=())))
    await Grant.all().update(restrictions=stored_restrictions(restrictions))

    assert (await authenticate(text, now=now)).grants == (GrantRule(None, frozenset({Action.SEND}), restrictions),)


@pytest.mark.usefixtures("database")
async def test_with_a_restriction_of_a_newer_version_nothing_is_sent() -> None:
    _, text = await make_key(GrantValues(None, ["SEND", "READ_MESSAGES"]))
    await Grant.all().update(restrictions={"allowed_moons": ["full"]})

    assert (await authenticate(text, now=now)).grants == (GrantRule(None, frozenset({Action.READ_MESSAGES})),)


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("api_key", [None, ""])
async def test_no_key_is_answered_as_such(api_key: str | None) -> None:
    with pytest.raises(
        Unauthenticated, match=r"^No session token \(JWT\) or API Key detected in request\.$"
    ) as refused:
        await authenticate(api_key)
    assert refused.value.problems[0].code is ErrorCode.UNAUTHENTICATED


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize(
    "api_key", ["hg_" + "x" * 43, " ", "x" * 1_000_000, "clé", "\x00", "\ud800", "' OR 1=1 --", "hg_%"]
)
async def test_an_unknown_key_is_invalid_whatever_it_looks_like(api_key: str) -> None:
    await make_key()

    with pytest.raises(Unauthenticated, match=r"^Invalid API key\.$") as refused:
        await authenticate(api_key)
    assert refused.value.problems[0].code is ErrorCode.INVALID_API_KEY


@pytest.mark.usefixtures("database")
async def test_unknown_revoked_and_expired_keys_get_one_answer() -> None:
    api_key, revoked = await make_key()
    await revoke_api_key(api_key.id, None, now=now)
    _, expired = await create_api_key(api_key.role_id, "old", NOW + timedelta(seconds=1), None, now=now)
    answers = []
    for text in ("hg_unknown", revoked, expired):
        with pytest.raises(Unauthenticated) as refused:
            await authenticate(text, now=lambda: NOW + timedelta(seconds=1))
        answers.append(refused.value.problems)

    assert answers[0] == answers[1] == answers[2]


@pytest.mark.usefixtures("database")
async def test_a_refused_key_leaves_no_trace() -> None:
    api_key, text = await make_key()
    await revoke_api_key(api_key.id, None, now=now)
    with pytest.raises(Unauthenticated):
        await authenticate(text, now=now)

    assert (await ApiKey.get(id=api_key.id)).last_used_at is None


@pytest.mark.usefixtures("database")
async def test_a_key_opens_until_the_moment_it_expires() -> None:
    _, text = await make_key(expires_at=NOW + timedelta(hours=1))

    assert await authenticate(text, now=lambda: NOW + timedelta(hours=1) - timedelta(microseconds=1))
    with pytest.raises(Unauthenticated):
        await authenticate(text, now=lambda: NOW + timedelta(hours=1))


@pytest.mark.usefixtures("database")
async def test_an_inactive_role_is_forbidden_and_says_so() -> None:
    api_key, text = await make_key()
    await update_role(api_key.role_id, {"is_active": False}, None)

    with pytest.raises(Forbidden, match=r"^Access Forbidden\. The role is inactive\.$") as refused:
        await authenticate(text, now=now)
    assert refused.value.problems[0].code is ErrorCode.ROLE_INACTIVE


@pytest.mark.usefixtures("database")
async def test_an_invalid_key_of_an_inactive_role_is_just_invalid() -> None:
    api_key, text = await make_key()
    await update_role(api_key.role_id, {"is_active": False}, None)
    await revoke_api_key(api_key.id, None)

    with pytest.raises(Unauthenticated):
        await authenticate(text)


@pytest.mark.usefixtures("database")
async def test_the_last_use_is_written_at_most_once_an_interval() -> None:
    api_key, text = await make_key()
    written = []
    for seconds in (0, 59, 60, 61, 120):
        await authenticate(text, record_use_every=60, now=lambda later=seconds: NOW + timedelta(seconds=later))  # type: ignore[misc]
        written.append((await ApiKey.get(id=api_key.id)).last_used_at)

    assert written == [NOW, NOW, *[NOW + timedelta(seconds=60)] * 2, NOW + timedelta(seconds=120)]


async def test_a_database_too_busy_to_note_the_use_does_not_refuse_the_key(
    sqlite_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    await open_database(sqlite_settings.model_copy(update={"database_busy_timeout": 0.001}))
    try:
        api_key, text = await make_key()
        with closing(sqlite3.connect(sqlite_path(sqlite_settings.database_url))) as other:
            other.execute("BEGIN IMMEDIATE")
            principal = await authenticate(text, now=now)
        last_used_at = (await ApiKey.get(id=api_key.id)).last_used_at
    finally:
        await close_database()

    assert principal.api_key_id == api_key.id
    assert last_used_at is None
    assert "not recorded" in caplog.text
    assert text not in caplog.text


@pytest.mark.usefixtures("database")
async def test_a_deleted_role_takes_its_keys_along() -> None:
    api_key, text = await make_key()
    await Role.filter(id=api_key.role_id).delete()

    with pytest.raises(Unauthenticated):
        await authenticate(text)


def test_what_a_request_shows_is_not_shown_in_turn() -> None:
    assert "canary" not in repr(Shown("canary", "192.0.2.1"))
