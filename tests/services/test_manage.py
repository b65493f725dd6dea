"""Services are made, changed and listed, on both databases."""

import asyncio
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import trustme

from app.access.policy import ServiceScope
from app.access.principal import Action, GrantRule, Principal
from app.errors import Conflict, ErrorCode, Forbidden, InvalidInput, NotFound
from app.queue.forgive import forgive_outage
from app.services.check import ServiceValues
from app.services.manage import (
    ServiceChanges,
    create_service,
    find_service,
    get_service,
    list_services,
    update_service,
)
from app.services.models import Service, ServiceKind
from app.services.secret import Sealer
from app.services.server import server_for
from app.settings import Settings
from app.smtp.server import TokenCredentials

pytestmark = pytest.mark.usefixtures("database")

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
NOBODY = UUID(int=7)
SEALER = Sealer(["k" * 32])
PEM = trustme.CA().cert_pem.bytes().decode()
SMTP = ServiceValues(
    name="EMail",
    label="Mail",
    description="one\ntwo",
    host="SMTP.Example.org",
    encryption="SSL",
    username="user",
    password="canary",
    from_email="a@example.org",
    from_name="A",
    reply_to_email="b@example.org",
    reply_to_name="B",
    respond_async=True,
    max_connections=2,
    messages_per_second=0.5,
    recipients_per_minute=3,
    recipients_per_hour=4,
    recipients_per_day=5,
)


async def make(values: ServiceValues = SMTP) -> Service:
    return await create_service(values, None, SEALER, now=lambda: NOW)


async def change(service: Service, **changes: object) -> Service:
    asked: ServiceChanges = changes  # type: ignore[assignment]
    return await update_service(service, asked, None, SEALER, forgive=forgive_outage, now=lambda: LATER)


def password(service: Service) -> str | None:
    credentials = server_for(service, Settings(ehlo_name="h"), SEALER).credentials
    assert not isinstance(credentials, TokenCredentials)
    return credentials.password if credentials else None


async def test_a_service_is_stored_with_every_field_and_its_password_sealed() -> None:
    made = await make()
    stored = await Service.get(id=made.id).values()

    assert password(made) == "canary"
    assert stored.pop("sealed_password").startswith("v1.")
    assert stored == {
        "id": made.id,
        "name": "email",
        "label": "Mail",
        "description": "one\ntwo",
        "kind": "SMTP",
        "is_active": True,
        "provider": None,
        "region": None,
        "host": "smtp.example.org",
        "port": 465,
        "encryption": "SSL",
        "username": "user",
        "oauth2_grant": None,
        "oauth2_client_id": None,
        "oauth2_tenant": None,
        "oauth2_scope": None,
        "oauth2_token_endpoint": None,
        "sealed_client_secret": None,
        "sealed_refresh_token": None,
        "sealed_private_key": None,
        "clear_text_auth": False,
        "trusted_ca": None,
        "from_email": "a@example.org",
        "from_name": "A",
        "reply_to_email": "b@example.org",
        "reply_to_name": "B",
        "respond_async": True,
        "fallbacks": None,
        "is_managed": False,
        "max_connections": 2,
        "max_recipients_per_transaction": None,
        "messages_per_second": 0.5,
        "recipients_per_minute": 3,
        "recipients_per_hour": 4,
        "recipients_per_day": 5,
        "announced_size": None,
        "paused_at": None,
        "paused_reason": None,
        "version": 1,
        "created_at": NOW,
        "updated_at": NOW,
    }


async def test_a_sandbox_needs_a_name_only() -> None:
    made = await make(ServiceValues(name="inbox", kind=ServiceKind.SANDBOX))
    stored = await get_service(made.id)

    assert (stored.kind, stored.host, stored.port, stored.encryption) == ("SANDBOX", None, None, "NONE")


async def test_all_problems_come_at_once_and_nothing_is_stored() -> None:
    with pytest.raises(InvalidInput) as refused:
        await make(ServiceValues(name="a b", port=0, password="canary"))

    assert [problem.field for problem in refused.value.problems] == [("name",), ("host",), ("port",), ("username",)]
    assert "canary" not in repr(refused.value)
    assert not await Service.exists()


