"""An API key becomes a principal."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from msgspec import Struct

from app import clock
from app.access.browser import CLIENT, BrowserRules, browser_rules_of
from app.access.principal import GrantRule, Principal, for_browsers, grant_rule
from app.access.raw_key import digest_of
from app.access.validity import Flaw, Terms, flaw_of
from app.database.connection import as_document, as_key, as_moment, execute, rows
from app.database.key import public_id
from app.database.revision import REVISION
from app.database.transient import is_transient
from app.errors import ErrorCode, Forbidden, Unauthenticated
from app.limits.recipients import COLUMNS, limits_of
from app.request import note_key

_LOG = logging.getLogger(__name__)

_MOST_ELSEWHERE = 64

_LIMITS = ", ".join(
    f"{table}.{column} AS {prefix}_{column}"
    for table, prefix in (("k", "key"), ("r", "role"), ("g", "grant"))
    for column in COLUMNS.values()
)
_OF_BROWSER_KEYS = ", ".join(f"k.{CLIENT}{column}" for column in COLUMNS.values())

# What is refused is one row, whatever the reason. So are keys for some networks only ($3: not so), which are judged
# before their grants are read.
_KEY_WITH_ROLE_AND_GRANTS = f"""
SELECT k.id, k.name, k.digest = $1 AS is_present, k.expires_at, k.previous_expires_at, k.revoked_at,
       k.allowed_networks, k.last_used_at, k.previous_last_used_at, k.role_id,
       r.name AS role_name, r.is_active, g.id AS grant_id, g.service_id, g.actions, g.restrictions,
       k.origins, k.restrictions AS key_restrictions, {_OF_BROWSER_KEYS}, {_LIMITS}, {REVISION} AS revision
FROM (SELECT 1) AS asked
LEFT JOIN api_key k ON k.digest = $1 OR k.previous_digest = $1
LEFT JOIN role r ON r.id = k.role_id
LEFT JOIN access_grant g ON g.role_id = r.id AND k.revoked_at IS NULL
      AND (k.expires_at IS NULL OR k.expires_at > $2) AND (k.digest = $1 OR k.previous_expires_at > $2)
      AND (k.allowed_networks IS NULL OR $3)
