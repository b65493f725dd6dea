"""A service that the environment defines, through the schema: seen, operated, and not changed."""

from typing import Any

import pytest

from app.access.check import GrantValues
from app.access.principal import Action
from app.database.connection import rows
from app.database.key import public_id
from app.services.models import Service
from tests.factories import make_key, make_service
from tests.graphql.api import Api, codes


@pytest.fixture
async def managed(api: Api) -> str:
    """The id of the service `email`, defined by the environment."""
    return public_id("svc", (await make_service("email", is_managed=True)).id)


async def test_who_defines_it_is_shown(api: Api, managed: str) -> None:
    await make_service("other")
    found = (await api.ask("{ services(first: 10) { nodes { name isManaged } } }"))["services"]["nodes"]
    assert found == [{"name": "email", "isManaged": True}, {"name": "other", "isManaged": False}]


@pytest.mark.parametrize(
    ("mutation", "given"),
    [
        ("updateService", {"label": "mine"}),
        ("updateService", {"name": "mine"}),
        ("updateService", {"isActive": False}),
        ("updateService", {"respondAsync": True}),
        ("updateService", {"name": "no name"}),
        ("updateService", {}),
        ("deleteService", {}),
        ("deleteService", {"cancelUnsent": True}),
    ],
)
async def test_it_is_not_changed_and_not_deleted(api: Api, managed: str, mutation: str, given: dict[str, Any]) -> None:
    before = await rows("SELECT * FROM service")
    refused = await api.mutate(mutation, "__typename", id=managed, **given)

    assert codes(refused) == [("id", "MANAGED_BY_ENVIRONMENT")]
    assert "'email' is defined by the environment variables MAIL_*" in refused["userErrors"][0]["message"]
    assert await rows("SELECT * FROM service") == before


async def test_it_is_paused_and_resumed(api: Api, managed: str) -> None:
    paused = await api.mutate("pauseService", "service { pausedReason isManaged }", id=managed, reason="night")
    assert paused["service"] == {"pausedReason": "night", "isManaged": True}
    resumed = await api.mutate("resumeService", "service { pausedReason }", id=managed)
    assert resumed["service"] == {"pausedReason": None}


async def test_its_name_is_taken(api: Api, managed: str) -> None:
    other = public_id("svc", (await make_service("other")).id)
    made = await api.mutate("createService", "__typename", name="Email", kind="SANDBOX")
    renamed = await api.mutate("updateService", "__typename", id=other, name="email")
    assert codes(made) == codes(renamed) == [("name", "NAME_TAKEN")]


async def test_who_may_not_manage_it_does_not_learn_who_defines_it(api: Api, managed: str) -> None:
    sender = api.as_key(await make_key("sender", [GrantValues(None, [Action.SEND])]))
    for mutation in ("updateService", "deleteService"):
        assert codes(await sender.mutate(mutation, "__typename", id=managed)) == [("", "FORBIDDEN")]


async def test_whether_the_rest_route_waits_is_set_and_changed(api: Api) -> None:
    made = await api.mutate("createService", "service { id respondAsync }", name="a", kind="SANDBOX", respondAsync=True)
    assert made["service"]["respondAsync"] is True
    key = made["service"]["id"]
    kept = await api.mutate("updateService", "service { respondAsync }", id=key, label="x")
    cleared = await api.mutate("updateService", "service { respondAsync }", id=key, respondAsync=False)
    assert (kept["service"], cleared["service"]) == ({"respondAsync": True}, {"respondAsync": False})
    assert not (await Service.get()).respond_async
    other = await api.mutate("createService", "service { respondAsync isManaged }", name="b", kind="SANDBOX")
    assert other["service"] == {"respondAsync": False, "isManaged": False}
