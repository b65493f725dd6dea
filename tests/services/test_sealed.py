"""Stored secrets as a whole: what the start asks of the keys, and rotation beside whoever changes a password."""

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from app.database.connection import execute, rows
from app.errors import CommandFailed
from app.queue.forgive import forgive_outage
from app.services import sealed
from app.services.check import ServiceValues
from app.services.environment import define_service
from app.services.manage import create_service, get_service, update_service
from app.services.models import Service
from app.services.sealed import FORGOTTEN, Rotation, checked_sealer, forget_secret, reseal_secrets
from app.services.secret import Sealer, fingerprint_of
from app.settings import Settings, SettingsError

OLD_KEY = "canary-key-old-" + "k" * 32
NEW_KEY = "canary-key-new-" + "k" * 32
OLD, NEW, BOTH = Sealer([OLD_KEY]), Sealer([NEW_KEY]), Sealer([NEW_KEY, OLD_KEY])
OLD_FINGERPRINT = fingerprint_of(OLD.seal("", Service().id))


async def make(name: str, sealer: Sealer = OLD, password: str | None = "canary") -> Service:
    values = ServiceValues(
        name=name, host="127.0.0.1", encryption="NONE", username=password and "me", password=password
    )
    return await create_service(values, None, sealer)


async def password(service: Service, sealer: Sealer) -> str:
    stored = (await get_service(service.id)).sealed_password
    assert stored is not None
    return sealer.open(stored, service.id)


def having(settings: Settings, *keys: str, **changes: object) -> Settings:
    secret_keys = tuple(SecretStr(key) for key in keys)
    return settings.model_copy(update={"secret_keys": secret_keys, **changes})


async def test_rotation_seals_anew_what_is_under_another_key_and_nothing_else(database: Settings) -> None:
    old, new = [await make(name) for name in ("a", "b")], await make("c", NEW)
    await make("open", password=None)
    before = await get_service(new.id)
    assert await reseal_secrets(BOTH) == Rotation(2, 1, ())
    assert [await password(service, NEW) for service in (*old, new)] == ["canary"] * 3
    assert (await get_service(new.id)).sealed_password == before.sealed_password
    assert [(await get_service(service.id)).version for service in old] == [service.version for service in old]
    assert await reseal_secrets(BOTH) == Rotation(0, 3, ())


