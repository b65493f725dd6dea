"""Read what lies between waiting mail and its server, for `explain`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from app.database.connection import as_key, as_moment, rows
from app.database.where import Where
from app.queue.explain import Other, Way
from app.queue.heartbeat import last_beat
from app.queue.route import Known, keys_of, read_known
from app.services.circuit import Circuit, read_circuits, read_proofs
from app.services.failover import Condition
from app.services.pacing import COLUMNS
from app.services.usage import Used, read_used, usage_of

COUNTED = 1000


async def read_ways(message_ids: Sequence[UUID], moment: datetime, lost_after: float) -> Mapping[UUID, Way]:
    """The way of each of these messages that still has a service. A worker is lost after `lost_after` silent seconds.

    A handful of queries, however many messages.
    """
    messages = await _count_ahead(message_ids, moment)
    services = list(dict.fromkeys(as_key(row["route_id"]) for row in messages))
    if not services:
        return {}
    columns = await _read_services(services)
    circuits = await read_circuits(services)
    proving = await read_proofs(services)
    known = await _read_others(messages, moment)
    used = dict(zip(services, await read_used(services, moment), strict=True))
    beat = await last_beat()
    has_worker = beat is not None and moment - beat <= timedelta(seconds=lost_after)
    ways = {}
    for row in messages:
        key = as_key(row["route_id"])
        if key in columns:
            way = _way(columns[key], circuits.get(key), proving.get(key), used[key], has_worker)
            lease_until, ahead = as_moment(row["lease_until"]), min(row["ahead"], COUNTED)
            others = _others(row, known)
            ways[as_key(row["id"])] = replace(way, lease_until=lease_until, ahead=ahead, others=others)
    return ways


async def _count_ahead(message_ids: Sequence[UUID], moment: datetime) -> list[dict[str, Any]]:
    where = Where()
    where.add_among("message.id", message_ids)
    where.add("service_id IS NOT NULL")
    now, counted = where.place(moment), where.place(COUNTED)
    first = (
        "(SELECT COUNT(*) FROM (SELECT 1 FROM message AS other WHERE other.route_id = message.route_id"  # noqa: S608
        f" AND other.lease_until IS NULL AND other.due_at <= {now} AND message.due_at <= {now}"
    )
    last = f" LIMIT {counted}) AS those)"
    return await rows(
        f"SELECT id, service_id, route_id, fallbacks, lease_until, {first} AND other.priority < message.priority{last}"  # noqa: S608 - constants
        f" + {first} AND other.priority = message.priority AND other.due_at < message.due_at{last} AS ahead"
        f" FROM message{where.clause}",
        *where.arguments,
    )


async def _read_others(messages: Sequence[Mapping[str, Any]], moment: datetime) -> Mapping[UUID, Known]:
    """What is known of the own services and the fallbacks of those messages that have fallbacks."""
    keys = {
        key for row in messages if row["fallbacks"] for key in (as_key(row["service_id"]), *keys_of(row["fallbacks"]))
    }
    return await read_known(moment, list(keys)) if keys else {}


def _others(row: Mapping[str, Any], known: Mapping[UUID, Known]) -> tuple[Other, ...]:
    own, route = as_key(row["service_id"]), as_key(row["route_id"])
    if own not in known:
        return ()
    allowed = set(keys_of(row["fallbacks"]))
    keys = [own, *(key for key in known[own].fallbacks if key in allowed and key in known)]
    return tuple(
        Other(known[key].name, key == own, known[key].condition is Condition.SHUT, known[key].reason)
        for key in keys
        if key != route
    )


async def _read_services(service_ids: Sequence[UUID]) -> Mapping[UUID, Mapping[str, Any]]:
    where = Where()
    where.add_among("id", service_ids)
    found = await rows(
        f"SELECT id, is_active, paused_at, paused_reason, {', '.join(COLUMNS)} FROM service{where.clause}",  # noqa: S608
        *where.arguments,
    )
    return {as_key(row["id"]): row for row in found}


def _way(
    service: Mapping[str, Any], circuit: Circuit | None, proof_at: datetime | None, used: Used, has_worker: bool
) -> Way:
    return Way(
        is_active=bool(service["is_active"]),
        paused_at=as_moment(service["paused_at"]),
        paused_reason=service["paused_reason"],
        fault=circuit.reason if circuit else None,
        probe_at=circuit.probe_at if circuit else proof_at,
        has_worker=has_worker,
        usages=tuple(usage_of(service, used)),
        counted=COUNTED,
    )
