"""Keys, roles and services are in memory, and changed elsewhere: each mail is judged by what is stored as it is
accepted."""

import dataclasses
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from hypothesis import HealthCheck, event, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.access.authenticate import authenticate
from app.access.check import GrantValues
from app.access.models import ApiKey, Grant
from app.access.raw_key import digest_of
from app.clock import now
from app.database.configuration import sqlite_path
from app.database.connection import execute, transaction
from app.database.key import new_key
from app.errors import Forbidden, NotFound, RateLimited, Refusal, Unauthenticated
from app.mail.address import Mailbox
from app.mail.draft import Draft
from app.queue.embedded import EmbeddedEngine
from app.queue.put import Receipt
from app.queue.wakeup import Wakeup
from app.services.models import Service
from app.settings import Settings
from app.submission.prepare import Submission
from app.submission.submit import Submitter
from tests.factories import count, make_key, make_service, message_row
from tests.statements import told

DRAFT = Draft(to=(Mailbox("bob@example.com"),), subject="Hello", text="text")
ALL = GrantValues(None, ["SEND"])


@dataclass
class Elsewhere:
    """Another process, which changes what is stored: by and by, or `late`, when a mail is judged and not yet put."""

    connection: sqlite3.Connection
    late: list[str] = field(default_factory=list)
    judged: int = 0

    def change(self, statement: str) -> None:
        self.connection.execute(statement)

    def make_key(self) -> UUID:
        """What a submitter calls between judging a mail and putting it."""
        self.judged += 1
        if self.late:
            self.change(self.late.pop())
        return new_key()


@pytest.fixture
def elsewhere(sqlite_database: Settings) -> Iterator[Elsewhere]:
    path = sqlite_path(sqlite_database.database_url)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA foreign_keys = on")
    yield Elsewhere(connection)
    connection.close()


@pytest.fixture
def submitter(sqlite_database: Settings, engine: EmbeddedEngine, wakeup: Wakeup, elsewhere: Elsewhere) -> Submitter:
    return Submitter(sqlite_database, engine, wakeup, make_key=elsewhere.make_key)


@pytest.fixture
async def service(sqlite_database: Settings) -> Service:
    return await make_service(from_email="desk@example.com")


@pytest.fixture
async def key(service: Service) -> str:
    return await make_key("shop", [ALL])


async def send(submitter: Submitter, key: str, **fields: str) -> Receipt:
    """As a door does."""
    principal = await submitter.keys.authenticate(key)
    return await submitter.submit(Submission("email", DRAFT, principal, **fields))  # type: ignore[arg-type]


async def test_a_mail_whose_key_and_service_are_known_asks_for_neither(
    submitter: Submitter, key: str, elsewhere: Elsewhere
) -> None:
    await send(submitter, key)
    async with told() as statements:
        await send(submitter, key)
    asked = [sql for sql in statements if any(f"FROM {table}" in sql for table in ("api_key", "role", "access_grant"))]
    assert asked == []
    assert not any(sql.startswith('SELECT "id","name"') or 'FROM "' in sql for sql in statements), "no model is read"
    assert sum("FROM revision" in sql for sql in statements) == 1
    assert elsewhere.judged == 2


REVOKED = "UPDATE api_key SET revoked_at = '2026-01-01 00:00:00+00:00'"
LATE: dict[str, tuple[str, type[Refusal], str]] = {
    "key revoked": (REVOKED, Unauthenticated, "Invalid API key"),
    "key deleted": ("DELETE FROM api_key", Unauthenticated, "Invalid API key"),
    "key replaced": ("UPDATE api_key SET digest = 'other'", Unauthenticated, "Invalid API key"),
    "key for another network": (
        "UPDATE api_key SET allowed_networks = '[\"192.0.2.0/24\"]'",
        Unauthenticated,
        "Invalid API key",
    ),
    "role inactive": ("UPDATE role SET is_active = 0", Forbidden, "role is inactive"),
    "role deleted": ("DELETE FROM role", Unauthenticated, "Invalid API key"),
    "grant deleted": ("DELETE FROM access_grant", Forbidden, "Access Forbidden"),
    "action taken": ("UPDATE access_grant SET actions = '[\"READ_SERVICES\"]'", Forbidden, "Access Forbidden"),
    "recipients restricted": (
        'UPDATE access_grant SET restrictions = \'{"denied_recipients": ["*@example.com"]}\'',
        Forbidden,
        "Access Forbidden",
    ),
    "limit lowered": ("UPDATE role SET recipients_per_minute = 1", RateLimited, "The limit of role 'shop' is 1"),
    "service inactive": ("UPDATE service SET is_active = 0", Forbidden, "deactivated"),
    "service renamed": ("UPDATE service SET name = 'other'", NotFound, "Could not find a service"),
    "service deleted": ("DELETE FROM service", NotFound, "Could not find a service"),
}


