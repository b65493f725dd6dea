"""The operator's verbs for API keys."""

import argparse
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any
from uuid import UUID

from app import clock
from app.access.api_keys import create_api_key, list_api_keys, revoke_api_key
from app.access.check import KeyLimits
from app.access.manage import find_role
from app.access.models import ApiKey
from app.access.rotate import rotate_api_key
from app.database.key import parse_public_id, public_id
from app.errors import CommandFailed
from app.limits.recipients import RecipientLimits
from app.mail.characters import shown
from app.settings import Settings

Verb = Callable[[Settings, argparse.Namespace], int]
Work = Callable[[Settings, argparse.Namespace], Coroutine[Any, Any, int]]


def add_key_verbs(key: argparse.ArgumentParser, on_database: Callable[[Work], Verb]) -> None:
    """Put `create`, `list`, `rotate` and `revoke` below `heliograph key`."""
    verbs = key.add_subparsers(title="verbs", required=True, metavar="VERB")

    def verb(name: str, work: Work, text: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=text)
        added.set_defaults(verb=on_database(work))
        return added

    _add_create_options(verb("create", _create, "make a key and print it, this once"))
    verb("list", _list, "list all keys, by their first characters")
    rotate = verb("rotate", _rotate, "give a key a new secret and print it, this once; the old one works for a while")
    rotate.add_argument("id", help="its id, as `key list` shows it")
    rotate.add_argument(
        "--overlap",
        type=float,
        metavar="SECONDS",
        help="how long the old secret goes on working; 0: not at all (default: HELIOGRAPH_API_KEY_OVERLAP)",
    )
    revoke = verb("revoke", _revoke, "revoke a key: from now on it opens nothing")
    revoke.add_argument("id", help="its id, as `key list` shows it")


def _add_create_options(create: argparse.ArgumentParser) -> None:
    create.add_argument("--role", default="admin", help="name of the role it belongs to (default: admin)")
    create.add_argument("--name", required=True, help="a name for people, e.g. 'web shop'")
    create.add_argument(
        "--expires", type=_moment, metavar="TIME", help="when it ends, e.g. 2030-01-01T00:00:00Z (default: never)"
    )
    for span in ("minute", "hour", "day"):
        create.add_argument(
            f"--per-{span}", type=int, metavar="N", help=f"most recipients per {span} (default: no limit)"
        )
    create.add_argument(
        "--network",
        action="append",
        default=[],
        help="a network or address it may be used from, e.g. 192.0.2.0/24; may be repeated (default: from anywhere)",
    )


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        message = f"{shown(text)!r} is no time such as 2030-01-01T00:00:00Z"
        raise argparse.ArgumentTypeError(message) from None


async def _create(settings: Settings, options: argparse.Namespace) -> int:
    role = await find_role(options.role)
    if role is None:
        raise CommandFailed(f"there is no role named {shown(options.role)!r}")
    row, secret = await create_api_key(
        role.id,
        options.name,
        options.expires,
        None,
        limits=RecipientLimits(options.per_minute, options.per_hour, options.per_day),
        allowed_networks=options.network,
        key_limits=KeyLimits.from_settings(settings),
    )
    print(f"{secret}\n\nThis is the only time the key is shown. Its id is {public_id('key', row.id)}.")
    return 0


async def _list(settings: Settings, options: argparse.Namespace) -> int:
    after = None
    while rows := await list_api_keys(after, 100):
        for row in rows:
            print(f"{public_id('key', row.id)}  {row.prefix}…  {_state(row):8} {row.role.name}  {row.name}{_old(row)}")
        after = rows[-1].id
    return 0


async def _rotate(settings: Settings, options: argparse.Namespace) -> int:
    limits = KeyLimits.from_settings(settings)
    row, secret = await rotate_api_key(_key(options.id), options.overlap, None, key_limits=limits)
    assert row.previous_expires_at is not None
    old = f"The old one, {row.previous_prefix}…,"
    until = f"{old} works until {row.previous_expires_at:%Y-%m-%d %H:%M:%S} UTC."
    ended = f"{old} opens nothing any more."
    goes_on = row.previous_expires_at > clock.now()
    print(f"{secret}\n\nThis is the only time the new secret is shown. {until if goes_on else ended}")
    return 0


async def _revoke(settings: Settings, options: argparse.Namespace) -> int:
    row = await revoke_api_key(_key(options.id), None)
    print(f"revoked {row.name}")
    return 0


def _state(row: ApiKey) -> str:
    if row.revoked_at:
        return "revoked"
    return "expired" if row.expires_at and row.expires_at <= clock.now() else "active"


def _old(row: ApiKey) -> str:
    """What is told of the secret before the present one while it works."""
    if row.previous_expires_at is None or row.previous_expires_at <= clock.now():
        return ""
    used = f"last used {row.previous_last_used_at:%Y-%m-%d %H:%M}" if row.previous_last_used_at else "never used"
    return f"  ({row.previous_prefix}… works until {row.previous_expires_at:%Y-%m-%d %H:%M}, {used})"


def _key(text: str) -> UUID:
    kind, key = parse_public_id(text) or (None, None)
    if key is None or kind != "key":
        raise CommandFailed("that is not the id of an API key; `heliograph key list` shows them")
    return key