async def test_a_taken_name_is_a_conflict_in_any_case() -> None:
    await make()
    other = await make(replace(SMTP, name="other"))
    for attempt in (make(replace(SMTP, name="EMAIL")), change(other, name="Email")):
        with pytest.raises(Conflict, match="There is a service named 'email' already") as refused:
            await attempt
        assert (refused.value.problems[0].code, refused.value.problems[0].field) == (ErrorCode.NAME_TAKEN, ("name",))

    assert (await get_service(other.id)).name == "other"
    assert (await get_service(other.id)).version == 1


async def test_of_many_that_want_one_name_at_once_one_gets_it() -> None:
    answers = await asyncio.gather(*(make() for _ in range(8)), return_exceptions=True)

    assert sorted(type(answer).__name__ for answer in answers) == ["Conflict"] * 7 + ["Service"]


async def test_every_change_grows_the_version() -> None:
    service = await make()
    versions = [(await change(service, label=label)).version for label in ("x", "x", None)]
    stored = await get_service(service.id)

    assert versions == [2, 3, 4]
    assert (stored.version, stored.created_at, stored.updated_at) == (4, NOW, LATER)


async def test_changes_side_by_side_are_all_kept() -> None:
    service = await make()
    await asyncio.gather(change(service, label="x"), change(service, is_active=False), change(service, from_name="C"))
    stored = await get_service(service.id)

    assert (stored.label, stored.is_active, stored.from_name, stored.version) == ("x", False, "C", 4)


async def test_what_is_absent_stays_and_none_clears() -> None:
    service = await make()
    before = await Service.get(id=service.id).values()
    await change(service, description=None, from_email=None, port=None)
    after = await Service.get(id=service.id).values()

    assert {column for column in before if before[column] != after[column]} == {
        "description",
        "from_email",
        "version",
        "updated_at",
    }
    assert password(await get_service(service.id)) == "canary"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("user", "canary")),
        ({"username": "other"}, ("other", "canary")),
        ({"password": "new"}, ("user", "new")),
        ({"username": "other", "password": "new"}, ("other", "new")),
        ({"username": None, "password": None}, (None, None)),
        ({"username": "", "password": ""}, (None, None)),
    ],
)
async def test_credentials_change_together_or_one_by_one(
    changes: dict[str, str | None], expected: tuple[str | None, str | None]
) -> None:
    service = await make()
    await change(service, **changes)
    stored = await get_service(service.id)

    assert (stored.username, password(stored)) == expected
    assert (stored.sealed_password is None) is (expected[1] is None)


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"username": None}, "username"),
        ({"password": None}, "password"),
        ({"password": ""}, "password"),
        ({"host": None}, "host"),
        ({"name": "a b"}, "name"),
        ({"host": "elsewhere.example.org"}, "password"),
        ({"port": 2525}, "password"),
        ({"encryption": "TLS", "port": 465}, "password"),
        ({"encryption": "NONE", "port": 465}, "password"),
        ({"clear_text_auth": True}, "password"),
        ({"trusted_ca": PEM}, "password"),
        ({"trusted_ca": "none"}, "trustedCa"),
    ],
)
async def test_a_wrong_change_changes_nothing(changes: dict[str, str | None], wrong: str) -> None:
    service = await make()
    with pytest.raises(InvalidInput) as refused:
        await change(service, **changes)
    stored = await get_service(service.id)

    assert [problem.field for problem in refused.value.problems] == [(wrong,)]
    assert (stored.name, stored.version, password(stored)) == ("email", 1, "canary")


@pytest.mark.parametrize(
    "changes",
    [{"host": "elsewhere.example.org"}, {"port": 2525}, {"encryption": "NONE", "port": 25}, {"clear_text_auth": True}],
)
async def test_a_new_server_takes_the_password_that_is_given_with_it(changes: dict[str, object]) -> None:
    service = await make()
    await change(service, **changes, password="again")
    stored = await get_service(service.id)

    assert {name: getattr(stored, name) for name in changes} == changes
    assert password(stored) == "again"


@pytest.mark.parametrize(
    "changes",
    [{"host": "smtp.EXAMPLE.org", "port": 465, "encryption": "SSL"}, {"username": None, "password": None, "port": 25}],
)
async def test_the_same_server_and_one_without_a_password_ask_for_none(changes: dict[str, object]) -> None:
    service = await make()
    assert (await change(service, **changes)).version == 2


