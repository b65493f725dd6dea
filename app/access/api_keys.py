"""API keys: made, changed, revoked and read. `by` is as in manage.py."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypedDict
from uuid import UUID

from tortoise.exceptions import IntegrityError

from app import clock
from app.access.announce import announce_change
from app.access.browser import BrowserLimits, BrowserRules, browser_columns
from app.access.browser import canonical as canonical_rules
from app.access.browser_templates import browser_problems
from app.access.check import (
    DEFAULT_KEY_LIMITS,
    KeyLimits,
    check_api_key,
    check_api_key_changes,
    refuse,
)
from app.access.facts import key_facts, key_subject
from app.access.models import ApiKey, Role
from app.access.networks import canonical, is_within
from app.access.policy import require_manage
from app.access.principal import Action, Principal
from app.access.raw_key import digest_of, new_raw_key, prefix_of
from app.audit.record import AuditAction, record
from app.database.connection import transaction
from app.errors import Conflict, NotFound
from app.limits.recipients import NO_LIMITS, RecipientLimits, columns_of, given_limits


class ApiKeyChanges(TypedDict, total=False):
    """What to change of an API key; what is absent stays. `limits` replaces all limits, `allowed_networks` all
    networks; None and no networks: any."""

    name: str
    expires_at: datetime | None
    limits: RecipientLimits
    allowed_networks: Sequence[str] | None


_DEFAULT_BROWSER_LIMITS = BrowserLimits()


async def create_api_key(
    role_id: UUID,
    name: str,
    expires_at: datetime | None,
    by: Principal | None,
    *,
    raw_key: str | None = None,
    limits: RecipientLimits = NO_LIMITS,
    allowed_networks: Sequence[str] = (),
    key_limits: KeyLimits = DEFAULT_KEY_LIMITS,
    browser: BrowserRules | None = None,
    browser_limits: BrowserLimits = _DEFAULT_BROWSER_LIMITS,
    now: Callable[[], datetime] = clock.now,
) -> tuple[ApiKey, str]:
    """A new API key of the role, and its text, which is stored nowhere and cannot be read again.

    `raw_key` is a text the operator chose; without one, it is random. `browser` makes it a browser key. Raises
    InvalidInput with every problem, Forbidden, and Conflict IN_USE where a key has this text, or had it before it was
    rotated.
    """
    require_manage(by, Action.MANAGE_ACCESS)
    moment = now()
    role = await Role.get_or_none(id=role_id)
    exists = role is not None
    problems = check_api_key(name, expires_at, raw_key, exists, moment, limits, allowed_networks, key_limits)
    refuse((*problems, *await browser_problems(browser, browser_limits)))
    assert role is not None, "it was checked"
    text = raw_key or new_raw_key()
    api_key = ApiKey(
        name=name.strip(),
        role_id=role_id,
        prefix=prefix_of(text),
        digest=digest_of(text),
        created_at=moment,
        expires_at=expires_at,
        allowed_networks=_stored_networks(allowed_networks),
        **columns_of(limits),
        **browser_columns(browser and canonical_rules(browser)),
    )
    try:
        async with transaction():
            if await ApiKey.exists(previous_digest=api_key.digest):  # one text would be two keys
                raise _exists_already()
            await api_key.save(force_create=True)
            facts = key_facts(api_key, role.name)
            await record(by, AuditAction.CREATE_API_KEY, key_subject(api_key), moment, after=facts)
    except IntegrityError:
        if await ApiKey.exists(digest=api_key.digest):
            raise _exists_already() from None
        raise
    return api_key, text


async def update_api_key(
    api_key_id: UUID,
    changes: ApiKeyChanges,
    by: Principal | None,
    *,
    key_limits: KeyLimits = DEFAULT_KEY_LIMITS,
    now: Callable[[], datetime] = clock.now,
) -> ApiKey:
    """The changed key; new limits count from now on, and what is open from elsewhere than new networks is closed.

    Raises NotFound, Forbidden, InvalidInput with every problem, and Conflict IN_USE for networks of the key that asks
    from which it does not ask.
    """
    require_manage(by, Action.MANAGE_ACCESS)
    async with transaction():
        api_key = await ApiKey.filter(id=api_key_id).select_for_update().first()
        if api_key is None:
            raise _no_such_key()
        name, limits = changes.get("name", api_key.name), changes.get("limits", given_limits(vars(api_key)))
        networks, moment = changes.get("allowed_networks", api_key.allowed_networks) or (), now()
        refuse(check_api_key_changes(name, limits, changes.get("expires_at"), moment, networks, key_limits))
        if by is not None and by.api_key_id == api_key_id:
            _refuse_locking_out(by.origin, networks)
        role = await Role.get(id=api_key.role_id)
        before = key_facts(api_key, role.name)
        api_key.update_from_dict({"name": name.strip(), **columns_of(limits)})
        api_key.expires_at = changes.get("expires_at", api_key.expires_at)
        api_key.allowed_networks = _stored_networks(networks)
        await api_key.save()
        after = key_facts(api_key, role.name)
        await record(by, AuditAction.UPDATE_API_KEY, key_subject(api_key), moment, before=before, after=after)
        await announce_change()
    return await get_api_key(api_key_id)


async def revoke_api_key(api_key_id: UUID, by: Principal | None, *, now: Callable[[], datetime] = clock.now) -> ApiKey:
    """The key, which from now on opens nothing; one that was revoked before keeps its time.

    Raises NotFound, Forbidden, Conflict IN_USE for the key that asks.
    """
    require_manage(by, Action.MANAGE_ACCESS)
    if by is not None and by.api_key_id == api_key_id:
        raise Conflict("The API key is the one this request came with; another key has to revoke it.")
    async with transaction():
        found = await ApiKey.filter(id=api_key_id).select_for_update().first()
        if found is None:
            raise _no_such_key()
        earlier, moment = found.revoked_at, now()
        await ApiKey.filter(id=api_key_id, revoked_at=None).update(revoked_at=moment)
        facts = ({"revokedAt": earlier}, {"revokedAt": earlier or moment})
        await record(by, AuditAction.REVOKE_API_KEY, key_subject(found), moment, before=facts[0], after=facts[1])
        await announce_change()
    return await get_api_key(api_key_id)


async def get_api_key(api_key_id: UUID) -> ApiKey:
    """What is stored of the key, with its role. Raises NotFound."""
    api_key = await ApiKey.get_or_none(id=api_key_id).prefetch_related("role")
    if api_key is None:
        raise _no_such_key()
    return api_key


async def list_api_keys(after: UUID | None, limit: int, role_id: UUID | None = None) -> list[ApiKey]:
    """At most `limit` keys, of one role or of all, in the order they were made, from the one behind `after`."""
    query = ApiKey.all() if after is None else ApiKey.filter(id__gt=after)
    if role_id is not None:
        query = query.filter(role_id=role_id)
    return await query.order_by("id").limit(limit).prefetch_related("role")


def _exists_already() -> Conflict:
    return Conflict("This API key exists already.")


def _no_such_key() -> NotFound:
    return NotFound("There is no such API key.")


def _refuse_locking_out(origin: str | None, networks: Sequence[str]) -> None:
    if not is_within(origin, [canonical(network) for network in networks]):
        message = f"The API key is the one this request came with, from {origin}, which is in none of the networks."
        raise Conflict(message, field=("allowedNetworks",))


def _stored_networks(networks: Sequence[str]) -> list[str] | None:
    return [canonical(network) for network in networks] or None
