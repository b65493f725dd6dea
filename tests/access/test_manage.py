"""Roles and API keys are made, changed, listed and removed, on both databases."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from app.access.api_keys import create_api_key, list_api_keys, revoke_api_key
from app.access.authenticate import authenticate
from app.access.check import GrantValues, RoleValues
from app.access.manage import create_role, delete_role, find_role, get_role, list_roles, update_role
from app.access.models import ApiKey, Grant, Role
from app.access.principal import Action, GrantRule, Principal
from app.access.raw_key import digest_of
from app.errors import Conflict, ErrorCode, Forbidden, InvalidInput, NotFound
from app.services.models import Service

pytestmark = pytest.mark.usefixtures("database")

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
NOBODY = UUID(int=7)
EVERYTHING = (GrantValues(None, list(Action)),)


def now() -> datetime:
    return NOW


async def make_service(name: str) -> Service:
    return await Service.create(name=name, kind="SANDBOX", encryption="NONE", created_at=NOW, updated_at=NOW)


async def make_role(name: str = "mailer", grants: tuple[GrantValues, ...] = ()) -> Role:
    return await create_role(RoleValues(name, grants=grants), None, now=now)


async def make_admin() -> Principal:
    role = await make_role("admin", EVERYTHING)
    _, text = await create_api_key(role.id, "admin key", None, None)
    return await authenticate(text)


def granted(role: Role) -> dict[UUID | None, list[str]]:
    return {grant.service_id: grant.actions for grant in role.grants}


async def test_a_role_is_made_with_its_grants() -> None:
    service = await make_service("email")
    grants = (GrantValues(None, ["READ_MESSAGES"]), GrantValues("EMail", {"MANAGE_SERVICES", "SEND"}))
    role = await create_role(RoleValues(" mailer ", "sends", False, grants), None, now=now)

    assert (role.name, role.description, role.is_active) == ("mailer", "sends", False)
    assert (role.created_at, role.updated_at) == (NOW, NOW)
    assert granted(role) == {None: ["READ_MESSAGES"], service.id: ["SEND", "MANAGE_SERVICES"]}
    assert {grant.service.name for grant in role.grants if isinstance(grant.service, Service)} == {"email"}


async def test_all_problems_of_a_role_come_at_once_and_nothing_is_stored() -> None:
    with pytest.raises(InvalidInput) as refused:
        await make_role("", (GrantValues("fax", []),))

    assert [problem.field for problem in refused.value.problems] == [
        ("name",),
        ("grants", "0", "service"),
        ("grants", "0", "actions"),
    ]
    assert not await Role.exists()


async def test_a_taken_name_is_a_conflict() -> None:
    await make_role("mailer", EVERYTHING)
    other = await make_role("other")
    for attempt in (make_role(" mailer", EVERYTHING), update_role(other.id, {"name": "mailer"}, None)):
        with pytest.raises(Conflict, match="There is a role named 'mailer' already") as refused:
            await attempt
        assert (refused.value.problems[0].code, refused.value.problems[0].field) == (ErrorCode.NAME_TAKEN, ("name",))

    assert await Role.all().count() == 2
    assert await Grant.all().count() == 1


async def test_of_many_that_want_one_name_at_once_one_gets_it() -> None:
    answers = await asyncio.gather(*(make_role("mailer") for _ in range(8)), return_exceptions=True)

    assert sorted(type(answer).__name__ for answer in answers) == ["Conflict"] * 7 + ["Role"]


async def test_what_is_absent_from_the_changes_stays() -> None:
    role = await create_role(RoleValues("mailer", "sends", True, EVERYTHING), None, now=now)
    changed = await update_role(role.id, {"name": "postman"}, None, now=lambda: LATER)

    assert (changed.name, changed.description, changed.is_active) == ("postman", "sends", True)
    assert (changed.created_at, changed.updated_at) == (NOW, LATER)
    assert granted(changed) == granted(role)


async def test_none_clears_a_description_and_new_grants_replace_the_old() -> None:
    service = await make_service("email")
    role = await create_role(RoleValues("mailer", "sends", True, EVERYTHING), None)
    changed = await update_role(role.id, {"description": None, "grants": (GrantValues("email", ["SEND"]),)}, None)

    assert changed.description is None
    assert granted(changed) == {service.id: ["SEND"]}
    assert granted(await update_role(role.id, {"grants": ()}, None)) == {}


async def test_a_wrong_change_changes_nothing() -> None:
    role = await make_role("mailer", EVERYTHING)
    with pytest.raises(InvalidInput):
        await update_role(role.id, {"name": "postman", "grants": (GrantValues("fax", ["SEND"]),)}, None)

    assert (await get_role(role.id)).name == "mailer"
    assert granted(await get_role(role.id)) == granted(role)


async def test_a_deleted_role_takes_grants_and_keys_along() -> None:
    await make_service("email")
    role = await make_role("mailer", (*EVERYTHING, GrantValues("email", ["SEND"])))
    await create_api_key(role.id, "laptop", None, None)
    await delete_role(role.id, None)

    assert not await Role.exists()
    assert not await Grant.exists()
    assert not await ApiKey.exists()


async def test_a_deleted_service_takes_its_grants_along() -> None:
    service = await make_service("email")
    role = await make_role("mailer", (*EVERYTHING, GrantValues("email", ["SEND"])))
    await service.delete()

    assert list(granted(await get_role(role.id))) == [None]


async def test_what_does_not_exist_is_not_found() -> None:
    for attempt in (
        get_role(NOBODY),
        update_role(NOBODY, {}, None),
        delete_role(NOBODY, None),
        revoke_api_key(NOBODY, None),
    ):
        with pytest.raises(NotFound, match="There is no such"):
            await attempt


async def test_a_role_is_found_by_name() -> None:
    role = await make_role("mailer", EVERYTHING)
    found = await find_role("mailer")

    assert found is not None
    assert found.id == role.id
    assert granted(found) == granted(role)
    assert await find_role("Mailer") is None
    assert await find_role("\x00") is None
    assert await find_role("m" * 65) is None


async def test_roles_and_keys_are_listed_in_pages() -> None:
    roles = [await make_role(f"role {number}") for number in range(5)]
    keys = [(await create_api_key(role.id, "laptop", None, None))[0] for role in roles]

    assert [role.id for role in await list_roles(None, 2)] == [role.id for role in roles[:2]]
    assert [role.id for role in await list_roles(roles[1].id, 10)] == [role.id for role in roles[2:]]
    assert [key.id for key in await list_api_keys(None, 3)] == [key.id for key in keys[:3]]
    assert [key.id for key in await list_api_keys(keys[2].id, 3)] == [key.id for key in keys[3:]]
    assert [key.role.name for key in await list_api_keys(None, 9, roles[4].id)] == ["role 4"]


async def test_a_new_key_is_shown_once_and_stored_as_a_digest() -> None:
    role = await make_role()
    api_key, text = await create_api_key(role.id, " laptop ", LATER, None, now=now)
    stored = await ApiKey.get(id=api_key.id).values()

    assert stored == {
        "id": api_key.id,
        "name": "laptop",
        "role_id": role.id,
        "prefix": text[:11],
        "digest": digest_of(text),
        "created_at": NOW,
        "expires_at": LATER,
        "revoked_at": None,
        "last_used_at": None,
        "previous_prefix": None,
        "previous_digest": None,
        "previous_expires_at": None,
        "previous_last_used_at": None,
        "allowed_networks": None,
        "recipients_per_minute": None,
        "recipients_per_hour": None,
        "recipients_per_day": None,
        "origins": None,
        "restrictions": None,
        "client_recipients_per_minute": None,
        "client_recipients_per_hour": None,
        "client_recipients_per_day": None,
    }
    assert text not in f"{stored}{api_key!r}{api_key}"


async def test_an_operator_may_choose_the_key() -> None:
    role = await make_role()
    api_key, text = await create_api_key(role.id, "admin", None, None, raw_key="correct horse battery")

    assert (text, api_key.prefix) == ("correct horse battery", "corr")
    assert (await authenticate(text)).api_key_id == api_key.id


async def test_a_chosen_key_that_exists_is_a_conflict_that_does_not_show_it() -> None:
    role = await make_role()
    await create_api_key(role.id, "admin", None, None, raw_key="canary horse battery")

    with pytest.raises(Conflict, match=r"^This API key exists already\.$") as refused:
        await create_api_key(role.id, "again", None, None, raw_key="canary horse battery")
    assert "canary" not in f"{refused.value!r}{refused.value.__cause__!r}"


async def test_an_empty_chosen_key_is_refused_and_not_replaced_by_a_random_one() -> None:
    role = await make_role()

    with pytest.raises(InvalidInput, match="printable ASCII"):
        await create_api_key(role.id, "admin", None, None, raw_key="")


async def test_all_problems_of_a_key_come_at_once() -> None:
    with pytest.raises(InvalidInput) as refused:
        await create_api_key(NOBODY, "", NOW, None, now=now)

    assert [problem.field for problem in refused.value.problems] == [("roleId",), ("name",), ("expiresAt",)]


async def test_revoking_again_keeps_the_first_time() -> None:
    role = await make_role()
    api_key, _ = await create_api_key(role.id, "laptop", None, None)

    assert (await revoke_api_key(api_key.id, None, now=now)).revoked_at == NOW
    assert (await revoke_api_key(api_key.id, None, now=lambda: LATER)).revoked_at == NOW


async def test_a_principal_with_manage_for_all_may_manage() -> None:
    admin = await make_admin()
    role = await create_role(RoleValues("mailer"), admin)
    api_key, _ = await create_api_key(role.id, "laptop", None, admin)

    assert (await revoke_api_key(api_key.id, admin)).revoked_at is not None
    assert not (await update_role(role.id, {"is_active": False}, admin)).is_active
    await delete_role(role.id, admin)
    assert await find_role("mailer") is None


async def test_nobody_else_may_manage() -> None:
    service = await make_service("email")
    role = await make_role("admin", EVERYTHING)
    api_key, _ = await create_api_key(role.id, "laptop", None, None)
    rules = (
        GrantRule(service.id, frozenset(Action)),
        GrantRule(None, frozenset(Action) - {Action.MANAGE_ACCESS}),
    )
    who = Principal(NOBODY, "mailer", NOBODY, "laptop", rules)
    for attempt in (
        create_role(RoleValues(""), who),
        update_role(NOBODY, {}, who),
        delete_role(role.id, who),
        create_api_key(NOBODY, "", None, who),
        revoke_api_key(api_key.id, who),
    ):
        with pytest.raises(
            Forbidden, match=r"^Access Forbidden\. The role 'mailer' is not granted MANAGE_ACCESS for all"
        ):
            await attempt

    assert await Role.all().count() == 1
    assert (await ApiKey.get(id=api_key.id)).revoked_at is None


async def test_principals_cannot_lock_themselves_out() -> None:
    admin = await make_admin()
    service = await make_service("email")
    for attempt in (
        delete_role(admin.role_id, admin),
        revoke_api_key(admin.api_key_id, admin),
        update_role(admin.role_id, {"is_active": False}, admin),
        update_role(admin.role_id, {"grants": ()}, admin),
        update_role(admin.role_id, {"grants": (GrantValues(service.name, ["MANAGE_SERVICES"]),)}, admin),
        update_role(admin.role_id, {"grants": (GrantValues(None, [*set(Action) - {"MANAGE_ACCESS"}]),)}, admin),
    ):
        with pytest.raises(Conflict) as refused:
            await attempt
        assert refused.value.problems[0].code is ErrorCode.IN_USE

    role = await get_role(admin.role_id)
    assert role.is_active
    assert list(granted(role)) == [None]
    assert (await ApiKey.get(id=admin.api_key_id)).revoked_at is None


async def test_principals_may_change_the_rest_of_their_own_role() -> None:
    admin = await make_admin()
    role = await update_role(admin.role_id, {"name": "root", "grants": (GrantValues(None, ["MANAGE_ACCESS"]),)}, admin)

    assert role.name == "root"
    assert granted(role) == {None: ["MANAGE_ACCESS"]}
