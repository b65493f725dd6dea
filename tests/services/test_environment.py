"""MAIL_* define the service `email`, on both databases."""

import asyncio
import logging
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from app.database.connection import as_moment, rows, transaction
from app.queue.embedded import EmbeddedEngine
from app.queue.forgive import forgive_outage
from app.queue.put import put
from app.queue.wakeup import Wakeup
from app.services.check import ServiceValues
from app.services.circuit import CircuitPolicy, Fault, open_circuit, read_circuits, read_proofs
from app.services.environment import define_service
from app.services.manage import create_service, update_service
from app.services.models import Service, ServiceKind
from app.services.oauth2 import OAuth2Values
from app.services.secret import Sealer
from app.services.server import server_for
from app.settings import Settings, SettingsError
from app.smtp.server import TokenCredentials
from tests.factories import NOW, after, count, make_principal, make_service, new_message

SEALER = Sealer(["k" * 32])
PASSWORD = "canary-password-7f3a9c51"
RELAY: dict[str, Any] = {"mail_host": "smtp.example.com", "mail_username": "ada", "mail_password": SecretStr(PASSWORD)}

pytestmark = pytest.mark.usefixtures("database")


async def define(sealer: Sealer = SEALER, seconds: float = 0, **given: Any) -> None:
    """Start with these settings, so many seconds after NOW."""
    await define_service(Settings(**given), sealer, forgive=forgive_outage, now=lambda: after(seconds))


async def email() -> Service:
    return await Service.get(name="email")


def password(service: Service, sealer: Sealer = SEALER) -> str | None:
    credentials = server_for(service, Settings(ehlo_name="h"), sealer).credentials
    assert not isinstance(credentials, TokenCredentials)
    return credentials.password if credentials else None


async def put_mail(service: Service) -> UUID:
    message = new_message(service, await make_principal())
    return (await put(message, NOW, EmbeddedEngine(Wakeup(), 1))).message_id


async def test_a_host_defines_a_server_with_all_defaults() -> None:
    await define(mail_host="SMTP.Example.com")
    made = await email()

    assert (made.kind, made.host, made.port, made.encryption) == ("SMTP", "smtp.example.com", 587, "TLS")
    assert (made.is_managed, made.is_active, made.version, made.username) == (True, True, 1, None)


@pytest.mark.parametrize(
    ("encryption", "port", "expected"),
    [("ssl", None, ("SSL", 465)), ("none", 25, ("NONE", 25)), ("tls", 2525, ("TLS", 2525)), (None, None, ("TLS", 587))],
)
async def test_encryption_and_port(encryption: str | None, port: int | None, expected: tuple[str, int]) -> None:
    await define(**RELAY, mail_encryption=encryption, mail_port=port)
    made = await email()
    assert (made.encryption, made.port) == expected


async def test_credentials_are_sealed_and_have_to_be_proven() -> None:
    await define(**RELAY)
    made = await email()

    assert password(made) == PASSWORD
    assert PASSWORD not in repr(await rows("SELECT * FROM service"))
    assert list(await read_proofs([made.id])) == [made.id]


async def test_a_start_that_changes_nothing_writes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    await define(**RELAY)
    await rows("DELETE FROM circuit RETURNING service_id")  # the password is proven
    before = await rows("SELECT * FROM service")
    caplog.set_level(logging.INFO)
    for seconds in (10, 20):
        await define(seconds=seconds, **RELAY)

    assert await rows("SELECT * FROM service") == before
    assert (await count("circuit"), caplog.messages) == (0, [])