@pytest.mark.parametrize("is_late", [False, True], ids=["before", "between judging and putting"])
@pytest.mark.parametrize("name", LATE)
async def test_what_was_changed_elsewhere_counts_at_once(
    submitter: Submitter, key: str, elsewhere: Elsewhere, name: str, is_late: bool
) -> None:
    await execute("UPDATE role SET recipients_per_minute = 2")  # so that what is sent is counted
    await send(submitter, key)
    change, kind, message = LATE[name]
    if is_late:
        elsewhere.late.append(change)
    else:
        elsewhere.change(change)
    with pytest.raises(kind, match=message):
        await send(submitter, key)
    assert elsewhere.late == []
    assert await count("message") == 1


GIVEN: dict[str, tuple[str, str]] = {
    "grant": (
        "UPDATE access_grant SET actions = '[]'",
        "UPDATE access_grant SET actions = '[\"SEND\"]'",
    ),
    "service": ("UPDATE service SET name = 'other'", "UPDATE service SET name = 'email'"),
    "active service": ("UPDATE service SET is_active = 0", "UPDATE service SET is_active = 1"),
    "limit": ("UPDATE role SET recipients_per_minute = 1", "UPDATE role SET recipients_per_minute = 9"),
    "sender": ("UPDATE service SET from_email = NULL", "UPDATE service SET from_email = 'a@example.com'"),
}


@pytest.mark.parametrize("name", GIVEN)
async def test_what_is_given_elsewhere_counts_at_once(
    submitter: Submitter, key: str, elsewhere: Elsewhere, name: str
) -> None:
    taken, back = GIVEN[name]
    await execute("UPDATE role SET recipients_per_minute = 2")
    await send(submitter, key)
    elsewhere.change(taken)
    with pytest.raises(Refusal):
        await send(submitter, key)
    elsewhere.change(back)
    assert await send(submitter, key)


async def test_what_is_nothing_to_the_mail_lets_it_be_put_as_it_was_judged(
    submitter: Submitter, key: str, elsewhere: Elsewhere
) -> None:
    await send(submitter, key)
    await make_service("other")
    elsewhere.late.append("UPDATE service SET host = 'example.com' WHERE name = 'other'")
    await send(submitter, key)
    assert (elsewhere.judged, elsewhere.late) == (2, [])
    elsewhere.late.append("UPDATE service SET from_email = 'new@example.com' WHERE name = 'email'")
    receipt = await send(submitter, key)
    assert (elsewhere.judged, elsewhere.late) == (4, [])
    assert await execute("DELETE FROM message WHERE from_email = 'new@example.com' AND id = $1", receipt.message_id)


async def test_a_repeated_request_is_not_answered_to_a_key_that_is_revoked(
    submitter: Submitter, key: str, elsewhere: Elsewhere
) -> None:
    first = await send(submitter, key, idempotency_key="once")
    assert await send(submitter, key, idempotency_key="once") == dataclasses.replace(first, replayed=True)
    elsewhere.change("UPDATE service SET label = 'nothing to it'")
    assert (await send(submitter, key, idempotency_key="once")).replayed
    elsewhere.change(REVOKED)
    with pytest.raises(Unauthenticated):
        await send(submitter, key, idempotency_key="once")


async def test_on_both_databases_a_change_elsewhere_counts_at_once(
    database: Settings, engine: EmbeddedEngine, wakeup: Wakeup
) -> None:
    await make_service(from_email="desk@example.com")
    key = await make_key("shop", [ALL])
    submitter = Submitter(database, engine, wakeup)
    await send(submitter, key)
    principal = await submitter.keys.authenticate(key)
    async with transaction():
        await Grant.all().delete()
    with pytest.raises(Forbidden):
        await submitter.submit(Submission("email", DRAFT, principal))
    await Grant.create(role_id=principal.role_id, service_id=None, actions=["SEND"])
    assert await submitter.submit(Submission("email", DRAFT, principal))
    await ApiKey.all().update(revoked_at=now())
    with pytest.raises(Unauthenticated):
        await submitter.submit(Submission("email", DRAFT, principal))
    assert await count("message") == 2


