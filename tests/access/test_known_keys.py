"""The keys that a process knows: what they open is judged anew at each use, and what they do not open is looked up."""

import logging
from dataclasses import replace
from datetime import datetime

import pytest

from app.access.api_keys import create_api_key, revoke_api_key
from app.access.authenticate import authenticate
from app.access.browser import BrowserRules
from app.access.check import GrantValues, RoleValues
from app.access.known_keys import KnownKeys
from app.access.manage import create_role
from app.access.models import ApiKey, Role
from app.access.principal import Principal
from app.access.rotate import rotate_api_key
from app.database.connection import execute
from app.errors import Forbidden, Unauthenticated
from app.settings import Settings
from tests.factories import NOW, after, make_key
from tests.statements import told

HERE, ELSEWHERE = "192.0.2.7", "198.51.100.1"
PAGE = "https://www.example.com"


class Clock:
    moment = NOW

    def __call__(self) -> datetime:
        return self.moment


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(clock: Clock) -> KnownKeys:
    return KnownKeys(10, 60, now=clock)


async def refused(keys: KnownKeys, text: str, origin: str | None = None) -> None:
    """With the answer, and the statements, of any key that opens nothing."""
    async with told() as statements:
        with pytest.raises(Unauthenticated, match=r"^Invalid API key\.$"):
            await keys.authenticate(text, origin=origin)
    assert len(statements) == 1


async def test_a_key_that_is_known_asks_the_database_nothing(
    sqlite_database: Settings, keys: KnownKeys, clock: Clock
) -> None:
    text = await make_key()
    first = await keys.authenticate(text, origin=HERE)
    async with told() as statements:
        assert await keys.authenticate(text, origin=HERE) == first
        second = await keys.authenticate(text, origin=ELSEWHERE, page_origin=PAGE)
        clock.moment = after(59)
        assert await keys.authenticate(text, origin=HERE) == first
    assert statements == []
    assert first == await authenticate(text, origin=HERE, now=clock)
    assert second == await authenticate(text, origin=ELSEWHERE, page_origin=PAGE, now=clock)
    assert (second.origin, second.page_origin) == (ELSEWHERE, PAGE)


async def test_from_one_address_the_principal_is_the_same_one(sqlite_database: Settings, keys: KnownKeys) -> None:
    text = await make_key()
    first = await keys.authenticate(text, origin=HERE, page_origin=PAGE)
    origins = [HERE, ELSEWHERE, None, *(f"192.0.2.{number}" for number in range(100))]
    for origin in origins:
        asking = await keys.authenticate(text, origin=origin)
        assert asking == replace(first, origin=origin, page_origin=None)
        assert await keys.authenticate(text, origin=origin) is asking
        assert (await keys.authenticate(text, origin=origin, page_origin=PAGE)).page_origin == PAGE


async def test_its_use_is_written_down_as_often_as_that_of_any_other(
    sqlite_database: Settings, keys: KnownKeys, clock: Clock
) -> None:
    text = await make_key()
    for seconds, expected in ((0, 0), (59, 0), (60, 60), (119, 60), (125, 125)):
        clock.moment = after(seconds)
        async with told() as statements:
            await keys.authenticate(text)
        assert (await ApiKey.get()).last_used_at == after(expected)
        assert sum(statement.startswith("UPDATE") for statement in statements) == (seconds == expected)


async def test_expiry_and_overlap_are_judged_at_each_use(
    sqlite_database: Settings, keys: KnownKeys, clock: Clock
) -> None:
    role = await create_role(RoleValues("shop", grants=(GrantValues(None, ["SEND"]),)), None)
    api_key, old = await create_api_key(role.id, "web", None, None)
    _, new = await rotate_api_key(api_key.id, 100, None, now=clock)
    await ApiKey.all().update(expires_at=after(200))
    for text in (old, new, old, new):
        await keys.authenticate(text)
    clock.moment = after(100)
    await refused(keys, old)
    assert await keys.authenticate(new)
    clock.moment = after(200)
    await refused(keys, new)
    clock.moment = NOW
    assert await keys.authenticate(old)