@pytest.mark.parametrize(
    ("change", "proof"),
    [
        ({"mail_password": SecretStr("another")}, True),
        ({"mail_username": "bob"}, True),
        ({"mail_host": "mx.example.com"}, True),
        ({"mail_port": 2525}, True),
        ({"mail_encryption": "ssl"}, True),
        ({"mail_username": None, "mail_password": None}, False),
    ],
)
async def test_a_change_is_taken_over_at_the_next_start_and_tried_at_once(change: dict[str, Any], proof: bool) -> None:
    await define(**RELAY)
    first = await email()
    async with transaction():
        await open_circuit(first.id, 1, Fault("Connection refused."), NOW, CircuitPolicy(), probing=False)
    await define(seconds=60, **{**RELAY, **change})
    changed = await email()

    assert (changed.id, changed.version, changed.updated_at) == (first.id, 2, NOW + timedelta(seconds=60))
    assert (await read_circuits([first.id]), bool(await read_proofs([first.id]))) == ({}, proof)


@pytest.mark.parametrize("change", [{}, {"mail_username": None, "mail_password": None}])
async def test_access_tokens_and_a_provider_are_not_what_the_environment_says(change: dict[str, Any]) -> None:
    oauth2 = OAuth2Values(grant="GOOGLE_REFRESH_TOKEN", client_id="a", client_secret="s", refresh_token="r")
    values = ServiceValues(name="email", provider="GMAIL", username="me@gmail.com", oauth2=oauth2)
    await create_service(values, None, SEALER)
    await define(**{**RELAY, **change})
    defined = await email()
    assert (defined.oauth2_grant, defined.sealed_refresh_token, defined.provider) == (None, None, None)
    assert password(defined) == (None if change else PASSWORD)
    assert defined.username == (None if change else RELAY["mail_username"])


async def test_the_outage_until_a_change_is_forgiven() -> None:
    await define(**RELAY)
    service = await email()
    mail = await put_mail(service)
    await rows("UPDATE recipient SET tried_since = $1 RETURNING id", NOW)
    async with transaction():
        await open_circuit(service.id, 1, Fault("Connection refused."), NOW, CircuitPolicy(), probing=False)
    await define(seconds=60, **{**RELAY, "mail_port": 25})
    (row,) = await rows("SELECT tried_since FROM recipient WHERE message_id = $1", mail)
    assert as_moment(row["tried_since"]) == after(60)


async def test_a_password_that_cannot_be_opened_any_more_is_sealed_anew() -> None:
    await define(**RELAY)
    other = Sealer(["other" * 8])
    await define(other, **RELAY)
    changed = await email()
    assert (password(changed, other), changed.version) == (PASSWORD, 2)


async def test_the_log_mailer_is_a_sandbox() -> None:
    await define(**RELAY, mail_mailer="log")
    made = await email()
    assert (made.kind, made.host, made.username, made.is_managed) == ("SANDBOX", None, None, True)


async def test_a_service_of_the_same_kind_is_taken_over_in_place() -> None:
    values = ServiceValues(
        name="email",
        host="old.example.com",
        username="ada",
        password="old",
        is_active=False,
        from_email="desk@example.com",
        recipients_per_day=7,
        respond_async=True,
    )
    old = await create_service(values, None, SEALER)
    await define(**RELAY)
    new = await email()

    assert (new.id, new.host, password(new), new.is_managed) == (old.id, "smtp.example.com", PASSWORD, True)
    assert (new.is_active, new.from_email, new.recipients_per_day, new.respond_async) == (
        True,
        "desk@example.com",
        7,
        True,
    )
    assert await count("service") == 1


async def test_the_same_service_is_only_marked() -> None:
    values = ServiceValues(name="email", host="smtp.example.com", username="ada", password=PASSWORD)
    old = await create_service(values, None, SEALER)
    await rows("DELETE FROM circuit RETURNING service_id")
    await define(**RELAY)
    new = await email()
    assert (new.id, new.is_managed, new.sealed_password) == (old.id, True, old.sealed_password)
    assert await count("circuit") == 0, "the password was proven before"


async def test_a_service_of_another_kind_keeps_its_mail_under_another_name(caplog: pytest.LogCaptureFixture) -> None:
    old = await make_service("email", from_email="a@example.com")
    mail = await put_mail(old)
    await define(**RELAY)
    aside, new = await Service.get(id=old.id), await email()

    assert (aside.name, aside.kind, aside.is_managed, aside.from_email) == (
        "email-sandbox",
        "SANDBOX",
        False,
        "a@example.com",
    )
    assert (new.id != old.id, new.kind, new.is_managed) == (True, "SMTP", True)
    (row,) = await rows("SELECT service_id, state FROM message WHERE id = $1", mail)
    assert (UUID(str(row["service_id"])), row["state"]) == (old.id, "queued")
    [warning] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "SANDBOX is 'email-sandbox' now" in warning