def _set(table: str, **columns: Sequence[str]) -> list[str]:
    return [f"UPDATE {table} SET {column} = {value}" for column, values in columns.items() for value in values]


def _json(*values: object) -> list[str]:
    return ["NULL" if value is None else f"'{json.dumps(value)}'" for value in values]


DENIED, OTHERS = {"denied_recipients": ["bob@*"]}, {"allowed_recipients": ["*@other.example"]}
CHANGES = [
    *_set("api_key", revoked_at=["NULL", "NULL", "'2026-01-01 00:00:00+00:00'"], name=["'a'", "'b'"]),
    *_set("api_key", expires_at=["NULL", "NULL", "'2026-01-01 00:00:00+00:00'"], digest=["'other'", "previous_digest"]),
    *_set("api_key", allowed_networks=_json(None, None, ["192.0.2.0/24"], ["198.51.100.0/24"]), last_used_at=["NULL"]),
    *_set("role", is_active=["0", "1", "1"], name=["'shop'", "'store'"]),
    *_set("access_grant", actions=_json(["SEND"], ["SEND"], []), restrictions=_json(None, None, DENIED, OTHERS)),
    *_set("access_grant", service_id=["NULL", "(SELECT MIN(id) FROM service)"]),
    *_set("service", is_active=["0", "1", "1"], from_email=["NULL", "'desk@example.com'", "'help@example.com'"]),
    *["UPDATE service SET name = 'email' WHERE NOT EXISTS (SELECT 1 FROM service WHERE name = 'email')"] * 2,
    "UPDATE service SET name = 'elsewhere' WHERE name = 'email'",
]
changes = st.lists(st.sampled_from(CHANGES), max_size=2)
HERE = "192.0.2.7"


@hypothesis_settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(changes, changes, changes), min_size=1, max_size=8))
async def test_whatever_is_changed_whenever_the_answer_is_that_without_memory(
    submitter: Submitter, key: str, elsewhere: Elsewhere, steps: list[tuple[list[str], list[str], list[str]]]
) -> None:
    """Before the key is shown, before the mail is judged, and before it is put."""
    elsewhere.late.clear()
    for statement in _fresh(digest_of(key)):
        elsewhere.change(statement)
    plain = Submitter(submitter._settings, submitter._acceptance._engine, submitter._wakeup)
    for before, between, late in steps:
        for statement in before:
            elsewhere.change(statement)
        answer = await _answer(submitter, key, elsewhere, between, late)
        expected = await _plain_answer(plain, key)
        event(answer[0])
        assert answer == expected


def _fresh(digest: str) -> list[str]:
    return [
        "UPDATE service SET is_active = 1, from_email = 'desk@example.com', name = 'email'",
        "UPDATE role SET is_active = 1, name = 'shop'",
        "UPDATE access_grant SET actions = '[\"SEND\"]', restrictions = NULL, service_id = NULL",
        f"UPDATE api_key SET digest = '{digest}', previous_digest = '{digest}'",
        "UPDATE api_key SET revoked_at = NULL, expires_at = NULL, allowed_networks = NULL",
    ]


async def _answer(
    submitter: Submitter, key: str, elsewhere: Elsewhere, between: list[str], late: list[str]
) -> tuple[str, ...]:
    try:
        principal = await submitter.keys.authenticate(key, origin=HERE)
        for statement in between:
            elsewhere.change(statement)
        elsewhere.late = list(late)
        return await _sender(await submitter.submit(Submission("email", DRAFT, principal)))
    except Refusal as refusal:
        return type(refusal).__name__, refusal.problems[0].code, str(refusal)
    finally:
        elsewhere.late.clear()


async def _plain_answer(plain: Submitter, key: str) -> tuple[str, ...]:
    """By the stored facts alone, all read anew."""
    try:
        principal = dataclasses.replace(await authenticate(key, origin=HERE), revision=None)
        return await _sender(await plain.submit(Submission("email", DRAFT, principal)))
    except Refusal as refusal:
        return type(refusal).__name__, refusal.problems[0].code, str(refusal)


async def _sender(receipt: Receipt) -> tuple[str, ...]:
    return "accepted", (await message_row(receipt.message_id))["from_email"]
