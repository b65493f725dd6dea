"""By which service a mail leaves: its own, or a fallback while that one's server cannot be talked to.

`message.route_id` says so, and the engines, claims and limits go by it. It changes only while no worker has the mail,
or in the transaction that ends an attempt; and never once it is in doubt whether a server took the mail.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from app.database.connection import as_document, as_key, as_moment, dialect, execute, rows, transaction
from app.database.where import Where
from app.queue.engine import Engine, Job
from app.queue.forgive import forgive_moved
from app.services.circuit import Fault
from app.services.failover import USABLE, Condition, Move, choose_service, plan_moves

if TYPE_CHECKING:
    from app.queue.claim import Claim

NOT_IN_DOUBT = "NOT EXISTS (SELECT 1 FROM attempt WHERE attempt.message_id = message.id AND attempt.in_doubt)"
"""For WHERE: whether it is known that no server took the mail for a recipient who waits."""

ROUTE = (
    "CASE WHEN route_id = service_id THEN NULL ELSE (SELECT name FROM service WHERE service.id = message.route_id) END"
    " AS route_name, service_id, route_id, route_reason"
)
"""For RETURNING, or SELECT: what `via_of` reads."""

_ALLOWED = {
    "sqlite": "(SELECT value FROM json_each(message.fallbacks))",
    "postgres": "(SELECT value FROM jsonb_array_elements_text(message.fallbacks) AS fallback (value))",
}


@dataclass(frozen=True, slots=True)
class Via:
    """The fallback by which a mail leaves, and why not by its own service."""

    own_service_id: UUID
    service_id: UUID
    service_name: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one service now; `reason`: why its server cannot be talked to, `open_since`: since when."""

    name: str
    condition: Condition
    fallbacks: tuple[UUID, ...] = ()
    reason: str | None = None
    open_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """Where a mail stands. `reason`: why not at its own service."""

    service_id: UUID
    reason: str | None = None


def via_of(row: Mapping[str, Any]) -> Via | None:
    """From a row of message with ROUTE; None: it leaves by its own service."""
    own, route = as_key(row["service_id"]), as_key(row["route_id"])
    return None if route == own else Via(own, route, row["route_name"], row["route_reason"])


def stored_keys(keys: Sequence[UUID]) -> str | None:
    """As a JSON column holds them; None for none."""
    return json.dumps([str(key) for key in keys]) if keys else None


def keys_of(document: str | bytes | None) -> tuple[UUID, ...]:
    """What such a column holds."""
    return tuple(map(UUID, as_document(document) or ()))


async def first_route(own: UUID, fallbacks: Sequence[UUID], moment: datetime) -> Route:
    """Where a mail of `own` stands that is accepted at `moment`, if it may leave by these fallbacks."""
    if not fallbacks:
        return Route(own)
    known = await read_known(moment, [own, *fallbacks])
    conditions = {key: service.condition for key, service in known.items()}
    chosen = choose_service(own, fallbacks, conditions)
    return Route(chosen, known[own].reason if chosen != own else None)


@dataclass(slots=True)
class Detour:
    """What becomes of the mail of `claim` when its attempt met `fault`: another `route`, once `find` found one."""

    claim: "Claim"
    fault: Fault | None
    moment: datetime
    route: Route | None = field(default=None, init=False)
    _open_since: datetime | None = field(default=None, init=False)

    async def find(self) -> Route | None:
        """Another route that is usable, unless it is in doubt whether a server has the mail. Call it inside the
        transaction that settles the attempt, before anything of it is written down."""
        claim, self.route = self.claim, None
        if self.fault is None or not claim.fallbacks:
            return None
        known = await read_known(self.moment, [claim.own_service_id, *claim.fallbacks])
        own = known.get(claim.own_service_id)
        if own is None or own.condition is Condition.SHUT or not await self._is_sure():
            return None
        conditions = {key: service.condition for key, service in known.items()} | {claim.service_id: Condition.DOWN}
        allowed = [key for key in own.fallbacks if key in claim.fallbacks]
        chosen = choose_service(claim.own_service_id, allowed, conditions)
        if chosen != claim.service_id and conditions[chosen] in USABLE:
            reason = self.fault.reason if claim.via is None else own.reason or claim.via.reason
            self.route = Route(chosen, None if chosen == claim.own_service_id else reason)
            self._open_since = known[claim.service_id].open_since if claim.service_id in known else None
        return self.route

    async def take(self) -> None:
        """Write it down, inside the same transaction."""
        if self.route is not None:
            await execute(
                "UPDATE message SET route_id = $2, route_reason = $3 WHERE id = $1",
                self.claim.message_id,
                self.route.service_id,
                self.route.reason,
            )
            await forgive_moved([self.claim.message_id], self._open_since, self.moment)

    async def _is_sure(self) -> bool:
        found = await rows(f"SELECT id FROM message WHERE id = $1 AND {NOT_IN_DOUBT}", self.claim.message_id)  # noqa: S608
        return bool(found)


