"""An API key becomes a principal."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from app import clock
from app.access.browser import CLIENT, BrowserRules, browser_rules_of
from app.access.principal import GrantRule, Principal, for_browsers, grant_rule
from app.access.raw_key import digest_of
from app.access.validity import Flaw, Terms, flaw_of
from app.database.connection import as_document, as_key, as_moment, execute, rows
from app.database.key import public_id
from app.database.transient import is_transient
from app.errors import ErrorCode, Forbidden, Unauthenticated
from app.limits.recipients import COLUMNS, limits_of
from app.request import note_key

_LOG = logging.getLogger(__name__)

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
       k.origins, k.restrictions AS key_restrictions, {_OF_BROWSER_KEYS}, {_LIMITS}
FROM (SELECT 1) AS asked
LEFT JOIN api_key k ON k.digest = $1 OR k.previous_digest = $1
LEFT JOIN role r ON r.id = k.role_id
LEFT JOIN access_grant g ON g.role_id = r.id AND k.revoked_at IS NULL
      AND (k.expires_at IS NULL OR k.expires_at > $2) AND (k.digest = $1 OR k.previous_expires_at > $2)
      AND (k.allowed_networks IS NULL OR $3)
"""  # noqa: S608 - constants


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
    if not api_key:
        raise Unauthenticated("No session token (JWT) or API Key detected in request.")
    moment, digest = now(), digest_of(api_key)
    found = await rows(_KEY_WITH_ROLE_AND_GRANTS, digest, moment, False)
    key = found[0]
    terms = terms_of(key, known=key["id"] is not None, replaced=not key["is_present"])
    if flaw := flaw_of(replace(terms, networks=()) if at_the_machine else terms, moment, origin):
        _tell(key, flaw, origin)
        raise Unauthenticated("Invalid API key.", code=ErrorCode.INVALID_API_KEY)
    if not key["is_active"]:
        raise Forbidden("Access Forbidden. The role is inactive.", code=ErrorCode.ROLE_INACTIVE)
    if terms.networks:
        found = await rows(_KEY_WITH_ROLE_AND_GRANTS, digest, moment, True)
    browser = _browser(key)
    note_key(public_id("key", as_key(key["id"])), browser.origins if browser else ())
    if browser is not None and page_origin not in browser.origins:
        raise Forbidden("Access Forbidden. This API key is for pages of its own origins only.")
    await _record_use(key, digest, moment, timedelta(seconds=record_use_every))
    return replace(_principal(found, browser), origin=origin, digest=digest)


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


async def _record_use(key: Mapping[str, Any], digest: str, moment: datetime, interval: timedelta) -> None:
    """Where the secret is still the present one, or the one before, as it was found: it may be rotated meanwhile."""
    secret = "" if key["is_present"] else "previous_"
    column = f"{secret}last_used_at"
    last_used_at = as_moment(key[column])
    if last_used_at is not None and moment - last_used_at < interval:
        return
    try:
        await execute(
            f"UPDATE api_key SET {column} = $1 WHERE {secret}digest = $2 AND ({column} IS NULL OR {column} <= $3)",  # noqa: S608
            moment,
            digest,
            moment - interval,
        )
    except Exception as error:
        # A database too busy for this note is no reason to refuse the request.
        if not is_transient(error):
            raise
        _LOG.warning("The last use of an API key was not recorded: the database is busy.")


def _browser(key: dict[str, Any]) -> BrowserRules | None:
    documents = {"origins": as_document(key["origins"]), "restrictions": as_document(key["key_restrictions"])}
    return browser_rules_of({**key, **documents})


def _principal(found: Sequence[dict[str, Any]], browser: BrowserRules | None) -> Principal:
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
        browser=browser,
    )


def _rule(row: dict[str, Any]) -> GrantRule:
    service_id: UUID | None = as_key(row["service_id"])
    rule = grant_rule(service_id, as_document(row["actions"]), as_document(row["restrictions"]))
    return replace(rule, limits=limits_of(row, "grant_"))
