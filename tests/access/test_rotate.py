"""A key with a new secret is the same key, and the old secret works as long as was said; on both databases."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from app.access.api_keys import create_api_key, revoke_api_key, update_api_key
from app.access.authenticate import authenticate
from app.access.check import KeyLimits, RoleValues
from app.access.manage import create_role
from app.access.models import ApiKey
from app.access.principal import Principal
from app.access.raw_key import digest_of
from app.access.rotate import rotate_api_key
from app.audit.read import AuditFilter, list_entries
from app.database import connection
from app.database.key import public_id
from app.errors import Conflict, ErrorCode, InvalidInput, NotFound, Problem, Unauthenticated
from app.limits.recipients import RecipientLimits
from tests.factories import EVERYTHING, NOW, after

pytestmark = pytest.mark.usefixtures("database")

HOUR = 3600.0


async def make_key() -> tuple[ApiKey, str]:
    role = await create_role(RoleValues("mailer"), None)
    limits = RecipientLimits(per_day=9)
    return await create_api_key(
        role.id, "shop", after(9 * HOUR), None, limits=limits, allowed_networks=["192.0.2.0/24"], now=lambda: NOW
    )


async def shown(text: str, seconds: float, origin: str = "192.0.2.7") -> Principal | tuple[Problem, ...]:
    """Who this secret is, so many seconds after the start; or the problems of the refusal."""
    try:
        return await authenticate(text, origin=origin, now=lambda: after(seconds))
    except Unauthenticated as refusal:
        return refusal.problems


async def rotated(api_key: ApiKey, seconds: float, overlap: float | None = HOUR) -> str:
    return (await rotate_api_key(api_key.id, overlap, None, now=lambda: after(seconds)))[1]


async def test_both_secrets_open_the_same_until_the_overlap_ends() -> None:
    api_key, old = await make_key()
    before = await shown(old, 1)
    new = await rotated(api_key, 10)
    unknown = await shown("hg_unknown", 10)

    assert isinstance(before, Principal)
    for text, seconds in ((old, 10), (new, 10), (old, 10 + HOUR - 0.001), (new, 10 + HOUR)):
        assert await shown(text, seconds) == replace(before, digest=digest_of(text))
    assert await shown(old, 10 + HOUR) == unknown
    stored = await ApiKey.get(id=api_key.id)
    assert (stored.prefix, stored.previous_prefix, stored.previous_expires_at) == (new[:11], old[:11], after(10 + HOUR))


async def test_each_secret_tells_when_it_was_last_used() -> None:
    api_key, old = await make_key()
    await shown(old, 1)
    new = await rotated(api_key, 10)
    uses = []
    for text, seconds in ((old, 5), (old, 100), (new, 130), (new, 10 + HOUR), (old, 10 + HOUR)):
        await shown(text, seconds)
        stored = await ApiKey.get(id=api_key.id)
        uses.append((stored.previous_last_used_at, stored.last_used_at))

    assert uses == [
        (after(1), None),
        (after(100), None),
        (after(100), after(130)),
        *[(after(100), after(10 + HOUR))] * 2,
    ]


async def test_the_use_of_a_secret_that_is_replaced_meanwhile_is_not_one_of_the_new_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api_key, old = await make_key()

    async def then_rotated(sql: str, *args: object) -> list[dict[str, object]]:
        found = await connection.rows(sql, *args)
        await rotated(api_key, 10)
        return found

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr("app.access.authenticate.rows", then_rotated)
        await shown(old, 1)
    stored = await ApiKey.get(id=api_key.id)
    assert (stored.prefix != old[:11], stored.last_used_at) == (True, None)


async def test_side_by_side_rotations_leave_two_secrets_and_a_revocation_none() -> None:
    api_key, old = await make_key()
    await shown(old, 1)
    one, other = await asyncio.gather(rotated(api_key, 10), rotated(api_key, 10))
    works = [isinstance(await shown(text, 20), Principal) for text in (old, one, other)]
    assert works in ([True, True, False], [True, False, True])

    third, _ = await asyncio.gather(rotated(api_key, 30, 0), revoke_api_key(api_key.id, None), return_exceptions=True)
    assert isinstance(third, str | Conflict)
    texts = (old, one, other, *([third] if isinstance(third, str) else ()))
    assert [isinstance(await shown(text, 40), Principal) for text in texts] == [False] * len(texts)


async def test_a_chosen_text_that_was_a_secret_before_makes_no_second_key() -> None:
    role = await create_role(RoleValues("mailer"), None)
    first, text = await create_api_key(role.id, "first", None, None, raw_key="chosen by the operator")
    await rotate_api_key(first.id, 60, None)
    with pytest.raises(Conflict, match="exists already"):
        await create_api_key(role.id, "second", None, None, raw_key=text)
    assert await ApiKey.all().count() == 1


async def test_without_an_overlap_the_old_secret_ends_at_once() -> None:
    api_key, old = await make_key()
    new = await rotated(api_key, 10, 0)

    assert await shown(old, 10) == await shown("hg_unknown", 10)
    assert isinstance(await shown(new, 10), Principal)


async def test_a_secret_that_nobody_used_is_replaced_and_the_one_before_it_goes_on() -> None:
    api_key, old = await make_key()
    lost = await rotated(api_key, 10)
    new = await rotated(api_key, 20)
    assert (await ApiKey.get(id=api_key.id)).previous_expires_at == after(20 + HOUR)
    lost_too, new = new, await rotated(api_key, 20, 1)

    assert [isinstance(await shown(text, 30), Principal) for text in (old, lost, lost_too, new)] == [
        True,
        False,
        False,
        True,
    ]
    assert (await ApiKey.get(id=api_key.id)).previous_expires_at == after(20 + HOUR)


async def test_an_overlap_is_cut_short_only_by_who_says_so() -> None:
    api_key, old = await make_key()
    second = await rotated(api_key, 10)
    await shown(second, 11)
    with pytest.raises(Conflict, match=rf"{old[:11]}…, works until 2026-11-22T13:00:10") as refused:
        await rotated(api_key, 20)
    assert refused.value.problems[0].code is ErrorCode.WRONG_STATE
    third = await rotated(api_key, 20, 0)

    assert [isinstance(await shown(text, 30), Principal) for text in (old, second, third)] == [False, False, True]
    fourth = await rotated(api_key, 40)
    assert [isinstance(await shown(text, 50), Principal) for text in (third, fourth)] == [True, True]


async def test_what_cannot_be_rotated_is_refused_and_changes_nothing() -> None:
    api_key, text = await make_key()
    for overlap in (-1, 61, float("nan")):
        with pytest.raises(InvalidInput, match=r"^The overlap is from 0 to 60 seconds\.$") as wrong:
            await rotate_api_key(api_key.id, overlap, None, key_limits=KeyLimits(overlap=1, max_overlap=60))
        assert wrong.value.problems[0].field == ("overlapSeconds",)
    with pytest.raises(NotFound):
        await rotate_api_key(api_key.role_id, 0, None)
    with pytest.raises(Conflict, match="has expired"):
        await rotated(api_key, 9 * HOUR)
    assert isinstance(await shown(text, 1), Principal)
    await revoke_api_key(api_key.id, None)
    with pytest.raises(Conflict, match="is revoked") as refused:
        await rotated(api_key, 1)
    assert refused.value.problems[0].code is ErrorCode.WRONG_STATE
    assert (await ApiKey.get(id=api_key.id)).digest == digest_of(text)


async def test_a_key_rotates_itself_only_with_an_overlap() -> None:
    role = await create_role(RoleValues("admin", grants=EVERYTHING), None)
    api_key, old = await create_api_key(role.id, "own", None, None)
    asks = await authenticate(old)
    with pytest.raises(Conflict, match="another key has to rotate it") as refused:
        await rotate_api_key(api_key.id, 0, asks)
    assert (refused.value.problems[0].code, refused.value.problems[0].field) == (ErrorCode.IN_USE, ("overlapSeconds",))
    _, new = await rotate_api_key(api_key.id, 60, asks)
    assert {(await authenticate(text)).api_key_id for text in (old, new)} == {api_key.id}


async def test_a_rotation_is_audited_without_its_secrets() -> None:
    api_key, old = await make_key()
    new = await rotated(api_key, 10)
    (entry, *_) = await list_entries(AuditFilter(), None, 9)

    assert (entry.action, entry.subject_id) == ("ROTATE_API_KEY", api_key.id)
    assert (entry.before["prefix"], entry.after["prefix"], entry.after["key"]) == (old[:11], new[:11], "changed")
    assert entry.after["previousExpiresAt"] == after(10 + HOUR).isoformat()
    for secret in (old, new, digest_of(old), digest_of(new)):
        assert secret not in repr(entry)


async def test_every_secret_that_opens_nothing_gets_one_answer_and_leaves_no_trace_but_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "app.access.authenticate")
    api_key, old = await make_key()
    new = await rotated(api_key, 10)
    known = public_id("key", api_key.id)
    refused = {
        "it is unknown": await shown("hg_canary", 20),
        "it was replaced": await shown(old, 20 + HOUR),
        "it is not allowed": await shown(new, 20, "198.51.100.1"),
        "it has expired": await shown(new, 9 * HOUR),
    }
    await revoke_api_key(api_key.id, None)
    refused["it is revoked"] = await shown(new, 20)

    assert len(set(refused.values())) == 1
    stored = await ApiKey.get(id=api_key.id)
    assert (stored.last_used_at, stored.previous_last_used_at) == (None, None)
    for line, reason in zip(caplog.messages, refused, strict=True):
        assert reason in line
        assert (known in line) is ("unknown" not in reason)
    assert not any(secret in caplog.text for secret in ("canary", old, new))


async def test_networks_are_stored_in_one_spelling_and_count_at_once() -> None:
    api_key, text = await make_key()
    changed = await update_api_key(
        api_key.id, {"allowed_networks": ["::ffff:198.51.100.0/120", "2001:DB8::/32"]}, None, now=lambda: NOW
    )

    assert changed.allowed_networks == ["198.51.100.0/24", "2001:db8::/32"]
    inside = [await shown(text, 1, origin) for origin in ("198.51.100.9", "::ffff:198.51.100.9", "2001:db8::1")]
    assert all(isinstance(answer, Principal) for answer in inside)
    assert not isinstance(await shown(text, 1), Principal)
    assert (await authenticate(text, at_the_machine=True, now=lambda: NOW)).api_key_id == api_key.id
    cleared = await update_api_key(api_key.id, {"allowed_networks": None, "expires_at": None}, None)
    assert (cleared.allowed_networks, cleared.expires_at) == (None, None)
    assert isinstance(await shown(text, 1), Principal)


async def test_what_is_wrong_with_networks_names_the_entry() -> None:
    api_key, _ = await make_key()
    limits = KeyLimits(max_networks=4)
    wrong = ["192.0.2.0/24", "10.0.0.1/8", "relay", "::ffff:192.0.2.0/120"]
    for attempt in (
        create_api_key(api_key.role_id, "x", None, None, allowed_networks=wrong, key_limits=limits),
        update_api_key(api_key.id, {"allowed_networks": wrong}, None, key_limits=limits),
    ):
        with pytest.raises(InvalidInput) as refused:
            await attempt
        assert [(problem.field, problem.message.partition(";")[0]) for problem in refused.value.problems] == [
            (("allowedNetworks", "1"), "'10.0.0.1/8' has bits set behind its length"),
            (
                ("allowedNetworks", "2"),
                "'relay' is no IPv4 or IPv6 address or network such as 192.0.2.0/24, 2001:db8::/32 or 192.0.2.7.",
            ),
            (("allowedNetworks", "3"), "'192.0.2.0/24' is there twice."),
        ]
    with pytest.raises(InvalidInput) as many:
        await update_api_key(api_key.id, {"allowed_networks": ["relay"] * 5}, None, key_limits=limits)
    assert [(problem.code, problem.message) for problem in many.value.problems] == [
        (ErrorCode.TOO_LARGE, "allowedNetworks has 5 entries; the limit is 4.")
    ]


async def test_an_expired_key_can_be_renamed_and_given_more_time() -> None:
    api_key, text = await make_key()
    late = after(10 * HOUR)
    assert (await update_api_key(api_key.id, {"name": "old shop"}, None, now=lambda: late)).name == "old shop"
    with pytest.raises(InvalidInput, match="must be in the future"):
        await update_api_key(api_key.id, {"expires_at": late}, None, now=lambda: late)
    await update_api_key(api_key.id, {"expires_at": late + timedelta(hours=1)}, None, now=lambda: late)
    assert isinstance(await shown(text, 10 * HOUR), Principal)