async def divert(engine: Engine, moment: datetime, limit: int) -> int:
    """Move waiting mail away from services that cannot be talked to, and back; how many mails, at most `limit` of each
    service and target."""
    await _adopt()
    known = await read_known(moment)
    elsewhere: dict[UUID, list[UUID]] = {key: [] for key, service in known.items() if service.fallbacks}
    for row in await rows(_ELSEWHERE):
        elsewhere.setdefault(as_key(row["service_id"]), []).append(as_key(row["route_id"]))
    conditions = {key: service.condition for key, service in known.items()}
    moved = 0
    for own, others in elsewhere.items():
        if own in known:
            for move in plan_moves(own, known[own].fallbacks, others, conditions):
                moved += await _move(engine, own, move, known, moment, 1 if move.one else limit)
    return moved


async def _adopt() -> None:
    """What a process of a version without routes accepted, while the database was migrated, stands at its own
    service."""
    if await rows(f"SELECT id FROM message WHERE {_NOWHERE} LIMIT 1"):  # noqa: S608 - constants
        await execute(f"UPDATE message SET route_id = service_id WHERE {_NOWHERE}")  # noqa: S608 - constants


_NOWHERE = "route_id IS NULL AND due_at IS NOT NULL AND service_id IS NOT NULL"


_ELSEWHERE = "SELECT DISTINCT service_id, route_id FROM message WHERE due_at IS NOT NULL AND route_id <> service_id"


async def _move(
    engine: Engine, own: UUID, move: Move, known: Mapping[UUID, Known], moment: datetime, limit: int
) -> int:
    home = move.target == own
    # What is in doubt waits for the service that may have it, but not for one that is gone.
    sure = "" if home and move.source not in known else f" AND {NOT_IN_DOUBT}"
    allowed = "" if home else f" AND fallbacks IS NOT NULL AND $7 IN {_ALLOWED[dialect()]}"
    locked = " FOR UPDATE SKIP LOCKED" if dialect() == "postgres" else ""
    arguments = [own, move.source, move.target, None if home else known[own].reason, moment, limit]
    async with transaction():
        moved = await rows(
            "UPDATE message SET route_id = $3, route_reason = $4 WHERE id IN (SELECT id FROM message"  # noqa: S608
            f" WHERE service_id = $1 AND route_id = $2 AND due_at <= $5 AND lease_owner IS NULL{allowed}"
            f"{sure} ORDER BY due_at, id LIMIT $6{locked}) RETURNING id, due_at, priority",
            *arguments,
            *([] if home else [str(move.target)]),
        )
        since = known[move.source].open_since if move.source in known else None
        await forgive_moved([as_key(row["id"]) for row in moved], since, moment)
        await engine.submit(
            [Job(as_key(row["id"]), move.target, as_moment(row["due_at"]), row["priority"]) for row in moved]
        )
    return len(moved)


async def send_home(service_id: UUID) -> None:
    """The mail of others that stands at this service goes back to its own, which is told by the engine's sweep. Call it
    inside the transaction that deletes the service, once no worker has any of it."""
    await execute(
        "UPDATE message SET route_id = service_id, route_reason = NULL"
        " WHERE route_id = $1 AND service_id <> $1 AND due_at IS NOT NULL",
        service_id,
    )


async def start_at_own(message_id: UUID) -> None:
    """A mail that somebody retries begins with its own service again, unless it is in doubt whether another took it."""
    await execute(
        f"UPDATE message SET route_id = service_id, route_reason = NULL WHERE id = $1 AND ({NOT_IN_DOUBT}"  # noqa: S608
        " OR NOT EXISTS (SELECT 1 FROM service WHERE service.id = message.route_id))",
        message_id,
    )


async def read_known(moment: datetime, service_ids: Sequence[UUID] | None = None) -> dict[UUID, Known]:
    """What is known of these services, None: of all, at `moment`. Those that are gone are not in it."""
    where = Where()
    if service_ids is not None:
        where.add_among("service.id", service_ids)
    found = await rows(
        "SELECT service.id, name, is_active, paused_at, fallbacks, opened_at, probe_at, reason FROM service"  # noqa: S608
        f" LEFT JOIN circuit ON circuit.service_id = service.id{where.clause}",
        *where.arguments,
    )
    return {as_key(row["id"]): _known(row, moment) for row in found}


def _known(row: Mapping[str, Any], moment: datetime) -> Known:
    fallbacks, open_since = keys_of(row["fallbacks"]), as_moment(row["opened_at"])
    return Known(row["name"], _condition(row, moment), fallbacks, row["reason"], open_since)


def _condition(row: Mapping[str, Any], moment: datetime) -> Condition:
    probe_at: datetime | str | None = row["probe_at"]
    if not row["is_active"] or row["paused_at"] is not None:
        return Condition.SHUT
    if probe_at is None:
        return Condition.READY
    if as_moment(probe_at) <= moment:
        return Condition.DUE
    return Condition.PROVING if row["opened_at"] is None else Condition.DOWN
