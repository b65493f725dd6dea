"""Make, activate, retire and remove DKIM keys.

What changes something takes the principal who asks, `by`, and needs MANAGE_SERVICES for all services: mail of every
service is signed with these keys. None is the operator at the machine, who may do everything.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

from tortoise.exceptions import IntegrityError

from app import clock
from app.access.policy import require_manage
from app.access.principal import Action, Principal
from app.audit.record import AuditAction, record
from app.database.connection import transaction
from app.domains.domain import key_selector, sender_domain
from app.domains.facts import dkim_facts, dkim_subject
from app.domains.key_pair import algorithm_of, generate_key, key_name, private_text, public_text, read_key
from app.domains.models import DkimAlgorithm, DkimKey, DkimKeyState
from app.domains.published import published_key
from app.errors import Conflict, ErrorCode, NotFound
from app.mail.dkim import PrivateKey
from app.outbound.dns import LookUp
from app.services.secret import Sealer


async def generate_dkim_key(
    domain: str,
    selector: str,
    algorithm: DkimAlgorithm,
    by: Principal | None,
    sealer: Sealer,
    *,
    subdomains: bool = False,
    now: Callable[[], datetime] = clock.now,
) -> DkimKey:
    """A new key, which signs nothing yet. Raises Forbidden, InvalidInput, Conflict NAME_TAKEN."""
    require_manage(by, Action.MANAGE_SERVICES)
    found = _new_key(domain, selector, subdomains, now())
    private = await asyncio.to_thread(generate_key, algorithm)
    return await _insert(found, private, by, AuditAction.GENERATE_DKIM_KEY, sealer)


async def import_dkim_key(
    domain: str,
    selector: str,
    pem: str,
    by: Principal | None,
    sealer: Sealer,
    *,
    subdomains: bool = False,
    now: Callable[[], datetime] = clock.now,
) -> DkimKey:
    """The key in the PEM text, which signs nothing yet. Raises Forbidden, InvalidInput, Conflict NAME_TAKEN."""
    require_manage(by, Action.MANAGE_SERVICES)
    found = _new_key(domain, selector, subdomains, now())
    private = await asyncio.to_thread(read_key, pem)
    return await _insert(found, private, by, AuditAction.IMPORT_DKIM_KEY, sealer)


async def activate_dkim_key(
    key_id: UUID,
    by: Principal | None,
    look_up: LookUp,
    *,
    force: bool = False,
    now: Callable[[], datetime] = clock.now,
) -> DkimKey:
    """The key, which signs from now on; the one of its domain and algorithm that did is retired.

    Unless by `force`, only a key whose record is in the DNS. Raises Forbidden, NotFound, Conflict WRONG_STATE.
    """
    require_manage(by, Action.MANAGE_SERVICES)
    if not force:
        await _require_published(await get_dkim_key(key_id), look_up)
    async with _changing(key_id) as key:
        if key.state != DkimKeyState.ACTIVE:
            moment = now()
            await _retire_active(key, by, moment)
            before = dkim_facts(key)
            key.state, key.activated_at, key.retired_at = DkimKeyState.ACTIVE, moment, None
            await key.save()
            action, subject = AuditAction.ACTIVATE_DKIM_KEY, dkim_subject(key)
            await record(by, action, subject, moment, before=before, after=dkim_facts(key))
    return key


async def retire_dkim_key(key_id: UUID, by: Principal | None, *, now: Callable[[], datetime] = clock.now) -> DkimKey:
    """The key, which signs no more. Raises Forbidden, NotFound, Conflict WRONG_STATE for one that did not."""
    require_manage(by, Action.MANAGE_SERVICES)
    async with _changing(key_id) as key:
        if key.state != DkimKeyState.ACTIVE:
            raise Conflict("The key is not active.", code=ErrorCode.WRONG_STATE, field=("id",))
        await _retire(key, by, now())
    return key


async def delete_dkim_key(key_id: UUID, by: Principal | None, *, now: Callable[[], datetime] = clock.now) -> None:
    """Remove a key that does not sign. Raises Forbidden, NotFound, Conflict WRONG_STATE."""
    require_manage(by, Action.MANAGE_SERVICES)
    async with _changing(key_id) as key:
        if key.state == DkimKeyState.ACTIVE:
            raise Conflict("The key is active; retire it first.", code=ErrorCode.WRONG_STATE, field=("id",))
        await DkimKey.filter(id=key_id).delete()
        await record(by, AuditAction.DELETE_DKIM_KEY, dkim_subject(key), now(), before=dkim_facts(key))


async def get_dkim_key(key_id: UUID) -> DkimKey:
    """Raises NotFound."""
    key = await DkimKey.get_or_none(id=key_id)
    if key is None:
        raise no_such_key()
    return key


async def list_dkim_keys(domain: str | None, after: UUID | None, limit: int) -> list[DkimKey]:
    """At most `limit` keys, of one domain if it is given, in the order they were made, from the one behind `after`."""
    query = DkimKey.all() if domain is None else DkimKey.filter(domain=domain)
    if after is not None:
        query = query.filter(id__gt=after)
    return await query.order_by("id").limit(limit)


def no_such_key() -> NotFound:
    """Says that it does not exist, or was deleted meanwhile."""
    return NotFound("There is no such DKIM key.", field=("id",))


def _new_key(domain: str, selector: str, subdomains: bool, moment: datetime) -> DkimKey:
    name = sender_domain(domain)
    return DkimKey(
        domain=name,
        selector=key_selector(selector, name),
        state=DkimKeyState.NEW,
        subdomains=subdomains,
        created_at=moment,
    )


async def _insert(
    key: DkimKey, private: PrivateKey, by: Principal | None, action: AuditAction, sealer: Sealer
) -> DkimKey:
    key.algorithm, key.public_key = algorithm_of(private), public_text(private)
    key.sealed_private_key = sealer.seal(private_text(private), key.id)
    try:
        async with transaction():
            await key.save(force_create=True)
            await record(by, action, dkim_subject(key), key.created_at, after=dkim_facts(key))
    except IntegrityError:
        if await DkimKey.filter(domain=key.domain, selector=key.selector).exists():
            message = f"The domain {key.domain} has a key with the selector {key.selector} already."
            raise Conflict(message, code=ErrorCode.NAME_TAKEN, field=("selector",)) from None
        raise
    return key


async def _require_published(key: DkimKey, look_up: LookUp) -> None:
    found = await published_key(key, look_up)
    if not found.matches:
        name = key_name(key.domain, key.selector)
        message = f"{found.sentence} Publish the record at {name} first, or activate the key with force."
        raise Conflict(message, code=ErrorCode.WRONG_STATE, field=("id",), retryable=True)


@asynccontextmanager
async def _changing(key_id: UUID) -> AsyncIterator[DkimKey]:
    """A transaction that holds all keys of the key's domain, so that one change comes after the other."""
    async with transaction():
        domain = await DkimKey.filter(id=key_id).values_list("domain", flat=True)
        keys = await DkimKey.filter(domain__in=domain).order_by("id").select_for_update()
        key = next((key for key in keys if key.id == key_id), None)
        if key is None:
            raise no_such_key()
        yield key


async def _retire_active(successor: DkimKey, by: Principal | None, moment: datetime) -> None:
    same = {"domain": successor.domain, "algorithm": successor.algorithm, "state": DkimKeyState.ACTIVE.value}
    for key in await DkimKey.filter(**same):
        await _retire(key, by, moment)


async def _retire(key: DkimKey, by: Principal | None, moment: datetime) -> None:
    before = dkim_facts(key)
    key.state, key.retired_at = DkimKeyState.RETIRED, moment
    await key.save()
    await record(by, AuditAction.RETIRE_DKIM_KEY, dkim_subject(key), moment, before=before, after=dkim_facts(key))
