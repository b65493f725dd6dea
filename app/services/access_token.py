"""The stored access token of a service, and the lease of whoever requests the next one.

Statements of their own, each atomic: nobody waits for the network inside a transaction.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from app.database.connection import as_moment, execute, rows


@dataclass(frozen=True, slots=True)
class StoredToken:
    """The sealed token, if there is one; from `refresh_at` on it is to be replaced, from `expires_at` on dead."""

    sealed: str | None = field(default=None, repr=False)
    refresh_at: datetime | None = None
    expires_at: datetime | None = None


async def read_token(service_id: UUID) -> StoredToken:
    """What is stored for the service now."""
    found = await rows(
        "SELECT sealed_token, refresh_at, expires_at FROM access_token WHERE service_id = $1", service_id
    )
    if not found:
        return StoredToken()
    return StoredToken(found[0]["sealed_token"], as_moment(found[0]["refresh_at"]), as_moment(found[0]["expires_at"]))


async def take_lease(service_id: UUID, seen: StoredToken, owner: UUID, moment: datetime, seconds: float) -> bool:
    """Whether `owner` may request the next token, for so many seconds: nobody else does, and the one that was `seen` is
    still the newest."""
    taken = await rows(
        "INSERT INTO access_token (service_id, lease_owner, lease_until) VALUES ($1, $2, $3)"
        " ON CONFLICT (service_id) DO UPDATE SET lease_owner = excluded.lease_owner, lease_until = excluded.lease_until"
        " WHERE (access_token.lease_until IS NULL OR access_token.lease_until <= $4)"
        " AND COALESCE(access_token.sealed_token, '') = $5 RETURNING service_id",
        service_id,
        owner,
        moment + timedelta(seconds=seconds),
        moment,
        seen.sealed or "",
    )
    return bool(taken)


async def keep_token(service_id: UUID, owner: UUID, token: StoredToken) -> bool:
    """Store the token and end the lease; False, and nothing is stored, where that is not the owner's any more."""
    stored = await execute(
        "UPDATE access_token SET sealed_token = $3, refresh_at = $4, expires_at = $5, lease_owner = NULL,"
        " lease_until = NULL WHERE service_id = $1 AND lease_owner = $2",
        service_id,
        owner,
        token.sealed,
        token.refresh_at,
        token.expires_at,
    )
    return bool(stored)


async def end_lease(service_id: UUID, owner: UUID, refresh_at: datetime | None) -> None:
    """Let another one request it, the token that there is from `refresh_at` on."""
    await execute(
        "UPDATE access_token SET lease_owner = NULL, lease_until = NULL, refresh_at = $3"
        " WHERE service_id = $1 AND lease_owner = $2",
        service_id,
        owner,
        refresh_at,
    )


async def forget_token(service_id: UUID) -> None:
    """The service gets its tokens in another way from now on, or none; what is being requested is not stored."""
    await execute("DELETE FROM access_token WHERE service_id = $1", service_id)
