"""A service's circuit: open while its server cannot be talked to, so that one probe at a time runs against it.

The table has a row only while that is so, or while new credentials are to be proven; claims look at it, so it holds
over all workers. `version` is the service's version that an attempt used: what it found out about a server that was
changed meanwhile is left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.database.connection import as_key, as_moment, dialect, execute, rows
from app.database.where import Where
from app.mail.reply import Reply, Severity, parts_of, stored_reply


@dataclass(frozen=True, slots=True)
class CircuitPolicy:
    """Seconds: from one probe to the next, and from one AUTH to the next while AUTH is not known to succeed."""

    probe_interval: float = 30
    auth_interval: float = 60


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a server could not be talked to. `reason` holds no secret. `of_auth`: AUTH was refused. `asked`: for how
    many seconds the server asked to be left alone."""

    reason: str
    reply: Reply | None = None
    of_auth: bool = False
    asked: float = 0


@dataclass(frozen=True, slots=True)
class Circuit:
    """An open circuit: since when, why, and from when on the next probe is let through."""

    opened_at: datetime
    reason: str
    reply: Reply | None
    probe_at: datetime

    @property
    def for_now(self) -> bool:
        """The server itself said that it will take mail later (4yz)."""
        return self.reply is not None and self.reply.severity is Severity.TRANSIENT


async def open_circuit(
    service_id: UUID, version: int, fault: Fault, moment: datetime, policy: CircuitPolicy, *, probing: bool
) -> bool:
    """Open the circuit, or keep it open with a new reason; whether it was closed. `probing`: the probe met the fault.

    Call it inside a transaction.
    """
    if not await _keep_version(service_id, version):
        return False
    (row,) = await rows(  # locks it
        "INSERT INTO circuit (service_id, probe_at, auth_after) VALUES ($1, $2, $2) ON CONFLICT (service_id)"
        " DO UPDATE SET service_id = excluded.service_id RETURNING opened_at, auth_after",
        service_id,
        moment,
    )
    auth_after = as_moment(row["auth_after"])
    if fault.of_auth:
        auth_after = moment + timedelta(seconds=policy.auth_interval)
    elif probing:
        auth_after = moment
    await execute(
        "UPDATE circuit SET opened_at = COALESCE(opened_at, $2), reason = $3, reply_code = $4, reply_enhanced = $5,"
        " reply_text = $6, probe_at = $7, auth_after = $8 WHERE service_id = $1",
        service_id,
        moment,
        fault.reason,
        *parts_of(fault.reply),
        max(moment + timedelta(seconds=max(policy.probe_interval, fault.asked)), auth_after),
        auth_after,
    )
    return row["opened_at"] is None


async def _keep_version(service_id: UUID, version: int) -> bool:
    """Whether the service has this version, which it then keeps until the transaction ends.

    Who changes a service locks it, and then its circuit; a new row in `circuit` locks the service too, by its foreign
    key. SQLite has no row locks and needs none.
    """
    lock = " FOR KEY SHARE" if dialect() == "postgres" else ""
    found = await rows(
        f"SELECT id FROM service WHERE id = $1 AND version = $2{lock}",  # noqa: S608 - constants
        service_id,
        version,
    )
    return bool(found)


async def close_circuit(service_id: UUID, version: int) -> datetime | None:
    """A probe reached the server: everything may go. Returns since when the circuit was open, None if it was not."""
    closed = await rows(
        "DELETE FROM circuit WHERE service_id = $1 AND EXISTS"
        " (SELECT 1 FROM service WHERE id = $1 AND version = $2) RETURNING opened_at",
        service_id,
        version,
    )
    opened_at: datetime | str | None = closed[0]["opened_at"] if closed else None
    return as_moment(opened_at)


async def permit_probe(service_id: UUID, moment: datetime, policy: CircuitPolicy) -> bool:
    """Whether the caller is the one that may probe now; if so, nobody else may before the next interval has passed.

    A probe with credentials counts as an AUTH until it is known how far it came.
    """
    found = await rows("SELECT username FROM service WHERE id = $1", service_id)
    with_auth = bool(found) and found[0]["username"] is not None
    until = moment + timedelta(
        seconds=max(policy.probe_interval, policy.auth_interval) if with_auth else policy.probe_interval
    )
    permitted = await execute(
        "UPDATE circuit SET probe_at = $2, auth_after = $3 WHERE service_id = $1 AND probe_at <= $4",
        service_id,
        until,
        until if with_auth else moment,
        moment,
    )
    return permitted == 1


async def permit_auth(service_id: UUID, moment: datetime, policy: CircuitPolicy) -> datetime | None:
    """Whether somebody who sends no mail may try AUTH now: None, and then nobody else may before the next interval has
    passed; else from when on. `end_auth` is to be told what came of it."""
    until = moment + timedelta(seconds=policy.auth_interval)
    permitted = await execute(
        "UPDATE circuit SET auth_after = $2, probe_at = CASE WHEN probe_at > $2 THEN probe_at ELSE $2 END"
        " WHERE service_id = $1 AND auth_after <= $3",
        service_id,
        until,
        moment,
    )
    found = [] if permitted else await rows("SELECT auth_after FROM circuit WHERE service_id = $1", service_id)
    return as_moment(found[0]["auth_after"]) if found else None