async def test_a_mailer_that_changes_to_and_fro_loses_nothing() -> None:
    await make_service("email-smtp")
    await define(**RELAY)
    smtp = await email()
    await define(mail_mailer="log")
    sandbox = await email()
    await define(**RELAY)
    names = {service.id: (service.name, service.is_managed) for service in await Service.all()}

    assert names[smtp.id] == ("email-smtp-2", False)
    assert names[sandbox.id] == ("email-sandbox", False)
    assert ((await email()).id in (smtp.id, sandbox.id), (await email()).is_managed) == (False, True)
    assert password(await Service.get(id=smtp.id)) == PASSWORD


async def test_unset_again_it_belongs_to_the_api_with_its_values(caplog: pytest.LogCaptureFixture) -> None:
    await define(**RELAY)
    managed = await email()
    caplog.set_level(logging.INFO)
    await define(mail_from_address="desk@example.com")
    await define()
    released = await email()

    assert (released.is_managed, released.version, password(released)) == (False, managed.version, PASSWORD)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    changed = await update_service(released, {"label": "mine"}, None, SEALER, forgive=forgive_outage)
    assert changed.label == "mine"


async def test_nothing_set_makes_nothing() -> None:
    await define(mail_port=25, mail_username="ada")
    assert await count("service") == 0


@pytest.mark.parametrize("earlier", [None, "SANDBOX", "SMTP"])
async def test_of_many_that_start_at_once_all_find_one_service(earlier: str | None) -> None:
    if earlier:
        await make_service("email", kind=earlier, host="old.example.com" if earlier == "SMTP" else None, port=25)
    await asyncio.gather(*(define(**RELAY) for _ in range(6)))

    names = sorted(await Service.all().values_list("name", "version", "is_managed"))
    others = [("email-sandbox", 2, False)] if earlier == "SANDBOX" else []
    assert names == [("email", 2 if earlier == "SMTP" else 1, True), *others]


async def test_a_service_that_is_made_through_the_api_at_the_same_time_is_no_hindrance() -> None:
    for _ in range(10):
        made = create_service(ServiceValues(name="email", kind=ServiceKind.SANDBOX), None, SEALER)
        defined, _ = await asyncio.gather(define(**RELAY), made, return_exceptions=True)
        found = await email()
        assert defined is None
        assert (found.kind, found.is_managed) == ("SMTP", True)
        await Service.all().delete()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"mail_mailer": "smtp"}, "MAIL_HOST: "),
        ({"mail_host": "smtp://mx.example.com:25"}, "MAIL_HOST: "),
        ({"mail_port": 65536}, "MAIL_PORT: "),
        ({"mail_password": None}, "MAIL_PASSWORD: "),
        ({"mail_username": None}, "MAIL_USERNAME: "),
        ({"mail_username": "a\nb"}, "MAIL_USERNAME: "),
        ({"mail_password": SecretStr(PASSWORD + "\0")}, "MAIL_PASSWORD: "),
        ({"mail_from_address": "desk"}, "MAIL_FROM_ADDRESS: "),
    ],
)
async def test_a_definition_that_cannot_be_is_named_and_changes_nothing(given: dict[str, Any], told: str) -> None:
    whole = given if "mail_mailer" in given else {**RELAY, **given}
    with pytest.raises(SettingsError, match=f"^{told}") as refused:
        await define(**whole)
    assert PASSWORD not in str(refused.value)
    assert await count("service") == 0


async def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(SettingsError, match=r"MAIL_HOST: .*; MAIL_PORT: .*; MAIL_PASSWORD: "):
        await define(mail_host="a b", mail_port=-1, mail_username="ada")
