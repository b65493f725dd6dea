"""An API key gets a new secret; the old one may go on working for a while."""

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from app import clock
from app.access.announce import announce_change
from app.access.api_keys import get_api_key
from app.access.check import DEFAULT_KEY_LIMITS, KeyLimits, check_overlap, refuse
from app.access.facts import key_facts, key_subject
from app.access.models import ApiKey
from app.access.policy import require_manage
from app.access.principal import Action, Principal
from app.access.raw_key import digest_of, new_raw_key, prefix_of
from app.audit.record import AuditAction, record
from app.database.connection import transaction
from app.errors import Conflict, ErrorCode


async def rotate_api_key(
    api_key_id: UUID,
    overlap: float | None,
    by: Principal | None,
    *,
    key_limits: KeyLimits = DEFAULT_KEY_LIMITS,
    now: Callable[[], datetime] = clock.now,
) -> tuple[ApiKey, str]:
    """The API key, and its new secret, which cannot be read again. The old one works for `overlap` more seconds.

    A present secret that was never used while the one before it still works is the one that goes: whoever lost it asks
    again, and the one before it works no shorter for that, unless the overlap is 0. Raises NotFound, Forbidden,
    InvalidInput, Conflict WRONG_STATE for a key that opens nothing, and where the overlap of an earlier rotation would
    be cut short, and Conflict IN_USE without an overlap for the key that asks: its answer may get lost.
    """
    require_manage(by, Action.MANAGE_ACCESS)
    seconds = key_limits.overlap if overlap is None else overlap
    refuse(check_overlap(seconds, key_limits))
    if by is not None and by.api_key_id == api_key_id and not seconds:
        message = "The API key is the one this request came with; give it an overlap, or another key has to rotate it."
        raise Conflict(message, field=("overlapSeconds",))
    text = new_raw_key()
    async with transaction():
        await ApiKey.filter(id=api_key_id).select_for_update().first()
        api_key, moment = await get_api_key(api_key_id), now()
        _refuse_closed(api_key, moment)
        before = key_facts(api_key, api_key.role.name)
        _replace_secret(api_key, text, moment, seconds)
        await api_key.save()
        after = key_facts(api_key, api_key.role.name)
        await record(by, AuditAction.ROTATE_API_KEY, key_subject(api_key), moment, before=before, after=after)
        await announce_change()
    return api_key, text


def _refuse_closed(api_key: ApiKey, moment: datetime) -> None:
    if api_key.revoked_at is not None:
        raise Conflict("The API key is revoked; make a new one.", code=ErrorCode.WRONG_STATE)
    if api_key.expires_at is not None and moment >= api_key.expires_at:
        message = "The API key has expired; give it a later expiry first, or make a new one."
        raise Conflict(message, code=ErrorCode.WRONG_STATE)


def _replace_secret(api_key: ApiKey, text: str, moment: datetime, seconds: float) -> None:
    earlier, was_used = api_key.previous_expires_at, api_key.last_used_at is not None
    overlaps_until = earlier if earlier is not None and moment < earlier else None
    if overlaps_until and was_used and seconds:
        raise _would_cut_short(api_key.previous_prefix, overlaps_until)
    ends_at = moment + timedelta(seconds=seconds)
    if overlaps_until is None or was_used:
        api_key.previous_digest, api_key.previous_prefix = api_key.digest, api_key.prefix
        api_key.previous_last_used_at = api_key.last_used_at
    elif seconds:
        ends_at = max(ends_at, overlaps_until)
    api_key.previous_expires_at = ends_at
    api_key.digest, api_key.prefix, api_key.last_used_at = digest_of(text), prefix_of(text), None


def _would_cut_short(prefix: str | None, ends_at: datetime) -> Conflict:
    message = (
        f"The secret before this one, {prefix}…, works until {ends_at.isoformat(timespec='seconds')}; a key has two"
        " secrets at most. Wait until then, or let overlapSeconds be 0, which ends both at once."
    )
    return Conflict(message, code=ErrorCode.WRONG_STATE, field=("overlapSeconds",))
