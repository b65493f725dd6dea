"""Accept a mail: message, recipients, content, idempotency key and event in one transaction."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from tortoise.exceptions import IntegrityError

from app.access.quota import Quota, Standing, take_quotas
from app.database.connection import as_key, execute, execute_many, rows, transaction
from app.database.key import new_key
from app.errors import Conflict, ErrorCode, NotFound, Unauthenticated
from app.events.record import EventType, Happening, record
from app.mail.address import Mailbox
from app.mail.envelope import EnvelopeRecipient
from app.mail.reply import parts_of
from app.queue.content import SlicedContent, give_content
from app.queue.derive import refresh_message
from app.queue.doubt import OnDoubt
from app.queue.engine import Engine, Job
from app.queue.route import Route, first_route, stored_keys
from app.queue.schedule import AT_ONCE, Schedule
from app.queue.states import MessageState, RecipientState
from app.services.circuit import Circuit, read_circuits
from app.templates.content import UsedTemplate


@dataclass(frozen=True, slots=True)
class Idempotency:
    """The author's key as it is stored and, where that differs, as it was given (`named`); the digest of the whole
    request, and since when an earlier use still counts."""

    key: str
    digest: str
    valid_since: datetime
    named: str | None = None


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A mail, checked and composed, ready to be accepted. `content`: the final bytes, or the slices of a large one.
    `fallbacks`: the services by which its author lets it leave while its own one's server cannot be talked to, in this
    order."""

    id: UUID
    service_id: UUID
    service_name: str
    role_id: UUID
    api_key_id: UUID
    message_id_header: str
    reverse_path: str
    smtputf8: bool
    sender: Mailbox
    subject: str | None
    recipients: Sequence[EnvelopeRecipient]
    content: bytes | SlicedContent
    template: UsedTemplate | None = None
    metadata: Mapping[str, object] = field(default_factory=dict)
    tags: Sequence[str] = ()
    schedule: Schedule = AT_ONCE
    on_doubt: OnDoubt = OnDoubt.RETRY
    verdict_awaited: bool = False
    idempotency: Idempotency | None = None
    quotas: Sequence[Quota] = ()
    fallbacks: Sequence[UUID] = ()


@dataclass(frozen=True, slots=True)
class Receipt:
    """The accepted message; `replayed` when the idempotency key had accepted it before. `verdict_awaited`: whether its
    author is to be told what comes of the first attempt. `tightest`: of the limits that it counted in, the one of which
    the least remains. `is_shown`: whether its author may see what it holds and what becomes of it."""

    message_id: UUID
    replayed: bool = False
    verdict_awaited: bool = False
    is_shown: bool = True
    tightest: Standing | None = None


async def put(message: NewMessage, moment: datetime, engine: Engine) -> Receipt:
    """Accept the message, due when its schedule says. When this returns, it is durable and will be tried.

    It stands at its service, or at a fallback where that cannot be talked to. But while a client awaits the verdict,
    the service's circuit is open, and no fallback is usable, it is settled as failed: the verdict is known, and what is
    told as failed is never sent later.
    Its recipients are taken of its quotas; what was accepted before takes nothing.
    Raises Conflict (the idempotency key belongs to another request), RateLimited, NotFound and Unauthenticated (the
    service, or the API key, is gone meanwhile).
    """
    due_at = max(message.schedule.send_at or moment, moment)
    try:
        async with transaction():
            route = await first_route(message.service_id, message.fallbacks, moment)
            await _insert(message, moment, due_at, route)
            if message.idempotency is not None:
                await _insert_key(message, message.idempotency, moment)
            # After the key, on which a repeated request waits: it has its receipt though there is no room for another.
            tightest = await take_quotas(message.quotas, len(message.recipients), moment)
            await _insert_parts(message, due_at)
            await record([Happening(EventType.ACCEPTED, message.id)], moment)
            circuit = await _verdict(message, moment) if route.service_id == message.service_id else None
            if circuit is None:
                await engine.submit([Job(message.id, route.service_id, due_at, message.schedule.priority)])
            else:
                await _fail(message.id, circuit, moment)
    except _AcceptedBefore as before:
        return before.receipt
    except IntegrityError:
        await _refuse_what_is_gone(message)
        raise
    return Receipt(message.id, tightest=tightest)


async def find_receipt(role_id: UUID, idempotency: Idempotency) -> Receipt | None:
    """The receipt of an earlier request with this key and digest. Raises Conflict when the digest differs."""
    found = await rows(
        "SELECT digest, message_id FROM idempotency_key WHERE role_id = $1 AND key = $2 AND created_at >= $3",
        role_id,
        idempotency.key,
        idempotency.valid_since,
    )
    if not found:
        return None
    if found[0]["digest"] != idempotency.digest:
        raise Conflict(
            f"The idempotency key '{idempotency.named or idempotency.key}' was used for another request.",
            code=ErrorCode.IDEMPOTENCY_CONFLICT,
            field=("idempotency_key",),
        )
    return Receipt(as_key(found[0]["message_id"]), replayed=True)


