"""Roles and API keys through the schema: made, read, changed, removed, by those who manage all services."""

from uuid import UUID

import pytest

from app.access.check import GrantValues
from app.access.models import ApiKey, Role
from app.access.principal import Action
from app.database.key import public_id
from tests.factories import count, make_key, make_service
from tests.graphql.api import Api, codes

ROLE = "id name description isActive grants { serviceName actions } createdAt updatedAt"
KEY = "id name prefix roleId createdAt expiresAt revokedAt lastUsedAt"
NOTHING = public_id("role", UUID(int=7))


@pytest.fixture
async def manager_of_one(api: Api) -> Api:
    """May do everything but manage access."""
    await make_service("mine")
    return api.as_key(
        await make_key(
            "one",
            [
                GrantValues("mine", ["SEND", "READ_MESSAGES", "READ_SERVICES", "MANAGE_SERVICES"]),
                GrantValues(None, [action for action in Action if action is not Action.MANAGE_ACCESS]),
            ],
        )
    )


async def own_ids(api: Api) -> tuple[str, str]:
    """The ids of the role and of the API key that ask."""
    viewer = (await api.ask("{ viewer { roleId apiKeyId } }"))["viewer"]
    return viewer["roleId"], viewer["apiKeyId"]


async def test_a_role_is_made_read_changed_and_deleted(api: Api) -> None:
    await make_service("email")
    grants = [{"actions": ["READ_MESSAGES"]}, {"service": "EMail", "actions": ["SEND", "MANAGE_SERVICES"]}]
    made = await api.mutate("createRole", f"role {{ {ROLE} }}", name="mailer", description="sends", grants=grants)
    role = made["role"]
    expected = [
        {"serviceName": None, "actions": ["READ_MESSAGES"]},
        {"serviceName": "email", "actions": ["SEND", "MANAGE_SERVICES"]},
    ]
    assert (made["userErrors"], role["isActive"]) == ([], True)
    assert sorted(role["grants"], key=str) == sorted(expected, key=str)
    query = f"query ($id: ID!) {{ role(id: $id) {{ {ROLE} }} }}"
    assert (await api.ask(query, id=role["id"]))["role"] == role

    change = {"id": role["id"], "description": None, "isActive": False, "grants": []}
    changed = (await api.mutate("updateRole", f"role {{ {ROLE} }}", **change))["role"]
    assert (changed["name"], changed["description"], changed["isActive"]) == ("mailer", None, False)
    assert changed["grants"] == []
    untouched = (await api.mutate("updateRole", f"role {{ {ROLE} }}", id=role["id"], name="postman"))["role"]
    assert {**changed, "name": "postman", "updatedAt": untouched["updatedAt"]} == untouched

    deleted = await api.mutate("deleteRole", "deletedRoleId", id=role["id"])
    assert deleted == {"deletedRoleId": role["id"], "userErrors": []}
    assert (await api.ask(query, id=role["id"]))["role"] is None
    assert codes(await api.mutate("deleteRole", "deletedRoleId", id=role["id"])) == [("", "NOT_FOUND")]


async def test_everything_wrong_with_a_role_is_named_at_once(api: Api) -> None:
    grants = [{"service": "fax", "actions": []}, {"actions": ["SEND"]}, {"actions": ["SEND"]}]
    payload = await api.mutate("createRole", "role { id }", name="", grants=grants)

    assert payload["role"] is None
    assert codes(payload) == [
        ("name", "INVALID_INPUT"),
        ("grants.0.service", "SERVICE_NOT_FOUND"),
        ("grants.0.actions", "INVALID_INPUT"),
        ("grants.2.service", "INVALID_INPUT"),
    ]
    assert codes(await api.mutate("createRole", "role { id }", name="admin")) == [("name", "NAME_TAKEN")]


async def test_null_is_refused_where_it_clears_nothing(api: Api) -> None:
    role_id, _ = await own_ids(api)
    nothing = {"name": None, "isActive": None, "grants": None}
    payload = await api.mutate("updateRole", "role { id }", id=role_id, description="changed", **nothing)

    assert payload["role"] is None
    assert codes(payload) == [(field, "INVALID_INPUT") for field in nothing]
    assert (await Role.get(name="admin")).description != "changed"


async def test_a_key_is_shown_once_and_opens_what_its_role_may(api: Api) -> None:
    grants = [{"actions": ["READ_MESSAGES"]}]
    role = (await api.mutate("createRole", "role { id }", name="reader", grants=grants))["role"]
    given = {"roleId": role["id"], "name": "web shop", "expiresAt": "2099-01-01T00:00:00+02:00"}
    made = await api.mutate("createApiKey", f"key apiKey {{ {KEY} }}", **given)

    key, stored = made["key"], made["apiKey"]
    assert key.startswith(stored["prefix"])
    assert (stored["roleId"], stored["expiresAt"]) == (role["id"], "2098-12-31T22:00:00+00:00")
    assert (stored["revokedAt"], stored["lastUsedAt"]) == (None, None)
    viewer = (await api.as_key(key).ask("{ viewer { apiKeyName actionsOnAllServices } }"))["viewer"]
    assert viewer == {"apiKeyName": "web shop", "actionsOnAllServices": ["READ_MESSAGES"]}
    query = f"query ($id: ID!) {{ apiKey(id: $id) {{ {KEY} }} apiKeys(first: 100) {{ nodes {{ {KEY} }} }} }}"
    found = await api.ask(query, id=stored["id"])
    assert found["apiKey"]["lastUsedAt"] is not None
    assert found["apiKey"] in found["apiKeys"]["nodes"]
    assert key not in str(found)
    assert (await ApiKey.get(name="web shop")).digest not in str(found)


