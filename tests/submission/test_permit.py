"""What is kept from mail to mail is what would be worked out anew."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.mail_policy import lets_author_pass
from app.access.principal import Action, GrantRule, Principal
from app.access.quota import quotas_of
from app.access.restrictions import Restrictions
from app.database.key import new_key
from app.errors import Forbidden
from app.limits.window import Span
from app.mail.check import is_sound_author
from app.mail.draft import Draft, DraftLimits
from app.services.models import Service
from app.settings import Settings
from app.submission.author import resolve_author
from app.submission.permit import Permit, Permits
from tests.factories import NOW, make_service

SEND = frozenset({Action.SEND})
RULES = Restrictions(allowed_senders=("*@example.com",), required_reply_to="*@example.com")
GRANT = GrantRule(None, SEND, RULES, {Span.HOUR: 5})
SHOP = Principal(
    new_key(), "shop", new_key(), "laptop", (GRANT,), {Span.DAY: 9}, {Span.MINUTE: 3}, "192.0.2.1", "digest", revision=1
)
OTHERS: list[dict[str, Any]] = [
    {"role_name": "other"},
    {"role_id": new_key()},
    {"api_key_name": "other"},
    {"api_key_id": new_key()},
    {"grants": (replace(GRANT, restrictions=Restrictions()),)},
    {"grants": (replace(GRANT, limits={Span.HOUR: 6}),)},
    {"role_limits": {}},
    {"api_key_limits": {Span.MINUTE: 4}},
]


@pytest.fixture
async def service(sqlite_database: Settings) -> Service:
    return await make_service()


@pytest.fixture
def permits(sqlite_database: Settings) -> Permits:
    return Permits(sqlite_database)


async def test_a_principal_has_one_permit_from_everywhere(permits: Permits, service: Service) -> None:
    permit = await permits.permit(SHOP, "email")
    elsewhere = replace(SHOP, origin="192.0.2.2")
    assert await permits.permit(elsewhere, "email") is permit
    assert permit.principal is elsewhere, "who asks again is known without a look at the facts"
    assert permit.rules == RULES
    assert permit.quotas == quotas_of(SHOP, service.id, "email")


@pytest.mark.parametrize("change", OTHERS, ids=lambda change: next(iter(change)))
async def test_another_principal_has_another_permit(permits: Permits, service: Service, change: dict[str, Any]) -> None:
    other = replace(SHOP, **change)
    assert (await permits.permit(SHOP, "email")).is_of(SHOP)
    permit = await permits.permit(other, "email")
    assert not permit.is_of(SHOP)
    assert (permit.rules, permit.quotas) == (other.grants[0].restrictions, quotas_of(other, service.id, "email"))


async def test_a_permit_is_of_one_revision(permits: Permits, service: Service) -> None:
    permit = await permits.permit(SHOP, "email")
    await Service.all().update(from_email="new@example.com")
    assert (await permits.permit(SHOP, "email")).service.from_email is None
    later = await permits.permit(replace(SHOP, revision=2), "email")
    assert later is not permit
    assert later.service.from_email == "new@example.com"


async def test_who_may_not_send_has_none(permits: Permits, service: Service) -> None:
    await permits.permit(SHOP, "email")
    with pytest.raises(Forbidden):
        await permits.permit(replace(SHOP, grants=()), "email")


MAYBE = st.sampled_from([None, "", "ada@example.com", "no address", "eve@evil.example", "x" * 2000])
SERVICE = Service(name="email", from_email="ada@example.com", reply_to_name="Desk", created_at=NOW, updated_at=NOW)


@given(st.lists(st.builds(Draft, from_email=MAYBE, from_name=MAYBE, reply_to_email=MAYBE, reply_to_name=MAYBE)))
def test_a_known_author_is_who_the_draft_says(drafts: list[Draft]) -> None:
    settings = Settings(database_url="sqlite://:memory:", cache_entries=2)
    permits, permit, free = Permits(settings), Permit(SHOP, SERVICE), Permit(replace(SHOP, grants=()), SERVICE)
    for draft in (*drafts, *drafts):
        author = resolve_author(draft, SERVICE, settings)
        sender, reply_to = (one.email if one else None for one in (author.sender, author.reply_to))
        known = permits.author(permit, draft)
        little = sum(len(given or "") for given in (draft.from_email, draft.from_name)) < 1000
        little &= sum(len(given or "") for given in (draft.reply_to_email, draft.reply_to_name)) < 1000
        assert (known.author, known.passes) == (author, little and lets_author_pass(RULES, sender, reply_to))
        assert permits.author(free, draft).passes is little
        assert known.author.is_sound is (little and is_sound_author(draft, DraftLimits()))
