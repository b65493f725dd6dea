"""Rotation, networks and expiry of API keys through the schema; whatever ends a key is noticed at once."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from app.access.authenticate import authenticate
from app.access.watch import KeyWatch
from tests.graphql.api import ORIGIN, Api, codes

KEY = "id name prefix previousPrefix previousExpiresAt previousLastUsedAt lastUsedAt expiresAt allowedNetworks"
WHO = "{ viewer { apiKeyId } }"


async def make(api: Api, **given: Any) -> tuple[dict[str, Any], str]:
    """A key of a role of its own, and its secret."""
    role = (await api.mutate("createRole", "role { id }", name="shop"))["role"]["id"]
    made = await api.mutate("createApiKey", f"key apiKey {{ {KEY} roleId }}", roleId=role, name="web", **given)
    assert made["userErrors"] == []
    return made["apiKey"], made["key"]


async def test_a_rotated_key_has_two_secrets_for_a_while(api: Api) -> None:
    made, old = await make(api)
    await api.as_key(old).ask(WHO)
    rotated = await api.mutate("rotateApiKey", f"key apiKey {{ {KEY} }}", id=made["id"], overlapSeconds=3600)

    stored, new = rotated["apiKey"], rotated["key"]
    assert new.startswith(stored["prefix"])
    assert (stored["id"], stored["previousPrefix"], stored["lastUsedAt"]) == (made["id"], made["prefix"], None)
    assert None not in (stored["previousExpiresAt"], stored["previousLastUsedAt"])
    for text in (old, new):
        assert (await api.as_key(text).ask(WHO))["viewer"]["apiKeyId"] == made["id"]
    again = await api.mutate("rotateApiKey", "key apiKey { id }", id=made["id"])
    assert (again["key"], codes(again)) == (None, [("overlapSeconds", "WRONG_STATE")])
    await api.mutate("rotateApiKey", "key", id=made["id"], overlapSeconds=0)
    for text in (old, new):
        assert (await api.as_key(text).refused(WHO))["code"] == "INVALID_API_KEY"


async def test_networks_and_expiry_are_given_changed_and_cleared(api: Api) -> None:
    made, text = await make(api, allowedNetworks=["192.0.2.7", "2001:DB8:0::/32"])
    assert made["allowedNetworks"] == [ORIGIN, "2001:db8::/32"]
    assert (await api.as_key(text).ask(WHO))["viewer"]["apiKeyId"] == made["id"]

    change = {"allowedNetworks": ["198.51.100.0/24"], "expiresAt": "2099-01-01T00:00:00Z"}
    changed = (await api.mutate("updateApiKey", f"apiKey {{ {KEY} }}", id=made["id"], **change))["apiKey"]
    assert (changed["allowedNetworks"], changed["name"]) == (["198.51.100.0/24"], "web")
    assert changed["expiresAt"] == "2099-01-01T00:00:00+00:00"
    assert (await api.as_key(text).refused(WHO)) == (await api.as_key("hg_unknown").refused(WHO))
    nothing = {"allowedNetworks": None, "expiresAt": None}
    cleared = (await api.mutate("updateApiKey", f"apiKey {{ {KEY} }}", id=made["id"], **nothing))["apiKey"]
    assert (cleared["allowedNetworks"], cleared["expiresAt"]) == ([], None)
    assert (await api.as_key(text).ask(WHO))["viewer"]["apiKeyId"] == made["id"]
    wrong = await api.mutate("updateApiKey", "apiKey { id }", id=made["id"], allowedNetworks=[ORIGIN, "10.1.0.0/8"])
    assert codes(wrong) == [("allowedNetworks.1", "INVALID_INPUT")]


async def test_nobody_locks_themselves_out_of_where_they_are(api: Api) -> None:
    own = (await api.ask(WHO))["viewer"]["apiKeyId"]
    refused = await api.mutate("updateApiKey", "apiKey { id }", id=own, allowedNetworks=["198.51.100.0/24"])
    assert codes(refused) == [("allowedNetworks", "IN_USE")]
    assert codes(await api.mutate("updateApiKey", "apiKey { id }", id=own, allowedNetworks=["192.0.2.0/24"])) == []


@pytest.mark.parametrize(
    ("mutation", "of", "given"),
    [
        ("revokeApiKey", "id", {}),
        ("rotateApiKey", "id", {"overlapSeconds": 0}),
        ("updateApiKey", "id", {"allowedNetworks": ["198.51.100.0/24"]}),
        ("updateRole", "roleId", {"isActive": False}),
        ("deleteRole", "roleId", {}),
    ],
)
async def test_what_ends_a_key_closes_what_is_open_with_it_in_this_process(
    api: Api, mutation: str, of: str, given: dict[str, Any]
) -> None:
    made, text = await make(api)
    closed = asyncio.Event()

    async def close() -> None:
        closed.set()

    watch = KeyWatch(3600)  # nobody looks without being told
    admin = replace(api, parts=replace(api.parts, key_watch=watch))
    async with watch.running():
        watch.hold(await authenticate(text, origin=ORIGIN), close)
        assert codes(await admin.mutate(mutation, "__typename", id=made[of], **given)) == []
        async with asyncio.timeout(20):
            await closed.wait()
