"""What the upgrade makes of grants that were stored when MANAGE was one action."""

from datetime import UTC, datetime

from app.access.authenticate import authenticate
from app.access.principal import Action
from app.access.raw_key import digest_of
from app.access.restrictions import NO_RESTRICTIONS
from app.database.connection import close_database, execute, open_database
from app.database.key import new_key
from app.database.migrate import migrate
from app.settings import Settings

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
OF_SERVICES = {Action.READ_SERVICES, Action.MANAGE_SERVICES}
ADMINISTRATION = {Action.MANAGE_ACCESS, Action.MANAGE_TEMPLATES}


async def insert(table: str, **values: object) -> None:
    marks = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    await execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", *values.values())


async def test_manage_becomes_what_it_stood_for_and_the_rest_stays(empty_settings: Settings) -> None:
    await migrate(empty_settings, until="0006_templates")
    await open_database(empty_settings)
    try:
        service_id = await _populate()
    finally:
        await close_database()
    await migrate(empty_settings)
    await open_database(empty_settings)
    try:
        for name, expected in {
            "admin": {(None, frozenset(Action))},
            "keeper": {
                (None, frozenset({Action.READ_MESSAGES})),
                (service_id, frozenset({Action.SEND, *OF_SERVICES})),
            },
            "sender": {(None, frozenset({Action.SEND}))},
            "manager": {(None, frozenset(OF_SERVICES | ADMINISTRATION)), (service_id, frozenset(OF_SERVICES))},
        }.items():
            principal = await authenticate(f"key of {name}", now=lambda: NOW)
            assert {(rule.service_id, rule.actions) for rule in principal.grants} == expected
            assert {rule.restrictions for rule in principal.grants} == {NO_RESTRICTIONS}
    finally:
        await close_database()


async def _populate() -> object:
    service_id = new_key()
    made = {"created_at": NOW, "updated_at": NOW}
    service = {"id": service_id, "name": "email", "kind": "SANDBOX", "encryption": "NONE", "version": 1}
    await insert("service", **service, is_active=True, clear_text_auth=False, **made)
    stored: dict[str, list[tuple[object, str]]] = {
        "admin": [(None, '["SEND", "READ_MESSAGES", "MANAGE"]')],
        "keeper": [(None, '["READ_MESSAGES"]'), (service_id, '["SEND","MANAGE"]')],
        "sender": [(None, '["SEND"]')],
        "manager": [(None, '["MANAGE"]'), (service_id, '["MANAGE"]')],
    }
    for name, grants in stored.items():
        role_id = new_key()
        await insert("role", id=role_id, name=name, is_active=True, **made)
        key = {
            "id": new_key(),
            "name": name,
            "role_id": role_id,
            "prefix": "key",
            "digest": digest_of(f"key of {name}"),
        }
        await insert("api_key", **key, created_at=NOW)
        for granted_for, actions in grants:
            await insert("access_grant", id=new_key(), role_id=role_id, service_id=granted_for, actions=actions)
    return service_id