async def test_rotation_goes_on_where_it_was_interrupted(database: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    services = [await make(name) for name in ("a", "b", "c")]
    with monkeypatch.context() as patched:
        patched.setattr(sealed, "_reseal", fails_at("b"))
        with pytest.raises(ConnectionError):
            await reseal_secrets(BOTH)
    assert await reseal_secrets(BOTH) == Rotation(2, 1, ())
    assert [await password(service, NEW) for service in services] == ["canary"] * 3


def fails_at(name: str) -> Any:
    reseal = sealed._reseal

    async def failing(secret: sealed.StoredSecret, sealer: Sealer, moment: datetime) -> bool:
        if secret.name == name:
            raise ConnectionError
        return await reseal(secret, sealer, moment)

    return failing


@pytest.mark.parametrize("sealer", [OLD, BOTH])
async def test_a_password_that_changes_meanwhile_is_kept(
    database: Settings, monkeypatch: pytest.MonkeyPatch, sealer: Sealer
) -> None:
    service = await make("a")
    replace = sealed._replace

    async def overtaken(secret: sealed.StoredSecret, stored: str, anew: str, moment: datetime) -> bool:
        if await password(service, BOTH) == "canary":
            await update_service(service, {"password": "changed"}, None, sealer, forgive=forgive_outage)
        return await replace(secret, stored, anew, moment)

    monkeypatch.setattr(sealed, "_replace", overtaken)
    done = await reseal_secrets(BOTH)
    assert done == (Rotation(1, 0, ()) if sealer is OLD else Rotation(0, 1, ()))
    assert await password(service, NEW) == "changed"


async def test_a_service_that_goes_meanwhile_is_no_trouble(database: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    service = await make("a")
    replace = sealed._replace

    async def overtaken(secret: sealed.StoredSecret, stored: str, anew: str, moment: datetime) -> bool:
        await execute("DELETE FROM service WHERE id = $1", service.id)
        return await replace(secret, stored, anew, moment)

    monkeypatch.setattr(sealed, "_replace", overtaken)
    assert await reseal_secrets(BOTH) == Rotation(0, 1, ())


async def test_rotations_and_changes_side_by_side_lose_no_password(database: Settings) -> None:
    services = [await make(f"s{number}") for number in range(6)]

    async def change(service: Service) -> None:
        await update_service(service, {"password": f"of {service.name}"}, None, OLD, forgive=forgive_outage)

    await asyncio.gather(reseal_secrets(BOTH), *(change(service) for service in services), reseal_secrets(BOTH))
    await reseal_secrets(BOTH)
    assert [await password(service, NEW) for service in services] == [f"of {service.name}" for service in services]


async def test_what_cannot_be_opened_is_named_and_stays(database: Settings) -> None:
    lost, fine, damaged = await make("lost"), await make("fine", NEW), await make("torn", NEW)
    await execute("UPDATE service SET sealed_password = $2 WHERE id = $1", damaged.id, "v1.torn")
    done = await reseal_secrets(NEW)
    assert (done.resealed, done.current) == (0, 1)
    assert [secret.name for secret, _ in done.unopened] == ["lost", "torn"]
    assert OLD_FINGERPRINT in done.unopened[0][1]
    assert await password(lost, OLD) == await password(fine, NEW) == "canary"


async def test_the_start_refuses_a_missing_key_and_names_it_by_its_fingerprint(database: Settings) -> None:
    await make("a")
    await make("b")
    await make("torn")
    await execute("UPDATE service SET sealed_password = 'v1.torn' WHERE name = 'torn'")
    with pytest.raises(SettingsError) as refused:
        await checked_sealer(having(database, NEW_KEY))
    assert str(refused.value).endswith(f": the passwords of a, b were sealed with the key {OLD_FINGERPRINT}")
    assert "canary" not in str(refused.value)
    assert (await checked_sealer(having(database, NEW_KEY, OLD_KEY))).knows(OLD_FINGERPRINT)


async def test_no_key_file_is_made_where_a_stored_secret_needs_the_one_that_is_missing(
    database: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "gone.key"
    settings = database.model_copy(update={"secret_key_file": file})
    await make("a")
    with pytest.raises(SettingsError, match=rf"gone\.key: .*the passwords of a were .* the key {OLD_FINGERPRINT}$"):
        await checked_sealer(settings)
    assert not file.exists()


async def test_what_the_environment_seals_anew_needs_no_old_key(database: Settings) -> None:
    given = {
        "mail_host": "127.0.0.1",
        "mail_username": "me",
        "mail_password": SecretStr("new"),
        "mail_encryption": "none",
    }
    first, later = having(database, OLD_KEY, **given), having(database, NEW_KEY, **given)
    await define_service(first, await checked_sealer(first), forgive=forgive_outage)
    sealer = await checked_sealer(later)
    await define_service(later, sealer, forgive=forgive_outage)
    (managed,) = await Service.all()
    assert await password(managed, sealer) == "new"
    with pytest.raises(SettingsError, match="the passwords of email were"):
        await checked_sealer(having(database, OLD_KEY))
    with pytest.raises(SettingsError, match="the passwords of email were"):
        await checked_sealer(having(database, OLD_KEY, mail_mailer="log"))


async def test_a_secret_is_forgotten_only_when_its_key_is_lost(database: Settings) -> None:
    lost = await make("lost")
    await make("open", password=None)
    with pytest.raises(CommandFailed, match="can be opened"):
        await forget_secret("lost", BOTH)
    for name in ("open", "nobody"):
        with pytest.raises(CommandFailed, match=f"no service named '{name}' with a password"):
            await forget_secret(name, NEW)
    await forget_secret("Lost", NEW)
    forgotten = await get_service(lost.id)
    assert (forgotten.username, forgotten.sealed_password, forgotten.paused_reason) == (None, None, FORGOTTEN)
    assert forgotten.paused_at is not None
    assert forgotten.version == lost.version + 1
    assert await checked_sealer(having(database, NEW_KEY)) is not None
    assert (await rows("SELECT COUNT(*) AS n FROM service"))[0]["n"] == 2
