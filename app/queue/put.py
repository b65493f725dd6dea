"""Accept a mail: message, recipients, content, idempotency key and event in one transaction."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from msgspec import Struct, field
from tortoise.exceptions import IntegrityError

from app.access.quota import Quota, Standing, lock_quotas, take_in_turn
from app.database.connection import as_key, dialect, execute, execute_many, in_transaction, insert, rows
from app.database.key import new_key
from app.database.revision import Outdated, read_revision
from app.errors import Conflict, ErrorCode, NotFound, RateLimited, Refusal, Unauthenticated
from app.events.record import EventType, Happening, record
from app.limits.counter import Taken
from app.mail.address import Mailbox
from app.mail.envelope import EnvelopeRecipient
from app.mail.reply import parts_of
from app.queue.content import SlicedContent
from app.queue.derive import refresh_message
from app.queue.doubt import OnDoubt
from app.queue.engine import Engine
from app.queue.placed import Placed, accepted_rows, at_own_service, by_key, give_large_contents, jobs_of, message_rows
from app.queue.put_at_once import put_at_once
from app.queue.route import first_route
from app.queue.schedule import AT_ONCE, Schedule
from app.queue.states import RecipientState
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


class NewMessage(Struct, frozen=True):
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
    accepted: NewMessage | None = dataclasses.field(default=None, repr=False, compare=False)
    accepted_at: datetime | None = dataclasses.field(default=None, compare=False)


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
        messages = messages or take()
        return await _put(messages, clock(), engine) if messages else []

    if dialect() == "postgres":
        messages = take()
        if not messages:
            return []
        moment = clock()
        standings = await put_at_once(messages, moment, engine)
        if standings is not None:
            return [_receipt(message, standing, moment) for message, standing in zip(messages, standings, strict=True)]
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
    placed = await _in_place(messages, moment)
    going = [place for place in placed if place.outcome is None]
    keyed = any(place.message.idempotency is not None for place in going)
    if keyed:
        # Whoever holds keys waits for no quota: what is put at once has the quotas before the keys.
        await lock_quotas([place.message.quotas for place in going])
        await insert(message_rows(going, moment))
        await _insert_keys(going, moment)
    # After the keys, on which repeated requests wait: such a one has its receipt though there is no room for another.
    takes = await _take([place for place in going if place.outcome is None], moment)
    accepted = [place for place in going if _is_accepted(place)]
    if not accepted:
        raise _NothingAccepted(_outcomes(placed))
    if keyed:
        await execute_many(
            "DELETE FROM message WHERE id = $1", [(place.key,) for place in going if not _is_accepted(place)]
        )
    circuits = await _verdicts(accepted, moment)
    # Those whose verdict is known before they could be queued have none.
    jobs = jobs_of([place for place in accepted if place.message.id not in circuits] if circuits else accepted)
    job_rows = engine.rows_of(jobs)
    await insert(
        *([] if keyed else [message_rows(accepted, moment)]),
        *accepted_rows(accepted, takes, moment),
        *([job_rows] if job_rows else []),
    )
    await give_large_contents(accepted)
    if circuits:
        await _fail_at_once(accepted, circuits, moment)
    if job_rows is None:
        await engine.submit(jobs)
    return _outcomes(placed)


def _is_accepted(place: Placed) -> bool:
    """Whether it is, by this transaction."""
    return isinstance(place.outcome, Receipt) and not place.outcome.replayed


def _outcomes(placed: Sequence[Placed]) -> list[Outcome]:
    return [place.outcome for place in placed if place.outcome is not None]


async def _in_place(messages: Sequence[NewMessage], moment: datetime) -> list[Placed]:
    """Those that were judged by facts of another revision than that of now have their outcome."""
    revision = None
    if any(message.revision is not None for message in messages):
        revision = await read_revision()
    placed = []
    for message in messages:
        place = at_own_service(message, moment)
        if message.revision is not None and message.revision != revision:
            place.outcome = Outdated()
        elif message.fallbacks:
            route = await first_route(message.service_id, message.fallbacks, moment)
            place.route_id, place.route_reason = route.service_id, route.reason
        placed.append(place)
    return placed


async def _insert_keys(placed: Sequence[Placed], moment: datetime) -> None:
    """Those whose key was there have their outcome."""
    for place, idempotency in by_key(placed):
        place.outcome = await _insert_key(place.message, idempotency, moment)


async def _take(placed: Sequence[Placed], moment: datetime) -> list[Taken]:
    """Of the quotas, and what is to be counted of it; all of them have their outcome then."""
    outcomes, takes = await take_in_turn(
        [(place.message.quotas, len(place.message.recipients)) for place in placed], moment
    )
    for place, taken in zip(placed, outcomes, strict=True):
        message = place.message
        if isinstance(taken, RateLimited):
            place.outcome = taken
        else:
            place.outcome = _receipt(message, taken, moment)
    return takes


def _receipt(message: NewMessage, tightest: Standing | None, moment: datetime) -> Receipt:
    return Receipt(message.id, False, False, True, tightest, message, moment)  # by name, it takes twice as long


async def _fail_at_once(placed: Sequence[Placed], circuits: Mapping[UUID, Circuit], moment: datetime) -> None:
    """Those whose verdict is known, which are no news of a queued mail either."""
    for place in placed:
        message_id = place.message.id
        if message_id in circuits:
            await _fail(message_id, circuits[message_id], moment)
            if isinstance(place.outcome, Receipt):
                place.outcome = dataclasses.replace(place.outcome, accepted=None, accepted_at=None)


async def _verdicts(placed: Sequence[Placed], moment: datetime) -> dict[UUID, Circuit]:
    """The open circuits that decide about mails whose verdict is awaited. A probe that is due has to find out, and a
    server that said 4yz takes it later."""
    awaited = {
        place.message.id: place.message.service_id
        for place in placed
        if place.message.verdict_awaited and place.route_id == place.message.service_id
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
