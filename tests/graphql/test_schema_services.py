"""Services through the schema: made, read, changed, deleted, each by those who may."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import trustme

from app.access.check import GrantValues
from app.access.principal import Action
from app.clock import now
from app.database.connection import transaction
from app.database.key import new_key, public_id
from app.mail.reply import Reply
from app.queue.claim import claim_message
from app.queue.embedded import EmbeddedEngine
from app.queue.put import put
from app.queue.wakeup import Wakeup
from app.services.circuit import CircuitPolicy, Fault, open_circuit, permit_probe
from app.services.models import Service
from tests.factories import NOW, after, count, make_key, make_principal, make_service, new_message
from tests.graphql.api import Api, codes

ALL = """
    id name label description kind isActive host port encryption username hasPassword clearTextAuth trustedCa
    fromEmail fromName replyToEmail replyToName createdAt updatedAt
"""
GIVEN: dict[str, Any] = {
    "name": "Relay",
    "label": "The relay",
    "description": "Sends.",
    "host": "smtp.example.com",
    "username": "user",
    "password": "correct horse battery staple",
    "trustedCa": trustme.CA().cert_pem.bytes().decode(),
    "fromEmail": "desk@example.com",
    "fromName": "Desk",
    "replyToEmail": "help@example.com",
    "replyToName": "Help",
}


@pytest.fixture
async def manager_of_one(api: Api) -> Api:
    """May manage the service `mine`, and nothing else."""
    await make_service("mine")
    await make_service("other")
    return api.as_key(await make_key("one", [GrantValues("mine", [Action.MANAGE_SERVICES])]))


@pytest.fixture
async def nobody(api: Api) -> Api:
    return api.as_key(await make_key("nobody", [GrantValues(None, [Action.SEND, Action.READ_MESSAGES])]))


async def test_a_trusted_authority_is_limited_by_a_setting_and_cleared_by_null(api: Api) -> None:
    made = (await api.mutate("createService", "service { id trustedCa }", **GIVEN))["service"]
    assert made["trustedCa"] == GIVEN["trustedCa"]
    change = {"id": made["id"], "trustedCa": GIVEN["trustedCa"] + " " * 64 * 1024, "password": "x"}
    refused = await api.mutate("updateService", "service { id }", **change)
    assert [error["field"] for error in refused["userErrors"]] == [["trustedCa"]]
    assert "At most 65536 characters" in refused["userErrors"][0]["message"]
    cleared = await api.mutate("updateService", "service { trustedCa }", id=made["id"], trustedCa=None)
    assert cleared["service"]["trustedCa"] is None


async def test_a_service_is_made_with_its_defaults(api: Api) -> None:
    payload = await api.mutate("createService", f"service {{ {ALL} }}", **GIVEN)

    service = payload["service"]
    assert payload["userErrors"] == []
    assert service["createdAt"] == service["updatedAt"]
    expected = {**GIVEN, "name": "relay", "kind": "SMTP", "port": 587, "encryption": "TLS", "isActive": True}
    del expected["password"]
    assert {name: service[name] for name in expected} == expected
    assert (service["hasPassword"], service["clearTextAuth"]) == (True, False)
    found = await api.ask(f'{{ service(name: "RELAY") {{ {ALL} }} }}')
    assert found["service"] == service


async def test_the_port_follows_the_encryption(api: Api) -> None:
    payload = await api.mutate("createService", "service { port }", name="a", host="h.example", encryption="SSL")
    assert payload["service"] == {"port": 465}


async def test_a_password_is_in_no_reply(api: Api) -> None:
    replies = [
        await api.mutate("createService", f"service {{ {ALL} }}", **GIVEN),
        await api.mutate("createService", f"service {{ {ALL} }}", **GIVEN),
        await api.mutate("createService", f"service {{ {ALL} }}", **{**GIVEN, "username": None, "name": "!"}),
    ]
    service = await Service.get()
    key = public_id("svc", service.id)
    replies += [
        await api.ask(f"{{ services(first: 5) {{ nodes {{ {ALL} }} }} }}"),
        await api.mutate("updateService", f"service {{ {ALL} }}", id=key, label="x"),
        await api.mutate("updateService", f"service {{ {ALL} }}", id=key, password=GIVEN["password"] + "\n"),
    ]
    assert codes(replies[1]) == [("name", "NAME_TAKEN")]
    assert codes(replies[-1]) == [("password", "INVALID_INPUT")]
    assert service.sealed_password is not None
    for reply in map(str, replies):
        assert "correct horse" not in reply
        assert service.sealed_password not in reply


async def test_everything_wrong_with_a_service_is_named_at_once_as_the_input_names_it(api: Api) -> None:
    payload = await api.mutate(
        "createService",
        "service { id }",
        name="no name",
        host="http://x",
        port=70000,
        password="p",
        fromEmail="desk",
        replyToName="a\nb",
    )
    assert payload["service"] is None
    assert codes(payload) == [
        ("name", "INVALID_INPUT"),
        ("host", "INVALID_INPUT"),
        ("port", "INVALID_INPUT"),
        ("username", "INVALID_INPUT"),
        ("fromEmail", "INVALID_EMAIL"),
        ("replyToName", "INVALID_INPUT"),
    ]


async def test_what_is_absent_from_a_change_stays_and_null_clears(api: Api) -> None:
    made = (await api.mutate("createService", f"service {{ {ALL} }}", **GIVEN))["service"]
    payload = await api.mutate(
        "updateService", f"service {{ {ALL} }}", id=made["id"], label=None, isActive=False, fromName="C"
    )
    changed = payload["service"]

    assert changed["updatedAt"] > made["updatedAt"]
    expected = {**made, "label": None, "isActive": False, "fromName": "C", "updatedAt": changed["updatedAt"]}
    assert changed == expected
    cleared = await api.mutate(
        "updateService", "service { username hasPassword }", id=made["id"], username=None, password=None
    )
    assert cleared["service"] == {"username": None, "hasPassword": False}


async def test_null_is_refused_where_it_clears_nothing(api: Api) -> None:
    made = (await api.mutate("createService", "service { id }", **GIVEN))["service"]
    nothing = {"name": None, "isActive": None, "clearTextAuth": None}
    payload = await api.mutate("updateService", "service { id }", id=made["id"], label="L", **nothing)

    assert payload["service"] is None
    assert codes(payload) == [(field, "INVALID_INPUT") for field in nothing]
    assert payload["userErrors"][0]["message"] == "name cannot be null; leave it out to keep it."
    assert (await Service.get()).label != "L"


async def test_a_service_with_unsent_mail_is_deleted_only_with_its_mail_cancelled(api: Api) -> None:
    service = await make_service()
    message = new_message(service, await make_principal(), "a@example.com", "b@example.com")
    await put(message, NOW, EmbeddedEngine(Wakeup(), 1))
    key = public_id("svc", service.id)
    selection = "deletedServiceId cancelledRecipients"

    refused = await api.mutate("deleteService", selection, id=key)
    assert (refused["deletedServiceId"], codes(refused)) == (None, [("cancelUnsent", "IN_USE")])
    deleted = await api.mutate("deleteService", selection, id=key, cancelUnsent=True)
    assert deleted == {"deletedServiceId": key, "cancelledRecipients": 2, "userErrors": []}
    again = await api.mutate("deleteService", selection, id=key)
    assert codes(again) == [("id", "SERVICE_NOT_FOUND")]


WAITING = "pausedAt pausedReason circuit { openedAt reason nextProbeAt }"


async def _open_circuit(service: Service, fault: Fault) -> None:
    async with transaction():
        assert await open_circuit(service.id, service.version, fault, NOW, CircuitPolicy(30, 60), probing=False)


async def test_an_open_circuit_shows_with_its_reason_and_the_operators_reason_goes_first(api: Api) -> None:
    service, key = await make_service("relay"), public_id("svc", (await Service.get(name="relay")).id)
    await make_service("other")
    free = {"pausedAt": None, "pausedReason": None, "circuit": None}
    assert (await api.ask(f'{{ service(name: "relay") {{ {WAITING} }} }}'))["service"] == free

    await _open_circuit(service, Fault("Connection refused."))
    shown = (await api.ask(f"{{ services(first: 5) {{ nodes {{ name {WAITING} }} }} }}"))["services"]["nodes"]
    circuit = {"openedAt": NOW.isoformat(), "reason": "Connection refused.", "nextProbeAt": after(30).isoformat()}
    reason = "Connection refused. (`heliograph diagnose relay` tells more.)"
    expected = {"pausedAt": None, "pausedReason": reason, "circuit": circuit}
    assert shown == [{"name": "relay", **expected}, {"name": "other", **free}]

    paused = (await api.mutate("pauseService", f"service {{ {WAITING} }}", id=key, reason="Maintenance"))["service"]
    assert paused["pausedAt"] is not None
    assert (paused["pausedReason"], paused["circuit"]) == ("Maintenance", circuit)


async def test_resuming_ends_the_pause_and_lets_a_probe_through(api: Api) -> None:
    service = await make_service("relay")
    key = public_id("svc", service.id)
    await _open_circuit(service, Fault("Connection refused."))
    await api.mutate("pauseService", "service { id }", id=key, reason="Maintenance")
    resumed = await api.mutate("resumeService", f"service {{ {WAITING} }}", id=key)

    assert resumed["service"] == {"pausedAt": None, "pausedReason": None, "circuit": None}
    assert await permit_probe(service.id, now(), CircuitPolicy())
    assert not await permit_probe(service.id, now(), CircuitPolicy())


async def test_a_refused_auth_is_not_repeated_sooner_by_resuming(api: Api) -> None:
    service = await make_service("relay")
    fault = Fault("Authentication failed.", Reply(535, "no"), of_auth=True)
    async with transaction():
        await open_circuit(service.id, service.version, fault, now(), CircuitPolicy(), probing=False)
    resumed = await api.mutate("resumeService", "service { pausedReason }", id=public_id("svc", service.id))

    assert resumed["service"]["pausedReason"].startswith("Authentication failed. (`heliograph diagnose relay`")
    assert not await permit_probe(service.id, now(), CircuitPolicy())


async def test_a_new_password_closes_the_circuit(api: Api) -> None:
    made = (await api.mutate("createService", "service { id }", **GIVEN))["service"]
    await _open_circuit(await Service.get(), Fault("Authentication failed.", Reply(535, "no"), of_auth=True))
    changed = await api.mutate("updateService", f"service {{ {WAITING} }}", id=made["id"], password="another")

    assert changed["service"] == {"pausedAt": None, "pausedReason": None, "circuit": None}


LIMITS = "maxConnections messagesPerSecond recipientsPerMinute recipientsPerHour recipientsPerDay"


async def test_limits_are_set_changed_and_cleared(api: Api) -> None:
    given = {"maxConnections": 2, "messagesPerSecond": 0.2, "recipientsPerMinute": 3, "recipientsPerHour": 4}
    made = await api.mutate("createService", f"service {{ id {LIMITS} }}", **GIVEN, **given)
    key = made["service"].pop("id")
    assert made["service"] == {**given, "recipientsPerDay": None}

    changes = {"messagesPerSecond": None, "recipientsPerMinute": None, "recipientsPerHour": 5, "recipientsPerDay": 6}
    changed = await api.mutate("updateService", f"service {{ {LIMITS} }}", id=key, **changes)
    assert changed["service"] == {**changes, "maxConnections": 2}


async def test_a_limit_that_cannot_be_is_refused_by_name(api: Api) -> None:
    wrong = {"maxConnections": 0, "messagesPerSecond": 0.0, "recipientsPerMinute": -1, "recipientsPerDay": 0}
    refused = await api.mutate("createService", "service { id }", **GIVEN, **wrong)
    assert codes(refused) == [(name, "INVALID_INPUT") for name in wrong]


async def test_usage_shows_each_limit_that_is_set(api: Api) -> None:
    service = await make_service("relay", recipients_per_minute=3, recipients_per_day=4, messages_per_second=0.001)
    await make_service("free", max_connections=2)
    message = new_message(service, await make_principal(), "a@example.com", "b@example.com", "c@example.com")
    await put(message, now(), EmbeddedEngine(Wakeup(), 1))
    claim = await claim_message(new_key(), message.id, now(), 60)
    assert claim is not None
    assert claim.turn_at is not None

    query = "{ services(first: 10) { nodes { name usage { name used limit freeAt } } } }"
    relay, free = (await api.ask(query))["services"]["nodes"]

    assert free["usage"] == []
    turn, minute, day = relay["usage"]
    assert (turn["name"], turn["used"], turn["limit"]) == ("MESSAGES_PER_SECOND", 1, 0.001)
    assert datetime.fromisoformat(turn["freeAt"]) == claim.turn_at + timedelta(seconds=1000)
    assert (minute["name"], minute["used"], minute["limit"]) == ("RECIPIENTS_PER_MINUTE", 3, 3)
    assert timedelta(seconds=60) < datetime.fromisoformat(minute["freeAt"]) - claim.turn_at <= timedelta(seconds=61)
    assert day == {"name": "RECIPIENTS_PER_DAY", "used": 3, "limit": 4, "freeAt": None}


@pytest.mark.parametrize("wrong", ["", "svc_1", public_id("role", UUID(int=7)), "mine"])
async def test_an_id_of_nothing_is_not_found(api: Api, wrong: str) -> None:
    for mutation in ("updateService", "deleteService"):
        assert codes(await api.mutate(mutation, "__typename", id=wrong)) == [("id", "SERVICE_NOT_FOUND")]


async def test_who_manages_one_service_sees_and_changes_only_that(manager_of_one: Api) -> None:
    listed = await manager_of_one.ask(
        """{ services(first: 10) { nodes { name } }
        mine: service(name: "mine") { id } other: service(name: "other") { id } }"""
    )
    assert listed["services"]["nodes"] == [{"name": "mine"}]
    assert listed["other"] is None
    mine = listed["mine"]["id"]
    other = public_id("svc", (await Service.get(name="other")).id)

    changed = await manager_of_one.mutate("updateService", "service { label }", id=mine, label="x")
    assert changed["service"] == {"label": "x"}
    for refused in (
        await manager_of_one.mutate("updateService", "service { label }", id=other, label="x"),
        await manager_of_one.mutate("updateService", "service { label }", id=public_id("svc", new_key()), label="x"),
        await manager_of_one.mutate("deleteService", "deletedServiceId", id=mine),
        await manager_of_one.mutate("createService", "service { id }", name="third", host="h.example"),
    ):
        assert codes(refused) == [("", "FORBIDDEN")]
    assert await count("service") == 2


async def test_who_manages_nothing_sees_nothing(manager_of_one: Api, nobody: Api) -> None:
    found = await nobody.ask(
        '{ services(first: 10) { nodes { name } pageInfo { hasNextPage } } service(name: "mine") { id } }'
    )
    assert found == {"services": {"nodes": [], "pageInfo": {"hasNextPage": False}}, "service": None}
    key = public_id("svc", (await Service.get(name="mine")).id)
    for mutation in ("updateService", "deleteService"):
        assert codes(await nobody.mutate(mutation, "__typename", id=key)) == [("", "FORBIDDEN")]


async def test_services_come_in_pages_in_the_order_they_were_made(api: Api) -> None:
    names = [f"s{number}" for number in range(5)]
    for name in names:
        await make_service(name)
    query = """query ($after: String) { services(first: 2, after: $after) {
        edges { cursor node { name } } nodes { name } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    } }"""
    seen, after = [], None
    for page in range(3):
        services = (await api.ask(query, after=after))["services"]
        assert [edge["node"] for edge in services["edges"]] == services["nodes"]
        info = services["pageInfo"]
        assert (info["hasPreviousPage"], info["hasNextPage"]) == (page > 0, page < 2)
        assert (info["startCursor"], info["endCursor"]) == (
            services["edges"][0]["cursor"],
            services["edges"][-1]["cursor"],
        )
        seen += [node["name"] for node in services["nodes"]]
        after = info["endCursor"]
    assert seen == names


@pytest.mark.parametrize(
    ("first", "after", "field"),
    [(0, None, "first"), (101, None, "first"), (-1, None, "first"), (1, "x", "after"), (1, "msg_" + "0" * 32, "after")],
)
async def test_a_page_is_refused_that_cannot_be(api: Api, first: int, after: str | None, field: str) -> None:
    query = "query ($first: Int!, $after: String) { services(first: $first, after: $after) { nodes { id } } }"
    assert await api.refused(query, first=first, after=after) == {"code": "INVALID_INPUT", "field": [field]}
