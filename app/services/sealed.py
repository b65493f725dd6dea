"""The stored secrets as a whole: whether the configured keys open them, and sealing them anew under the first key."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app import clock
from app.audit.diff import Secret
from app.audit.record import AuditAction, Subject, record
from app.database.connection import as_key, execute, rows, transaction
from app.errors import CommandFailed
from app.services.access_token import forget_token
from app.services.environment import redefined_service
from app.services.facts import SECRET_FACTS
from app.services.sealed_columns import SEALED_COLUMNS, bound_to
from app.services.secret import Sealer, SealError, fingerprint_of, sealer_from
from app.settings import Settings, SettingsError

FORGOTTEN = "Its password was sealed with a key that is lost. Set user name and password again, then resume it."
"""The reason of the pause of a service whose secret was forgotten."""


_OAUTH2 = ("oauth2_grant", "oauth2_client_id", "oauth2_tenant", "oauth2_scope", "oauth2_token_endpoint")
_CLEARED = ", ".join(f"{column} = NULL" for column in (*SEALED_COLUMNS, *_OAUTH2))


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """What is sealed in one column of one service."""

    service_id: UUID
    service_name: str
    sealed: str
    column: str = "sealed_password"

    @property
    def row_id(self) -> UUID:
        """The id that it is sealed for."""
        return bound_to(self.service_id, self.column)


@dataclass(frozen=True, slots=True)
class Rotation:
    """How many secrets were sealed anew, how many were under the first key already; `unopened`: the name of each
    service whose secret cannot be opened, and why."""

    resealed: int
    current: int
    unopened: tuple[tuple[str, str], ...]


async def checked_sealer(settings: Settings) -> Sealer:
    """The sealer, once the key of every stored secret is configured. Needs an open database.

    Call it before `define_service`: the secret which that seals anew from the environment needs no key of old. A key
    file is made only where nothing stored needs one that is missing. A secret that is damaged harms its service alone,
    when it is used. Raises SettingsError, which names services and fingerprints, and shows no key.
    """
    redefined = redefined_service(settings)
    needed = [secret for secret in await _stored_secrets() if secret.service_name != redefined]
    try:
        sealer = sealer_from(settings, make_file=not needed)
    except SettingsError as error:
        if needed:
            raise SettingsError(f"{error}; {_sealed_with(needed)}") from None
        raise
    missing = [secret for secret in needed if not _has_key(secret, sealer)]
    if missing:
        raise SettingsError(
            f"a key is missing from HELIOGRAPH_SECRET_KEYS, or from the key file: {_sealed_with(missing)}"
        )
    return sealer


async def reseal_secrets(sealer: Sealer, *, now: Callable[[], datetime] = clock.now) -> Rotation:
    """Seal under the first key what is sealed under another: one row after the other, each in a transaction of its own.

    Safe beside servers that have both keys, and to be repeated after an interruption: a password that changes
    meanwhile is never overwritten.
    """
    resealed = current = 0
    unopened = []
    for secret in await _stored_secrets():
        try:
            if await _reseal(secret, sealer, now()):
                resealed += 1
            else:
                current += 1
        except SealError as error:
            unopened.append((secret.service_name, str(error)))
    return Rotation(resealed, current, tuple(unopened))


async def forget_secret(name: str, sealer: Sealer, *, now: Callable[[], datetime] = clock.now) -> None:
    """Remove user name, password and oauth2 of a service with a secret that cannot be opened, and pause it, so that its
    mail waits for new ones. Raises CommandFailed for any other service."""
    moment = now()
    async with transaction():
        found = [secret for secret in await _stored_secrets() if secret.service_name == name.lower()]
        if not found:
            raise CommandFailed(f"there is no service named {name!r} with a password")
        lost = [secret for secret in found if not _opens(secret, sealer)]
        if not lost:
            raise CommandFailed(f"the password of {name!r} can be opened; it is changed through the API")
        await execute(
            f"UPDATE service SET username = NULL, {_CLEARED}, version = version + 1, updated_at = $2,"  # noqa: S608
            " paused_at = COALESCE(paused_at, $2), paused_reason = $3 WHERE id = $1",
            found[0].service_id,
            moment,
            FORGOTTEN,
        )
        await forget_token(found[0].service_id)
        await _record_forgotten(found, moment)


async def _record_forgotten(secrets: list[StoredSecret], moment: datetime) -> None:
    await record(
        None,
        AuditAction.FORGET_CREDENTIALS,
        _subject(secrets[0]),
        moment,
        before={SECRET_FACTS[secret.column]: Secret(secret.sealed) for secret in secrets},
        after={"pausedReason": FORGOTTEN},
    )


def _subject(secret: StoredSecret) -> Subject:
    return Subject("svc", secret.service_id, secret.service_name)


async def _stored_secrets() -> list[StoredSecret]:
    found = await rows(f"SELECT id, name, {', '.join(SEALED_COLUMNS)} FROM service ORDER BY name")  # noqa: S608
    return [
        StoredSecret(as_key(row["id"]), row["name"], row[column], column)
        for row in found
        for column in SEALED_COLUMNS
        if row[column] is not None
    ]


def _sealed_with(secrets: Iterable[StoredSecret]) -> str:
    """Which keys the secrets need: "the passwords of relay, shop were sealed with the key 1a2b3c4d"."""
    names: dict[str, dict[str, None]] = defaultdict(dict)  # in order, each service once
    for secret in secrets:
        with suppress(SealError):  # of a text that is damaged nobody can tell
            names[fingerprint_of(secret.sealed)][secret.service_name] = None
    clauses = (f"the passwords of {', '.join(of_key)} were sealed with the key {key}" for key, of_key in names.items())
    return "; ".join(clauses)


def _has_key(secret: StoredSecret, sealer: Sealer) -> bool:
    """Whether its key is configured; so it is for a text that is damaged, which needs none."""
    try:
        return sealer.knows(fingerprint_of(secret.sealed))
    except SealError:
        return True


async def _reseal(secret: StoredSecret, sealer: Sealer, moment: datetime) -> bool:
    """Whether it had to be; False, too, for a password that is gone by now. Raises SealError."""
    sealed: str | None = secret.sealed
    while sealed is not None:
        text = sealer.open(sealed, secret.row_id)
        if sealer.is_first(fingerprint_of(sealed)):
            return False
        if await _replace(secret, sealed, sealer.seal(text, secret.row_id), moment):
            return True
        found = await rows(f"SELECT {secret.column} AS sealed FROM service WHERE id = $1", secret.service_id)  # noqa: S608
        sealed = found[0]["sealed"] if found else None
    return False


async def _replace(secret: StoredSecret, sealed: str, anew: str, moment: datetime) -> bool:
    """Whether the stored text was still the one that was opened. The version stays: no connection becomes stale."""
    async with transaction():
        changed = await execute(
            f"UPDATE service SET {secret.column} = $3 WHERE id = $1 AND {secret.column} = $2",  # noqa: S608 - a constant
            secret.service_id,
            sealed,
            anew,
        )
        if changed:
            keys = ({"secretKey": fingerprint_of(sealed)}, {"secretKey": fingerprint_of(anew)})
            await record(None, AuditAction.RESEAL_SERVICE, _subject(secret), moment, before=keys[0], after=keys[1])
    return bool(changed)


def _opens(secret: StoredSecret, sealer: Sealer) -> bool:
    try:
        sealer.open(secret.sealed, secret.row_id)
    except SealError:
        return False
    return True