async def end_auth(service_id: UUID, version: int, moment: datetime, policy: CircuitPolicy, *, refused: bool) -> None:
    """AUTH was refused: nobody tries it before the next interval has passed, and then one probe has to succeed. Or it
    was not: a probe that is waited for goes at once. Call it inside a transaction."""
    if not await _keep_version(service_id, version):
        return
    if not refused:
        await execute("UPDATE circuit SET auth_after = $2, probe_at = $2 WHERE service_id = $1", service_id, moment)
        return
    await execute(
        "INSERT INTO circuit (service_id, probe_at, auth_after) VALUES ($1, $2, $2) ON CONFLICT (service_id)"
        " DO UPDATE SET auth_after = $2,"
        " probe_at = CASE WHEN circuit.probe_at > $2 THEN circuit.probe_at ELSE $2 END",
        service_id,
        moment + timedelta(seconds=policy.auth_interval),
    )


async def require_proof(service_id: UUID, moment: datetime) -> datetime | None:
    """The service has new credentials: one probe, at once, has to succeed with them before everything may go.

    Call it inside a transaction that has changed the service. Returns since when the circuit was open, None if it was
    not: it does not count as open any more, so whoever calls has to forgive the mail that outage.
    """
    open_since = await forget_circuit(service_id)
    await execute("INSERT INTO circuit (service_id, probe_at, auth_after) VALUES ($1, $2, $2)", service_id, moment)
    return open_since


async def forget_circuit(service_id: UUID) -> datetime | None:
    """The service has another server, and no credentials: what was known does not count any more. Call it, and it
    returns, as `require_proof`."""
    forgotten = await rows("DELETE FROM circuit WHERE service_id = $1 RETURNING opened_at", service_id)
    opened_at: datetime | str | None = forgotten[0]["opened_at"] if forgotten else None
    return as_moment(opened_at)


async def probe_soon(service_id: UUID, moment: datetime) -> datetime | None:
    """Someone asks to try now: the next probe is let through at once, or when AUTH may be tried again.

    Until it is known what it finds, a circuit whose probe goes at once does not count as open. Returns since when it
    was open until now, None if it was not, or stays open. Call it inside a transaction.
    """
    found = await rows(  # locks the row
        "UPDATE circuit SET probe_at = auth_after WHERE service_id = $1 RETURNING opened_at, auth_after", service_id
    )
    if not found or as_moment(found[0]["auth_after"]) > moment:
        return None
    await execute(
        "UPDATE circuit SET probe_at = $2, opened_at = NULL, reason = NULL, reply_code = NULL, reply_enhanced = NULL,"
        " reply_text = NULL WHERE service_id = $1",
        service_id,
        moment,
    )
    opened_at: datetime | str | None = found[0]["opened_at"]
    return as_moment(opened_at)


async def read_circuits(service_ids: Sequence[UUID]) -> Mapping[UUID, Circuit]:
    """The open circuits among those of these services."""
    where = Where()
    where.add_among("service_id", service_ids)
    found = await rows(
        "SELECT service_id, opened_at, reason, reply_code, reply_enhanced, reply_text, probe_at"  # noqa: S608
        f" FROM circuit{where.clause} AND opened_at IS NOT NULL",
        *where.arguments,
    )
    return {
        as_key(row["service_id"]): Circuit(
            opened_at=as_moment(row["opened_at"]),
            reason=row["reason"],
            reply=stored_reply(row["reply_code"], row["reply_enhanced"], row["reply_text"]),
            probe_at=as_moment(row["probe_at"]),
        )
        for row in found
    }


async def read_proofs(service_ids: Sequence[UUID]) -> Mapping[UUID, datetime]:
    """Those of these services whose credentials are to be proven yet, and from when on a mail may do so."""
    where = Where()
    where.add_among("service_id", service_ids)
    found = await rows(
        f"SELECT service_id, probe_at FROM circuit{where.clause} AND opened_at IS NULL",  # noqa: S608 - constants
        *where.arguments,
    )
    return {as_key(row["service_id"]): as_moment(row["probe_at"]) for row in found}


async def probe_what_is_far_off(moment: datetime, longest: float) -> None:
    """Let a probe go at once where a clock that was ahead put it off for more than `longest` seconds from `moment`."""
    await execute(
        "UPDATE circuit SET probe_at = $1, auth_after = $1 WHERE probe_at > $2",
        moment,
        moment + timedelta(seconds=longest),
    )


async def shut_services(moment: datetime) -> set[UUID]:
    """The services of which nothing may be claimed at `moment`, not even as a probe."""
    found = await rows("SELECT service_id FROM circuit WHERE probe_at > $1", moment)
    return {as_key(row["service_id"]) for row in found}
