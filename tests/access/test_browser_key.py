"""Browser keys in the database: who may use one, and for which origins preflights are answered."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from app.access.api_keys import create_api_key, revoke_api_key
from app.access.authenticate import authenticate
from app.access.browser import BrowserRules
from app.access.check import RoleValues
from app.access.known_origins import KnownOrigins
from app.access.manage import create_role, update_role
from app.access.models import ApiKey
from app.access.principal import Action, GrantRule
from app.access.restrictions import Restrictions
from app.database.connection import close_database
from app.errors import Forbidden, InvalidInput
from app.limits.recipients import RecipientLimits
from app.settings import Settings
from tests.factories import EVERYTHING, NOW, after
from tests.templates.stored import make

PAGE = "https://www.example.com"


async def make_browser_key(
    *origins: str, role: str = "site", expires_at: datetime | None = None
) -> tuple[ApiKey, str, BrowserRules]:
    template = await make(f"Contact of {role}")
    rules = BrowserRules(origins, (template.id,), ("desk@owner.example",), False, RecipientLimits(per_hour=5))
    made = await create_role(RoleValues(role, grants=EVERYTHING), None)
    return *(await create_api_key(made.id, "form", expires_at, None, browser=rules, now=lambda: NOW)), rules


@pytest.mark.usefixtures("database")
async def test_a_browser_key_is_a_principal_that_sends_from_pages_of_its_origins() -> None:
    api_key, text, rules = await make_browser_key("HTTPS://WWW.example.com:443")
    principal = await authenticate(text, page_origin=PAGE)
    assert principal.browser == replace(rules, origins=(PAGE,))
    assert principal.grants == (GrantRule(None, frozenset({Action.SEND}), Restrictions(templates=rules.templates)),)
    for origin in (None, "null", "https://example.com", f"{PAGE}/", f"{PAGE}, {PAGE}"):
        with pytest.raises(Forbidden, match="pages of its own origins only"):
            await authenticate(text, page_origin=origin)
    await ApiKey.filter(id=api_key.id).update(restrictions={"newer": True})
    with pytest.raises(Forbidden):
        await authenticate(text, page_origin=PAGE)


@pytest.mark.usefixtures("database")
async def test_a_browser_key_without_bounds_is_not_made() -> None:
    role = await create_role(RoleValues("site", grants=EVERYTHING), None)
    with pytest.raises(InvalidInput) as refused:
        await create_api_key(role.id, "form", None, None, browser=BrowserRules(("null",)))
    assert [problem.field for problem in refused.value.problems] == [
        ("browser", "origins", "0"),
        ("browser", "templates"),
        ("browser", "limitsPerClientAddress"),
    ]
    assert await ApiKey.all().count() == 0


@pytest.mark.usefixtures("database")
async def test_the_origins_of_keys_that_open_something_are_known() -> None:
    moment = [NOW]
    known = KnownOrigins(0, lambda: moment[0])
    revoked, _, _ = await make_browser_key(PAGE, "https://a.example")
    await make_browser_key("https://b.example", role="b", expires_at=after(60))
    inactive, _, _ = await make_browser_key("https://c.example", role="c")
    await create_api_key(inactive.role_id, "of programs", None, None)

    async def which() -> list[str]:
        return [name for name in "abc" if await known.includes(f"https://{name}.example")]

    assert await which() == ["a", "b", "c"]
    await revoke_api_key(revoked.id, None)
    await update_role(inactive.role_id, {"is_active": False}, None)
    assert await which() == ["b"]
    moment[0] += timedelta(seconds=60)
    assert await which() == []


async def test_what_is_known_is_kept_for_a_while(sqlite_database: Settings) -> None:
    known = KnownOrigins(3600)
    await make_browser_key(PAGE)
    assert await known.includes(PAGE)
    await close_database()
    assert await known.includes(PAGE)
    assert not await known.includes("https://example.com")
    unknown = KnownOrigins(3600)
    with pytest.raises(RuntimeError):
        await unknown.includes(PAGE)
    assert not await unknown.includes(PAGE)
