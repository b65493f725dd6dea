"""Accept a mail: message, recipients, content, idempotency key and event in one transaction."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from tortoise.exceptions import IntegrityError

from app.access.quota import Quota, Standing, take_in_turn
from app.database.connection import as_key, execute, execute_many, in_transaction, rows
from app.database.key import new_key
from app.database.revision import Outdated, read_revision
from app.errors import Conflict, ErrorCode, NotFound, RateLimited, Refusal, Unauthenticated
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


@dataclass(slots=True)  # frozen, it would take several times as long to make
class NewMessage:
    """A mail, checked and composed, ready to be accepted. `content`: the final bytes, or the slices of a large one.
    `fallbacks`: the services by which its author lets it leave while its own one's server cannot be talked to, in this
    order. `revision`: of the facts that it was checked by; None: they may be any."""

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
    revision: int | None = None


@dataclass(slots=True)  # frozen, it would take several times as long to make
class Receipt:
    """The accepted message; `replayed` when the idempotency key had accepted it before. `verdict_awaited`: whether its
    author is to be told what comes of the first attempt. `tightest`: of the limits that it counted in, the one of which
    the least remains. `is_shown`: whether its author may see what it holds and what becomes of it. `accepted`: what was
    put, where that was by this request and queued the mail, at the moment `accepted_at`."""

    message_id: UUID
    replayed: bool = False
    verdict_awaited: bool = False
    is_shown: bool = True
    tightest: Standing | None = None
    accepted: NewMessage | None = field(default=None, repr=False, compare=False)
    accepted_at: datetime | None = field(default=None, compare=False)


Outcome = Receipt | Refusal | Outdated


async def put(message: NewMessage, moment: datetime, engine: Engine) -> Receipt:
    """Accept the message, due when its schedule says. When this returns, it is durable and will be tried.

    It stands at its service, or at a fallback where that cannot be talked to. But while a client awaits the verdict,
    the service's circuit is open, and no fallback is usable, it is settled as failed: the verdict is known, and what is
    told as failed is never sent later.
    Its recipients are taken of its quotas; what was accepted before takes nothing.
    Raises Conflict (the idempotency key belongs to another request), RateLimited, NotFound and Unauthenticated (the
    service, or the API key, is gone meanwhile), and Outdated (the revision is another one by now).
    """
    (outcome,) = await put_together(lambda: [message], lambda: moment, engine)
    if isinstance(outcome, Receipt):
        return outcome
    raise outcome


async def put_together(
    take: Callable[[], Sequence[NewMessage]], clock: Callable[[], datetime], engine: Engine
) -> "list[Outcome]":
    """The same for several messages in one transaction, to each its own answer. `take` says which ones, once it has
    begun; it may be called on another thread. No two have the same idempotency key.

    Raises IntegrityError, and nothing is accepted, where the service or the API key of one of several is gone.
    """
    messages: Sequence[NewMessage] = ()

    async def work() -> list[Outcome]:
        nonlocal messages
        messages = take()
        return await _put(messages, clock(), engine)

    try:
        return await in_transaction(work)
    except _NothingAccepted as nothing:
        return nothing.outcomes
    except IntegrityError:
        if len(messages) == 1:
            await _refuse_what_is_gone(messages[0])
        raise


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


class _NothingAccepted(Exception):
    """Ends the transaction: every message was refused, or had been accepted before."""

    def __init__(self, outcomes: "list[Outcome]") -> None:
        self.outcomes = outcomes


async def _put(messages: Sequence[NewMessage], moment: datetime, engine: Engine) -> list[Outcome]:
    outcomes: dict[UUID, Outcome] = await _outdated(messages)
    placed = [await _place(message, moment) for message in messages if message.id not in outcomes]
    await _insert_messages(placed, moment)
    outcomes |= await _insert_keys(placed, moment)
    # After the keys, on which repeated requests wait: such a one has its receipt though there is no room for another.
    outcomes |= await _take([place for place in placed if place.message.id not in outcomes], moment)
    accepted = [place for place in placed if _is_accepted(outcomes[place.message.id])]
    if not accepted:
        raise _NothingAccepted([outcomes[message.id] for message in messages])
    if len(accepted) < len(placed):
        kept = {place.message.id for place in accepted}
        gone = [(place.message.id,) for place in placed if place.message.id not in kept]
        await execute_many("DELETE FROM message WHERE id = $1", gone)
    await _insert_parts(accepted)
    await record([Happening(EventType.ACCEPTED, place.message.id) for place in accepted], moment)
    for failed in await _enqueue(accepted, moment, engine):
        receipt = outcomes[failed]
        if isinstance(receipt, Receipt):
            outcomes[failed] = replace(receipt, accepted=None, accepted_at=None)
    return [outcomes[message.id] for message in messages]


async def _outdated(messages: Sequence[NewMessage]) -> dict[UUID, Outcome]:
    """The outcomes of those that were judged by facts of another revision than that of now."""
    if all(message.revision is None for message in messages):
        return {}
    revision = await read_revision()
    return {message.id: Outdated() for message in messages if message.revision not in (None, revision)}


def _is_accepted(outcome: Outcome) -> bool:
    return isinstance(outcome, Receipt) and not outcome.replayed


@dataclass(slots=True)  # frozen, it would take several times as long to make
class _Placed:
    """A message with its place in the queue."""

    message: NewMessage
    route: Route
    due_at: datetime


async def _place(message: NewMessage, moment: datetime) -> _Placed:
    due_at = max(message.schedule.send_at or moment, moment)
    return _Placed(message, await first_route(message.service_id, message.fallbacks, moment), due_at)


async def _insert_keys(placed: Sequence[_Placed], moment: datetime) -> dict[UUID, Outcome]:
    """The outcomes of those whose key was there. In one order, so that no two transactions wait for each other."""
    keyed = [(place.message, place.message.idempotency) for place in placed]
    found: dict[UUID, Outcome] = {}
    for message, idempotency in sorted(
        ((message, key) for message, key in keyed if key is not None), key=lambda both: (both[0].role_id, both[1].key)
    ):
        earlier = await _insert_key(message, idempotency, moment)
        if earlier is not None:
            found[message.id] = earlier
    return found


async def _take(placed: Sequence[_Placed], moment: datetime) -> dict[UUID, Outcome]:
    """The outcomes of taking their recipients of the quotas."""
    wanted = [(place.message.quotas, len(place.message.recipients)) for place in placed]
    outcomes: dict[UUID, Outcome] = {}
    for place, taken in zip(placed, await take_in_turn(wanted, moment), strict=True):
        if isinstance(taken, RateLimited):
            outcomes[place.message.id] = taken
        else:
            receipt = Receipt(place.message.id, tightest=taken, accepted=place.message, accepted_at=moment)
            outcomes[place.message.id] = receipt
    return outcomes


async def _enqueue(placed: Sequence[_Placed], moment: datetime, engine: Engine) -> Collection[UUID]:
    """The messages that had their verdict before they could be queued."""
    circuits = await _verdicts(placed, moment)
    jobs = []
    for place in placed:
        message = place.message
        if message.id in circuits:
            await _fail(message.id, circuits[message.id], moment)
        else:
            jobs.append(Job(message.id, place.route.service_id, place.due_at, message.schedule.priority))
    await engine.submit(jobs)
    return circuits.keys()


async def _verdicts(placed: Sequence[_Placed], moment: datetime) -> dict[UUID, Circuit]:
    """The open circuits that decide about mails whose verdict is awaited. A probe that is due has to find out, and a
    server that said 4yz takes it later."""
    awaited = {
        place.message.id: place.message.service_id
        for place in placed
        if place.message.verdict_awaited and place.route.service_id == place.message.service_id
    }
    if not awaited:
        return {}
    circuits = {
        service_id: circuit
        for service_id, circuit in (await read_circuits(sorted(set(awaited.values())))).items()
        if circuit.probe_at > moment and not circuit.for_now
    }
    return {message_id: circuits[service_id] for message_id, service_id in awaited.items() if service_id in circuits}


async def _refuse_what_is_gone(message: NewMessage) -> None:
    if not await rows("SELECT id FROM service WHERE id = $1", message.service_id):
        raise NotFound(
            f"Could not find a service for {message.service_name}",
            code=ErrorCode.SERVICE_NOT_FOUND,
            field=("service",),
        )
    if not await rows("SELECT id FROM api_key WHERE id = $1", message.api_key_id):
        raise Unauthenticated("Invalid API key.", code=ErrorCode.INVALID_API_KEY)


async def _insert_messages(placed: Sequence[_Placed], moment: datetime) -> None:
    await execute_many(_INSERT, [_columns(place, moment) for place in placed])


_COLUMNS = (
    "id, service_id, service_name, role_id, api_key_id, state, priority, message_id_header, reverse_path, smtputf8,"
    " from_email, from_name, subject, metadata, tags, size_bytes, verdict_awaited, on_doubt, scheduled_at, expires_at,"
    " due_at, fence, created_at, template_id, template_name, template_version, route_id, route_reason, fallbacks"
)
_PLACES = ", ".join(f"${number}" for number in range(1, _COLUMNS.count(",") + 2))
_INSERT = f"INSERT INTO message ({_COLUMNS}) VALUES ({_PLACES})"  # noqa: S608 - constants


def _columns(place: _Placed, moment: datetime) -> tuple[object, ...]:
    message, template, schedule = place.message, place.message.template, place.message.schedule
    return (
        message.id,
        message.service_id,
        message.service_name,
        message.role_id,
        message.api_key_id,
        MessageState.QUEUED.value,
        schedule.priority.value,
        message.message_id_header,
        message.reverse_path,
        message.smtputf8,
        message.sender.email,
        message.sender.name,
        message.subject,
        json.dumps(dict(message.metadata)) if message.metadata else "{}",
        json.dumps(list(message.tags)) if message.tags else "[]",
        len(message.content),
        message.verdict_awaited,
        message.on_doubt.value,
        schedule.send_at,
        schedule.expires_at,
        place.due_at,
        0,
        moment,
        template.id if template else None,
        template.name if template else None,
        template.version if template else None,
        place.route.service_id,
        place.route.reason,
        stored_keys(message.fallbacks),
    )


async def _insert_parts(placed: Sequence[_Placed]) -> None:
    contents = [(place.message.id, place.message.content) for place in placed]
    for message_id, content in contents:
        if isinstance(content, SlicedContent):
            await give_content(content, message_id)
    await execute_many(
        "INSERT INTO message_content (message_id, octets) VALUES ($1, $2)",
        [(message_id, content) for message_id, content in contents if isinstance(content, bytes)],
    )
    await execute_many(
        "INSERT INTO recipient (id, message_id, position, kind, email, name, address, state, attempt_number, due_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9)",
        [
            (
                new_key(),
                place.message.id,
                position,
                recipient.kind,
                recipient.email,
                recipient.name,
                recipient.address,
                RecipientState.QUEUED.value,
                place.due_at,
            )
            for place in placed
            for position, recipient in enumerate(place.message.recipients)
        ],
    )


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


async def _insert_key(message: NewMessage, idempotency: Idempotency, moment: datetime) -> Receipt | Refusal | None:
    """None: it is new. Else what the earlier request with this key has got, or that it was another request."""
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
    if inserted:
        return None
    try:
        receipt = await find_receipt(message.role_id, idempotency)
    except Conflict as conflict:
        return conflict
    assert receipt is not None, "the row that was in the way is there"
    return receipt