"""  # noqa: S608 - constants


class Shown(Struct, frozen=True):
    """What a request shows: a secret, by its digest, and where it comes from; see `authenticate`."""

    digest: str
    origin: str | None = None
    page_origin: str | None = None
    at_the_machine: bool = False

    def __repr__(self) -> str:
        return f"Shown(origin={self.origin!r})"


@dataclass(slots=True)
class OpenKey:
    """An API key that opens something to who shows this secret, as it was read. `used_column` is the one that says when
    the secret was last used; here, too, so that nobody has to look."""

    terms: Terms
    principal: Principal
    used_column: str
    last_used_at: datetime | None
    shown_id: str
    _elsewhere: dict[str | None, Principal] = field(default_factory=dict, repr=False)

    def principal_of(self, shown: Shown) -> Principal:
        """Who asks; from one address, and from no page, the same one each time."""
        given, origin, page = self.principal, shown.origin, shown.page_origin
        if given.origin == origin and given.page_origin == page and given.at_the_machine == shown.at_the_machine:
            return given
        if page is not None or shown.at_the_machine:
            return replace(given, origin=origin, page_origin=page, at_the_machine=shown.at_the_machine)
        known = self._elsewhere.get(origin)
        if known is None:
            if len(self._elsewhere) >= _MOST_ELSEWHERE:
                self._elsewhere.clear()
            known = self._elsewhere[origin] = replace(given, origin=origin, page_origin=None, at_the_machine=False)
        return known

    def is_use_due(self, moment: datetime, interval: timedelta) -> bool:
        """Whether this use is to be written down: nothing is of a moment within `interval`."""
        return self.last_used_at is None or moment - self.last_used_at >= interval

    def note(self) -> None:
        """Tell the log of the request."""
        browser = self.principal.browser
        note_key(self.shown_id, browser.origins if browser else ())


async def authenticate(
    api_key: str | None,
    *,
    origin: str | None = None,
    page_origin: str | None = None,
    at_the_machine: bool = False,
    record_use_every: float = 60,
    now: Callable[[], datetime] = clock.now,
) -> Principal:
    """Who this API key stands for, as it was given in the request; None or "" where none was. `page_origin`: what the
    request says in its Origin field.

    `origin` is the remote address, from which the key has to be allowed, unless its user is `at_the_machine`. Writes
    down when the secret was last used, to within `record_use_every` seconds. Raises Unauthenticated, with one and the
    same answer for a key that is unknown, revoked, expired, replaced or not allowed from there, and Forbidden where the
    role is inactive, or where it is a browser key and the page's origin is none of its own.
    """
    shown, moment = Shown(shown_digest(api_key), origin, page_origin, at_the_machine), now()
    key = await open_key(shown, moment)
    await record_use(key, moment, timedelta(seconds=record_use_every))
    return key.principal


def shown_digest(api_key: str | None) -> str:
    """That of the API key, as it was given in the request. Raises Unauthenticated where none was."""
    if not api_key:
        raise Unauthenticated("No session token (JWT) or API Key detected in request.")
    return digest_of(api_key)


async def open_key(shown: Shown, moment: datetime) -> OpenKey:
    """The API key with the secret that is shown, as it is stored now. Raises what `authenticate` does."""
    found = await rows(_KEY_WITH_ROLE_AND_GRANTS, shown.digest, moment, False)
    key = found[0]
    terms = terms_of(key, known=key["id"] is not None, replaced=not key["is_present"])
    if flaw := flaw_shown(terms, shown, moment):
        _tell(key, flaw, shown.origin)
        raise Unauthenticated("Invalid API key.", code=ErrorCode.INVALID_API_KEY)
    if not key["is_active"]:
        raise Forbidden("Access Forbidden. The role is inactive.", code=ErrorCode.ROLE_INACTIVE)
    if terms.networks:
        found = await rows(_KEY_WITH_ROLE_AND_GRANTS, shown.digest, moment, True)
    browser = _browser(key)
    used_column = "last_used_at" if key["is_present"] else "previous_last_used_at"
    principal = _principal(found, browser, shown, int(key["revision"]))
    opened = OpenKey(terms, principal, used_column, as_moment(key[used_column]), public_id("key", as_key(key["id"])))
    opened.note()
    if browser is not None and shown.page_origin not in browser.origins:
        raise Forbidden("Access Forbidden. This API key is for pages of its own origins only.")
    return opened


def flaw_shown(terms: Terms, shown: Shown, moment: datetime) -> Flaw | None:
    """Why the secret that is shown opens nothing now. Pure."""
    return flaw_of(replace(terms, networks=()) if shown.at_the_machine else terms, moment, shown.origin)


async def record_use(key: OpenKey, moment: datetime, interval: timedelta) -> None:
    """Write down that the secret was used, unless that is written of a moment within `interval`.

    Where the secret is still the present one, or the one before, as it was found: it may be rotated meanwhile.
    """
    if not key.is_use_due(moment, interval):
        return
    last_used_at, column = key.last_used_at, key.used_column
    key.last_used_at = moment  # others that use it meanwhile have nothing to write
    try:
        await execute(
            f"UPDATE api_key SET {column} = $1 WHERE {column.removesuffix('last_used_at')}digest = $2"  # noqa: S608
            f" AND ({column} IS NULL OR {column} <= $3)",
            moment,
            key.principal.digest,
            moment - interval,
        )
    except BaseException as error:
        key.last_used_at = last_used_at
        # A database too busy for this note is no reason to refuse the request.
        if not isinstance(error, Exception) or not is_transient(error):
            raise
        _LOG.warning("The last use of an API key was not recorded: the database is busy.")


def terms_of(key: Mapping[str, Any], *, known: bool, replaced: bool) -> Terms:
    """The terms in the columns of a key, for its present secret, or the one that was `replaced`; else not `known`."""
    return Terms(
        known,
        replaced,
        as_moment(key["expires_at"]),
        as_moment(key["previous_expires_at"]),
        as_moment(key["revoked_at"]),
        as_document(key["allowed_networks"]) or (),
    )


def _tell(key: Mapping[str, Any], flaw: Flaw, origin: str | None) -> None:
    """One line for each flaw, because a line takes time."""
    key_id = public_id("key", as_key(key["id"]) or UUID(int=0))
    told = {
        "refused_key_id": "-" if flaw is Flaw.UNKNOWN else key_id,
        "origin": origin or "-",
        "reason": flaw.value,
    }
    _LOG.info(
        "API key %(refused_key_id)s, shown from %(origin)s, opens nothing: %(reason)s", told, extra={"fields": told}
    )


def _browser(key: dict[str, Any]) -> BrowserRules | None:
    documents = {"origins": as_document(key["origins"]), "restrictions": as_document(key["key_restrictions"])}
    return browser_rules_of({**key, **documents})


def _principal(found: Sequence[dict[str, Any]], browser: BrowserRules | None, shown: Shown, revision: int) -> Principal:
    key = found[0]
    rules = (_rule(row) for row in found if row["grant_id"] is not None)
    return Principal(
        role_id=as_key(key["role_id"]),
        role_name=key["role_name"],
        api_key_id=as_key(key["id"]),
        api_key_name=key["name"],
        grants=tuple(for_browsers(rule, browser) if browser else rule for rule in rules),
        role_limits=limits_of(key, "role_"),
        api_key_limits=limits_of(key, "key_"),
        origin=shown.origin,
        digest=shown.digest,
        browser=browser,
        page_origin=shown.page_origin,
        at_the_machine=shown.at_the_machine,
        revision=revision,
    )


def _rule(row: dict[str, Any]) -> GrantRule:
    service_id: UUID | None = as_key(row["service_id"])
    rule = grant_rule(service_id, as_document(row["actions"]), as_document(row["restrictions"]))
    return replace(rule, limits=limits_of(row, "grant_"))
