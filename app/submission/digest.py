"""What an idempotency key stands for: the whole request, attachments too."""

import hashlib
import json
from dataclasses import fields
from datetime import datetime

from msgspec import Struct, structs

from app.access.principal import Principal
from app.errors import InvalidInput
from app.mail.draft import Attachment, Draft
from app.mail.octets import pieces_of
from app.queue.doubt import OnDoubt
from app.queue.schedule import AT_ONCE, Schedule


def digest_request(
    service_name: str, draft: Draft, schedule: Schedule = AT_ONCE, on_doubt: OnDoubt = OnDoubt.RETRY
) -> str:
    """SHA-256, in hex, of the service, every field of the draft, the schedule and `on_doubt`, as the author gave them.

    Raises InvalidInput where a value nests too deeply to be written down.
    """
    request = structs.asdict(draft)
    request["service"] = service_name.lower()
    request["schedule"] = schedule
    request["on_doubt"] = on_doubt
    request["attachments"] = [_attachment(attachment) for attachment in draft.attachments]
    try:
        canonical = json.dumps(request, sort_keys=True, default=_plain, ensure_ascii=True)
    except RecursionError:
        raise InvalidInput("The values for placeholders, or the metadata, nest too deeply.") from None
    return hashlib.sha256(canonical.encode()).hexdigest()


def key_of_page(principal: Principal, key: str) -> str:
    """The idempotency key of a browser key's request as it is stored: a room of its own for what everybody may choose,
    or somebody would use up the keys that other clients of the role are about to use."""
    return f"page {hashlib.sha256(f'{principal.api_key_id.hex} {key}'.encode()).hexdigest()}"


def _attachment(attachment: Attachment) -> list[str | None]:
    content = hashlib.sha256()
    for piece in pieces_of(attachment.content):
        content.update(piece)
    return [attachment.name, content.hexdigest(), attachment.content_type, attachment.content_id]


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Struct):
        return structs.asdict(value)
    return {field.name: getattr(value, field.name) for field in fields(value)}  # type: ignore[arg-type]