async def test_networks_are_judged_at_each_use(sqlite_database: Settings, keys: KnownKeys) -> None:
    role = await create_role(RoleValues("shop", grants=(GrantValues(None, ["SEND"]),)), None)
    _, text = await create_api_key(role.id, "web", None, None, allowed_networks=[f"{HERE}/32"])
    known = await keys.authenticate(text, origin=HERE)
    assert known.grants
    await refused(keys, text, ELSEWHERE)
    await refused(keys, text, None)
    async with told() as statements:
        assert await keys.authenticate(text, origin=HERE) == known
    assert statements == []


async def test_the_origin_of_a_page_is_judged_at_each_use(sqlite_database: Settings, keys: KnownKeys) -> None:
    text = await make_key()
    await execute(
        "UPDATE api_key SET origins = $1, restrictions = $2, client_recipients_per_minute = 1",
        f'["{PAGE}"]',
        '{"templates": [], "recipients": [], "visitor_reply_to": false}',
    )
    known = await keys.authenticate(text, page_origin=PAGE)
    assert isinstance(known.browser, BrowserRules)
    for page in (None, "https://evil.example"):
        with pytest.raises(Forbidden, match="pages of its own origins"):
            await keys.authenticate(text, page_origin=page)
    async with told() as statements:
        assert await keys.authenticate(text, page_origin=PAGE) == known
    assert statements == []


async def test_what_opens_nothing_is_never_known(
    sqlite_database: Settings, keys: KnownKeys, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    text = await make_key()
    await revoke_api_key((await ApiKey.get()).id, None)
    for _ in range(2):
        await refused(keys, text)
        await refused(keys, "hg_unknown")
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records if "opens" in record.msg] == [
        "it is revoked",
        "it is unknown",
    ] * 2
    other = await make_key("other", is_active=False)
    for _ in range(2):
        with pytest.raises(Forbidden, match="inactive"):
            await keys.authenticate(other)
    await Role.filter(name="other").update(is_active=True)
    assert await keys.authenticate(other)
    for given in (None, ""):
        with pytest.raises(Unauthenticated, match="No session token"):
            await keys.authenticate(given)


async def test_who_asks_is_confirmed_or_renewed(database: Settings, keys: KnownKeys) -> None:
    text = await make_key()
    known = await keys.authenticate(text, origin=HERE, page_origin=PAGE)
    assert await keys.confirm(known) is known
    await Role.all().update(name="renamed")
    assert await keys.authenticate(text, origin=HERE, page_origin=PAGE) is known, "nobody acts on it unconfirmed"
    renewed = await keys.confirm(known)
    assert (renewed.role_name, renewed.origin, renewed.page_origin) == ("renamed", HERE, PAGE)
    assert await keys.authenticate(text, origin=HERE, page_origin=PAGE) == renewed
    await revoke_api_key(known.api_key_id, None)
    with pytest.raises(Unauthenticated):
        await keys.confirm(renewed)
    by_hand = Principal(known.role_id, "", known.api_key_id, "", ())
    assert await keys.confirm(by_hand) is by_hand


async def test_of_many_who_are_outdated_one_asks_the_database(sqlite_database: Settings, keys: KnownKeys) -> None:
    text = await make_key()
    known = await keys.authenticate(text)
    await Role.all().update(name="renamed")
    renewed = await keys.renew(known)
    async with told() as statements:
        assert await keys.renew(known) is renewed
    assert (statements, renewed.role_name) == ([], "renamed")
    await Role.all().update(name="other")
    assert (await keys.renew(renewed)).role_name == "other"
    await revoke_api_key(known.api_key_id, None)
    with pytest.raises(Unauthenticated):
        await keys.confirm(known)


async def test_the_operator_at_the_machine_is_renewed_as_such(database: Settings, keys: KnownKeys) -> None:
    role = await create_role(RoleValues("shop"), None)
    _, text = await create_api_key(role.id, "web", None, None, allowed_networks=[f"{HERE}/32"])
    operator = await authenticate(text, at_the_machine=True)
    await Role.all().update(name="renamed")
    assert (await keys.confirm(operator)).role_name == "renamed"
