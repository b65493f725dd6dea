"""Entries are there with their change, as they were written, until they are old."""

from datetime import timedelta
from typing import Any

import pytest

from app.access.api_keys import create_api_key, revoke_api_key
from app.access.check import RoleValues
from app.access.manage import create_role, update_role
from app.access.principal import Action
from app.audit import record as audit
from app.audit.read import AuditFilter, find_entry, forget_old_entries, list_entries
from app.audit.record import ActorKind, AuditAction, Subject, record
from app.clock import now
from app.database.connection import execute, rows, transaction
from app.database.key import new_key
from app.settings import Settings
from tests.factories import EVERYTHING, NOW, after, count, make_principal

SUBJECT = Subject("svc", new_key(), "relay")


async def write(moment: Any = NOW, by: Any = None, subject: Subject = SUBJECT) -> None:
    await record(by, AuditAction.UPDATE_SERVICE, subject, moment, before={"port": 1}, after={"port": 2})


async def test_an_entry_says_who_did_what_when_and_from_where(database: Settings) -> None:
    principal = await make_principal()
    await write(by=principal)
    await write(by=ActorKind.ENVIRONMENT)
    await write()
    operator, environment, request = await list_entries(AuditFilter(), None, 3)
    assert (request.actor, request.role_id, request.role_name) == (ActorKind.API_KEY, principal.role_id, "mailer")
    assert (request.api_key_id, request.api_key_name) == (principal.api_key_id, "mailer key")
    assert (environment.actor, operator.actor) == (ActorKind.ENVIRONMENT, ActorKind.OPERATOR)
    assert (operator.role_id, operator.api_key_name) == (None, None)
    assert (request.at, request.before, request.after) == (NOW, {"port": 1}, {"port": 2})
    assert (request.subject_kind, request.subject_id, request.subject_name) == ("svc", SUBJECT.id, "relay")
    assert await find_entry(request.id) == request
    assert await find_entry(new_key()) is None


async def test_entries_are_found_by_every_condition_and_page_by_page(database: Settings) -> None:
    principal, other = await make_principal(), Subject("svc", new_key())
    before = await count("audit_entry")
    for seconds in range(3):
        await write(after(seconds), by=principal)
    await write(after(9), subject=other)

    async def found(**conditions: Any) -> int:
        return len(await list_entries(AuditFilter(**conditions), None, 100))

    assert await found(actor_id=principal.role_id) == await found(actor_id=principal.api_key_id) == 3
    assert await found(actor=ActorKind.API_KEY) == 3
    assert await found(actor=ActorKind.OPERATOR) == before + 1
    assert await found(subject_id=other.id) == 1
    assert await found(action=AuditAction.UPDATE_SERVICE) == 4
    assert await found(action=AuditAction.DELETE_ROLE) == 0
    assert await found(at_from=after(1), at_before=after(9)) == 2
    first = await list_entries(AuditFilter(), None, 2)
    rest = await list_entries(AuditFilter(), first[-1].id, 100)
    assert [entry.id for entry in (*first, *rest)] == sorted((e.id for e in (*first, *rest)), reverse=True)
    assert len(rest) == before + 2


async def test_a_change_and_its_entry_are_there_both_or_neither(
    database: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def undone() -> None:
        async with transaction():
            await write()
            raise ConnectionError

    with pytest.raises(ConnectionError):
        await undone()
    assert await count("audit_entry") == 0

    async def failing(*columns: object) -> int:
        raise ConnectionError

    monkeypatch.setattr(audit, "execute", failing)
    with pytest.raises(ConnectionError):
        await create_role(RoleValues("x"), None)
    assert await count("role") == await count("audit_entry") == 0


async def test_the_database_refuses_to_change_an_entry_or_to_delete_a_new_one(database: Settings) -> None:
    await write(now())
    await write(now() - timedelta(hours=22))
    await write(now() - timedelta(days=2))
    kept = await rows("SELECT * FROM audit_entry ORDER BY id")
    for statement in (
        "UPDATE audit_entry SET origin = 'x'",
        "DELETE FROM audit_entry",
        *(["TRUNCATE audit_entry"] if "postgres" in database.database_url else []),
    ):
        with pytest.raises(Exception, match="the audit log is not edited"):
            await execute(statement)
    assert await rows("SELECT * FROM audit_entry ORDER BY id") == kept


async def test_old_entries_are_forgotten_after_the_days_that_are_set(database: Settings) -> None:
    moment = now()
    for days in (0, 2, 400):
        await write(moment - timedelta(days=days))
    for kept_days, left in ((0, 3), (365, 2), (1, 1)):
        await forget_old_entries(moment, kept_days)
        assert await count("audit_entry") == left


async def test_a_role_and_its_keys_are_told_of_by_name(database: Settings) -> None:
    principal = await make_principal()
    role = await create_role(RoleValues("x", grants=EVERYTHING), principal)
    key, text = await create_api_key(role.id, "shop", None, principal)
    await update_role(role.id, {"name": "y", "grants": ()}, principal)
    await revoke_api_key(key.id, None)
    revoked, updated, made, _ = await list_entries(AuditFilter(), None, 4)
    everything = [{"service": None, "actions": sorted(Action)}]
    assert updated.before == {"grants": everything, "name": "x"}
    assert updated.after == {"grants": [], "name": "y"}
    assert made.after == {"key": "set", "name": "shop", "prefix": key.prefix, "role": "x"}
    assert (revoked.actor, revoked.subject_name, revoked.before) == (ActorKind.OPERATOR, "shop", {"revokedAt": None})
    assert text not in repr((revoked, updated, made))