async def _refuse_what_is_gone(message: NewMessage) -> None:
    if not await rows("SELECT id FROM service WHERE id = $1", message.service_id):
        raise NotFound(
            f"Could not find a service for {message.service_name}",
            code=ErrorCode.SERVICE_NOT_FOUND,
            field=("service",),
        )
    if not await rows("SELECT id FROM api_key WHERE id = $1", message.api_key_id):
        raise Unauthenticated("Invalid API key.", code=ErrorCode.INVALID_API_KEY)


class _AcceptedBefore(Exception):
    """Ends the transaction: another request with the same key was faster."""

    def __init__(self, receipt: Receipt) -> None:
        self.receipt = receipt


async def _insert(message: NewMessage, moment: datetime, due_at: datetime, route: Route) -> None:
    template = message.template
    await execute(
        "INSERT INTO message (id, service_id, service_name, role_id, api_key_id, state, priority, message_id_header,"
        " reverse_path, smtputf8, from_email, from_name, subject, metadata, tags, size_bytes, verdict_awaited,"
        " on_doubt, scheduled_at, expires_at, due_at, fence, created_at, template_id, template_name, template_version,"
        " route_id, route_reason, fallbacks)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, 0,"
        " $22, $23, $24, $25, $26, $27, $28)",
        message.id,
        message.service_id,
        message.service_name,
        message.role_id,
        message.api_key_id,
        MessageState.QUEUED.value,
        message.schedule.priority.value,
        message.message_id_header,
        message.reverse_path,
        message.smtputf8,
        message.sender.email,
        message.sender.name,
        message.subject,
        json.dumps(dict(message.metadata)),
        json.dumps(list(message.tags)),
        len(message.content),
        message.verdict_awaited,
        message.on_doubt.value,
        message.schedule.send_at,
        message.schedule.expires_at,
        due_at,
        moment,
        template.id if template else None,
        template.name if template else None,
        template.version if template else None,
        route.service_id,
        route.reason,
        stored_keys(message.fallbacks),
    )


async def _insert_parts(message: NewMessage, due_at: datetime) -> None:
    if isinstance(message.content, SlicedContent):
        await give_content(message.content, message.id)
    else:
        await execute("INSERT INTO message_content (message_id, octets) VALUES ($1, $2)", message.id, message.content)
    await execute_many(
        "INSERT INTO recipient (id, message_id, position, kind, email, name, address, state, attempt_number, due_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9)",
        [
            (
                new_key(),
                message.id,
                position,
                recipient.kind,
                recipient.email,
                recipient.name,
                recipient.address,
                RecipientState.QUEUED.value,
                due_at,
            )
            for position, recipient in enumerate(message.recipients)
        ],
    )


async def _verdict(message: NewMessage, moment: datetime) -> Circuit | None:
    """The open circuit that decides about a mail whose verdict is awaited. A probe that is due has to find out, and a
    server that said 4yz takes it later."""
    if not message.verdict_awaited:
        return None
    circuit = (await read_circuits([message.service_id])).get(message.service_id)
    return circuit if circuit is not None and circuit.probe_at > moment and not circuit.for_now else None


async def _fail(message_id: UUID, circuit: Circuit, moment: datetime) -> None:
    failed = await rows(
        "UPDATE recipient SET state = $2, due_at = NULL, settled_at = $3, detail = $4, reply_code = $5,"
        " reply_enhanced = $6, reply_text = $7 WHERE message_id = $1 RETURNING id",
        message_id,
        RecipientState.FAILED.value,
        moment,
        circuit.reason,
        *parts_of(circuit.reply),
    )
    await execute("UPDATE message SET verdict_awaited = $2 WHERE id = $1", message_id, False)
    await record([Happening(EventType.FAILED, message_id, as_key(row["id"])) for row in failed], moment)
    await refresh_message(message_id, moment)


async def _insert_key(message: NewMessage, idempotency: Idempotency, moment: datetime) -> None:
    await execute(
        "DELETE FROM idempotency_key WHERE role_id = $1 AND key = $2 AND created_at < $3",
        message.role_id,
        idempotency.key,
        idempotency.valid_since,
    )
    inserted = await rows(
        "INSERT INTO idempotency_key (id, role_id, key, digest, message_id, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (role_id, key) DO NOTHING RETURNING id",
        new_key(),
        message.role_id,
        idempotency.key,
        idempotency.digest,
        message.id,
        moment,
    )
    if not inserted:
        receipt = await find_receipt(message.role_id, idempotency)
        assert receipt is not None, "the row that was in the way is there"
        raise _AcceptedBefore(receipt)