async def test_a_revoked_key_opens_nothing(api: Api) -> None:
    role, _ = await own_ids(api)
    made = await api.mutate("createApiKey", "key apiKey { id }", roleId=role, name="k")
    revoked = await api.mutate("revokeApiKey", "apiKey { revokedAt }", id=made["apiKey"]["id"])

    assert revoked["apiKey"]["revokedAt"] is not None
    assert (await api.as_key(made["key"]).refused("{ viewer { roleName } }"))["code"] == "INVALID_API_KEY"
    again = await api.mutate("revokeApiKey", "apiKey { revokedAt }", id=made["apiKey"]["id"])
    assert again == revoked


async def test_keys_can_be_listed_by_role(api: Api) -> None:
    role, key = await own_ids(api)
    await make_key("other")
    query = "query ($role: ID) { apiKeys(first: 10, roleId: $role) { nodes { id } } }"

    assert (await api.ask(query, role=role))["apiKeys"]["nodes"] == [{"id": key}]
    assert len((await api.ask(query, role=None))["apiKeys"]["nodes"]) == 2
    assert await api.refused(query, role="x") == {"code": "NOT_FOUND", "field": ["roleId"]}


async def test_nobody_locks_themselves_out(api: Api) -> None:
    role, key = await own_ids(api)
    for payload, field in (
        (await api.mutate("deleteRole", "deletedRoleId", id=role), ""),
        (await api.mutate("updateRole", "role { id }", id=role, isActive=False), "isActive"),
        (await api.mutate("updateRole", "role { id }", id=role, grants=[]), "grants"),
        (await api.mutate("revokeApiKey", "apiKey { id }", id=key), ""),
    ):
        assert codes(payload) == [(field, "IN_USE")]


async def test_an_id_of_nothing_is_not_found_at_the_field_that_holds_it(api: Api) -> None:
    for wrong in ("", "x", public_id("svc", UUID(int=7)), public_id("msg", UUID(int=7))):
        for mutation in ("updateRole", "deleteRole", "revokeApiKey"):
            assert codes(await api.mutate(mutation, "__typename", id=wrong)) == [("id", "NOT_FOUND")]
        created = await api.mutate("createApiKey", "key", roleId=wrong, name="k")
        assert codes(created) == [("roleId", "NOT_FOUND")]
    assert codes(await api.mutate("createApiKey", "key", roleId=NOTHING, name="")) == [
        ("roleId", "NOT_FOUND"),
        ("name", "INVALID_INPUT"),
    ]


@pytest.mark.parametrize("moment", ["2020-01-01T00:00:00Z", "2099-01-01T00:00:00"])
async def test_a_key_expires_in_the_future_at_a_known_offset(api: Api, moment: str) -> None:
    role, _ = await own_ids(api)
    payload = await api.mutate("createApiKey", "key", roleId=role, name="k", expiresAt=moment)
    assert (payload["key"], codes(payload)) == (None, [("expiresAt", "INVALID_INPUT")])


async def test_who_does_not_manage_all_services_sees_and_changes_nothing(api: Api, manager_of_one: Api) -> None:
    role, key = await own_ids(api)
    for query in (
        "{ roles(first: 1) { nodes { id } } }",
        "{ apiKeys(first: 1) { nodes { id } } }",
        f'{{ role(id: "{role}") {{ id }} }}',
        f'{{ apiKey(id: "{key}") {{ id }} }}',
    ):
        assert await manager_of_one.refused(query) == {"code": "FORBIDDEN"}
    for mutation, given in (
        ("createRole", {"name": "x", "grants": [{"actions": ["MANAGE_SERVICES"]}]}),
        ("updateRole", {"id": role, "isActive": False}),
        ("deleteRole", {"id": role}),
        ("createApiKey", {"roleId": role, "name": "x"}),
        ("revokeApiKey", {"id": key}),
    ):
        assert codes(await manager_of_one.mutate(mutation, "__typename", **given)) == [("", "FORBIDDEN")]
    assert (await count("role"), await count("api_key")) == (2, 2)


async def test_roles_come_in_pages(api: Api) -> None:
    names = ["admin", *(f"r{number}" for number in range(4))]
    for name in names[1:]:
        await api.mutate("createRole", "role { id }", name=name)
    page = "nodes { name } pageInfo { endCursor hasNextPage }"
    query = f"query ($after: String) {{ roles(first: 3, after: $after) {{ {page} }} }}"
    first = (await api.ask(query))["roles"]
    second = (await api.ask(query, after=first["pageInfo"]["endCursor"]))["roles"]

    assert [node["name"] for node in (*first["nodes"], *second["nodes"])] == names
    assert (first["pageInfo"]["hasNextPage"], second["pageInfo"]["hasNextPage"]) == (True, False)