async def test_clear_text_is_given_up_without_the_password() -> None:
    service = await make(replace(SMTP, clear_text_auth=True))
    assert not (await change(service, clear_text_auth=False, label="x")).clear_text_auth


async def test_a_trusted_authority_is_kept_and_given_up_without_the_password() -> None:
    service = await make(replace(SMTP, trusted_ca=PEM))
    assert server_for(service, Settings(ehlo_name="h"), SEALER).trusted_ca == PEM
    assert (await change(service, label="x")).trusted_ca == PEM
    assert (await change(service, trusted_ca=f"again\n{PEM}")).trusted_ca == PEM
    assert (await change(service, trusted_ca=None)).trusted_ca is None


async def test_a_sandbox_takes_no_server_later_either() -> None:
    service = await make(ServiceValues(name="inbox", kind=ServiceKind.SANDBOX))

    with pytest.raises(InvalidInput, match="takes no server"):
        await change(service, host="smtp.example.org")


async def test_a_service_is_found_by_its_name_in_any_case() -> None:
    service = await make()
    found = await find_service("eMaIl")

    assert found is not None
    assert found.id == service.id
    assert [await find_service(name) for name in ("", "other", "e%", "\x00", "\ud800", "x" * 99)] == [None] * 6


async def test_what_does_not_exist_is_not_found() -> None:
    service = await make()
    await service.delete()
    for attempt in (get_service(service.id), change(service, label="x")):
        with pytest.raises(NotFound) as refused:
            await attempt
        assert refused.value.problems[0].code is ErrorCode.SERVICE_NOT_FOUND


async def test_services_of_a_scope_are_listed_in_pages() -> None:
    ids = [(await make(replace(SMTP, name=f"s{number}"))).id for number in range(5)]
    everything = ServiceScope(all=True, service_ids=frozenset())

    async def listed(after: UUID | None, limit: int, scope: ServiceScope) -> list[UUID]:
        return [service.id for service in await list_services(after, limit, scope)]

    assert await listed(None, 2, everything) == ids[:2]
    assert await listed(ids[1], 9, everything) == ids[2:]
    assert await listed(None, 2, ServiceScope(all=True, service_ids=frozenset({ids[0], NOBODY}))) == ids[1:3]
    assert await listed(ids[1], 9, ServiceScope(all=False, service_ids=frozenset({ids[0], ids[3], NOBODY}))) == [ids[3]]
    assert await listed(None, 9, ServiceScope(all=False, service_ids=frozenset())) == []


async def test_changing_a_service_needs_manage_for_it_and_making_one_manage_for_all() -> None:
    ours, theirs = await make(), await make(replace(SMTP, name="theirs"))
    one = Principal(NOBODY, "owner", NOBODY, "laptop", (GrantRule(ours.id, frozenset({Action.MANAGE_SERVICES})),))
    every = Principal(NOBODY, "admin", NOBODY, "laptop", (GrantRule(None, frozenset({Action.MANAGE_SERVICES})),))

    assert (await update_service(ours, {"label": "x"}, one, SEALER, forgive=forgive_outage)).label == "x"
    assert (await update_service(theirs, {"label": "x"}, every, SEALER, forgive=forgive_outage)).label == "x"
    assert (await create_service(replace(SMTP, name="new"), every, SEALER)).name == "new"
    for attempt in (
        update_service(theirs, {"label": "y"}, one, SEALER, forgive=forgive_outage),
        create_service(replace(SMTP, name="newer"), one, SEALER),
    ):
        with pytest.raises(
            Forbidden, match=r"^Access Forbidden\. The role 'owner' is not granted MANAGE_SERVICES for "
        ):
            await attempt

    assert (await get_service(theirs.id)).label == "x"
    assert await find_service("newer") is None


async def test_the_password_shows_in_no_row_no_repr_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        service = await make()
        service = await change(service, password="canary too")
        with pytest.raises(Conflict) as refused:
            await make()

    row = await Service.get(id=service.id).values()
    shown = [repr(service), str(service), repr(row), repr(refused.value), caplog.text]
    assert not any("canary" in text for text in shown)
