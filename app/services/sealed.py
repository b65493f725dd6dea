"""The stored secrets as a whole: whether the configured keys open them, and sealing them anew under the first key."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
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

_LONGEST_SUBJECT = 128


@dataclass(frozen=True, slots=True)
class Place:
    """A column of sealed texts. `name`: what their rows are called, in SQL; `secret`: what one of them is; `kind`: that
    of the rows' public ids."""

    table: str
    column: str
    name: str
    secret: str
    kind: str
    field: str
    resealed: AuditAction


DKIM_KEYS = Place(
    "dkim_key",
    "sealed_private_key",
    "selector || '._domainkey.' || domain",
    "DKIM key",
    "dkim",
    "privateKey",
    AuditAction.RESEAL_DKIM_KEY,
)
CREDENTIALS = tuple(
    Place("service", column, "name", secret, "svc", SECRET_FACTS[column], AuditAction.RESEAL_SERVICE)
    for column, secret in SEALED_COLUMNS.items()
)

_OAUTH2 = ("oauth2_grant", "oauth2_client_id", "oauth2_tenant", "oauth2_scope", "oauth2_token_endpoint")
_CLEARED = ", ".join(f"{column} = NULL" for column in (*SEALED_COLUMNS, *_OAUTH2))


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """One sealed text, for example the password of one service."""

    id: UUID
    name: str
    sealed: str
    place: Place

    @property
    def row_id(self) -> UUID:
        """The id that it is sealed for."""
        return self.id if self.place is DKIM_KEYS else bound_to(self.id, self.place.column)


@dataclass(frozen=True, slots=True)
class Rotation:
    """How many secrets were sealed anew, how many were under the first key already; `unopened`: each that cannot be
    opened, and why."""

    resealed: int
    current: int
    unopened: tuple[tuple[StoredSecret, str], ...]


async def checked_sealer(settings: Settings) -> Sealer:
    """The sealer, once the key of every stored secret is configured. Needs an open database.

    Call it before `define_service`: the secret which that seals anew from the environment needs no key of old. A key
    file is made only where nothing stored needs one that is missing. A secret that is damaged harms its service alone,
    when it is used. Raises SettingsError, which names services and fingerprints, and shows no key.
    """
    redefined = redefined_service(settings)
    needed = [secret for secret in await _stored_secrets() if secret.name != redefined]
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
            unopened.append((secret, str(error)))
    return Rotation(resealed, current, tuple(unopened))


async def forget_secret(name: str, sealer: Sealer, *, now: Callable[[], datetime] = clock.now) -> str:
    """Give up a secret that cannot be opened, and say what became of it: a service loses user name, password and oauth2
    and is paused, so that its mail waits for new ones; a DKIM key, named `selector._domainkey.domain`, is deleted.
    Raises CommandFailed for any other name."""
    moment = now()
    async with transaction():
        found = [secret for secret in await _stored_secrets() if secret.name == name.lower()]
        if not found:
            raise CommandFailed(f"there is no service named {name!r} with a password")
        if all(_opens(secret, sealer) for secret in found):
            kinds = ", ".join(secret.place.secret for secret in found)
            raise CommandFailed(f"the {kinds} of {name!r} can be opened; it is changed through the API")
        return await (_forget_key if found[0].place is DKIM_KEYS else _forget_credentials)(found, moment)


async def _forget_credentials(secrets: Sequence[StoredSecret], moment: datetime) -> str:
    service = secrets[0]
    await execute(
        f"UPDATE service SET username = NULL, {_CLEARED}, version = version + 1, updated_at = $2,"  # noqa: S608
        " paused_at = COALESCE(paused_at, $2), paused_reason = $3 WHERE id = $1",
        service.id,
        moment,
        FORGOTTEN,
    )
    await forget_token(service.id)
    await _record_forgotten(secrets, moment, {"pausedReason": FORGOTTEN})
    return f"{service.name} is paused, without user name and password; set both, then resume it"


async def _forget_key(secrets: Sequence[StoredSecret], moment: datetime) -> str:
    (key,) = secrets
    await execute("DELETE FROM dkim_key WHERE id = $1", key.id)
    await _record_forgotten(secrets, moment, {})
    return f"{key.name} is deleted; activate another key of the domain, or its mail leaves unsigned"


async def _record_forgotten(secrets: Sequence[StoredSecret], moment: datetime, after: dict[str, object]) -> None:
    before = {secret.place.field: Secret(secret.sealed) for secret in secrets}
    await record(None, AuditAction.FORGET_CREDENTIALS, _subject(secrets[0]), moment, before=before, after=after)


def _subject(secret: StoredSecret) -> Subject:
    return Subject(secret.place.kind, secret.id, secret.name[:_LONGEST_SUBJECT])


async def _stored_secrets() -> list[StoredSecret]:
    return [secret for place in (*CREDENTIALS, DKIM_KEYS) for secret in await _stored_in(place)]


async def _stored_in(place: Place) -> list[StoredSecret]:
    found = await rows(
        f"SELECT id, {place.name} AS name, {place.column} AS sealed FROM {place.table}"  # noqa: S608 - constants
        f" WHERE {place.column} IS NOT NULL ORDER BY 2"
    )
    return [StoredSecret(as_key(row["id"]), row["name"], row["sealed"], place) for row in found]


def _sealed_with(secrets: Iterable[StoredSecret]) -> str:
    """Which keys the secrets need: "the passwords of relay, shop were sealed with the key 1a2b3c4d"."""
    names = defaultdict(list)
    for secret in secrets:
        with suppress(SealError):  # of a text that is damaged nobody can tell
            names[secret.place.secret, fingerprint_of(secret.sealed)].append(secret.name)
    return "; ".join(
        f"the {kind}s of {', '.join(of_key)} were sealed with the key {key}" for (kind, key), of_key in names.items()
    )


def _has_key(secret: StoredSecret, sealer: Sealer) -> bool:
    """Whether its key is configured; so it is for a text that is damaged, which needs none."""
    try:
        return sealer.knows(fingerprint_of(secret.sealed))
    except SealError:
        return True


async def _reseal(secret: StoredSecret, sealer: Sealer, moment: datetime) -> bool:
    """Whether it had to be; False, too, for a secret that is gone by now. Raises SealError."""
    sealed: str | None = secret.sealed
    while sealed is not None:
        text = sealer.open(sealed, secret.row_id)
        if sealer.is_first(fingerprint_of(sealed)):
            return False
        if await _replace(secret, sealed, sealer.seal(text, secret.row_id), moment):
            return True
        place = secret.place
        found = await rows(f"SELECT {place.column} AS sealed FROM {place.table} WHERE id = $1", secret.id)  # noqa: S608
        sealed = found[0]["sealed"] if found else None
    return False


async def _replace(secret: StoredSecret, sealed: str, anew: str, moment: datetime) -> bool:
    """Whether the stored text was still the one that was opened. The version stays: no connection becomes stale."""
    place = secret.place
    async with transaction():
        changed = await execute(
            f"UPDATE {place.table} SET {place.column} = $3 WHERE id = $1 AND {place.column} = $2",  # noqa: S608
            secret.id,
            sealed,
            anew,
        )
        if changed:
            keys = ({"secretKey": fingerprint_of(sealed)}, {"secretKey": fingerprint_of(anew)})
            await record(None, place.resealed, _subject(secret), moment, before=keys[0], after=keys[1])
    return bool(changed)


def _opens(secret: StoredSecret, sealer: Sealer) -> bool:
    try:
        sealer.open(secret.sealed, secret.row_id)
    except SealError:
        return False
    return True
