"""Ten recipients per minute, whichever process and whichever door: the eleventh is refused everywhere."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from app.database.connection import rows
from tests.journeys.doors import CREATE_API_KEY, CREATE_ROLE, Doors, error_of
from tests.journeys.fleet import launched
from tests.journeys.installation import installation, is_on_postgres, opened
from tests.journeys.program import Heliograph

FIELDS = "message { recipients { email } } userErrors { code message retryable retryAfter }"
ALIASES = " ".join(f"m{number}: sendEmail(input: $input) {{ {FIELDS} }}" for number in range(3))
USAGE = "query ($service: String) { viewer { rateLimit(service: $service) { name scope limit used remaining } } }"
ONE_OF_EACH = {"role": {"perMinute": 10}, "grant": {"perHour": 10}, "key": {"perDay": 10}}


@pytest.fixture
def installed(tmp_path: Path, database_url: str) -> Heliograph:
    return installation(tmp_path, database_url)


@pytest.fixture
async def doors(installed: Heliograph) -> AsyncIterator[list[Doors]]:
    """Four API processes on PostgreSQL, one on SQLite, as admin."""
    several = is_on_postgres(installed)
    async with launched(installed, apis=4 if several else 1, workers=0, alone=not several) as fleet:
        yield [await fleet.doors() for _ in fleet.apis]


async def limited_key(admin: Doors, role: Any = None, grant: Any = None, key: Any = None) -> str:
    """An API key that may send, with these limits of its role, its grant and itself."""
    grants = [{"actions": ["SEND"], "limits": grant}]
    made = await admin.graphql.change(CREATE_ROLE, name="shop", grants=grants, limits=role)
    created = await admin.graphql.change(CREATE_API_KEY, roleId=made["role"]["id"], name="web", limits=key)
    text: str = created["key"]
    return text


async def by_rest(door: Doors, recipients: int = 1, **headers: str) -> int:
    """How many recipients were accepted; the refusal is as it should be."""
    mail = {"to": emails(recipients), "from_email": "me@sender.example", "subject": "Hello", "body_text": "Hello."}
    answer = await door.rest.send("email", mail, Prefer="respond-async", **headers)
    if answer.status_code in (200, 202):  # a replay may tell that the mail is sent by now
        count: int = answer.json()["count"]
        return count
    error = error_of(answer)
    assert (answer.status_code, error["context"]["error_code"]) == (429, "RATE_LIMITED")
    assert error["message"].startswith("API limit(s) exceeded.")
    assert answer.headers["x-ratelimit-limit"] == "10"
    assert int(answer.headers["x-ratelimit-remaining"]) < recipients or recipients > 10
    assert ("retry-after" in answer.headers) is ("x-ratelimit-reset" in answer.headers) is (recipients <= 10)
    return 0


async def by_graphql(door: Doors, recipients: int = 1) -> int:
    """How many recipients of three mails in one request were accepted; each refusal is as it should be."""
    to = [{"email": email} for email in emails(recipients)]
    mail = {"service": "email", "to": to, "from": {"email": "me@sender.example"}, "subject": "Hello", "text": "Hello."}
    answers = await door.graphql.ask(f"mutation ($input: SendEmailInput!) {{ {ALIASES} }}", input=mail)
    accepted = 0
    for payload in answers.values():
        if payload["message"]:
            accepted += len(payload["message"]["recipients"])
            continue
        (error,) = payload["userErrors"]
        assert (error["code"], error["retryable"]) == ("RATE_LIMITED", recipients <= 10)
        assert (error["retryAfter"] is not None) is (recipients <= 10)
    return accepted


def emails(count: int) -> list[str]:
    return [f"{number}@x.example" for number in range(count)]


def requests(doors: list[Doors]) -> Iterator[Any]:
    """Of every process in turn: a mail by REST to one or two, and three mails in one GraphQL request."""
    for number, door in zip(range(16), cycle(doors), strict=False):
        yield by_rest(door, 1 + number // 4 % 2)
        yield by_graphql(door)


@pytest.mark.parametrize("limits", [{"role": {"perMinute": 10}}, ONE_OF_EACH], ids=["one limit", "three at once"])
async def test_the_eleventh_recipient_is_refused_everywhere(
    doors: list[Doors], installed: Heliograph, limits: dict[str, Any]
) -> None:
    key = await limited_key(doors[0], **limits)
    limited = [door.with_key(key) for door in doors]
    for door in limited:
        assert (await by_rest(door, 11), await by_graphql(door, 11)) == (0, 0)

    accepted = sum(await asyncio.gather(*requests(limited)))
    accepted += sum([await by_rest(limited[0]) for _ in range(3)])
    assert accepted == 10
    for door in limited:
        assert (await by_rest(door), await by_graphql(door)) == (0, 0)
        usage = (await door.graphql.ask(USAGE, service="email"))["viewer"]["rateLimit"]
        assert len(usage) == len(limits)
        assert {(one["used"], one["remaining"]) for one in usage} == {(10, 0)}
    async with opened(installed):
        assert await rows("SELECT COUNT(*) AS stored FROM recipient") == [{"stored": 10}]
    assert await by_rest(doors[-1], 11) == 11, "another role's mail goes on"


async def test_a_replay_counts_once_whichever_process_it_comes_to(doors: list[Doors], installed: Heliograph) -> None:
    key = await limited_key(doors[0], key={"perMinute": 10})
    limited = [door.with_key(key) for door in doors]
    mails = (by_rest(door, 10, Idempotency_Key="order-1") for _, door in zip(range(24), cycle(limited), strict=False))
    assert Counter(await asyncio.gather(*mails)) == {10: 24}
    assert await by_rest(limited[-1], Idempotency_Key="order-2") == 0
    async with opened(installed):
        assert await rows("SELECT COUNT(*) AS stored FROM recipient") == [{"stored": 10}]
        assert await rows("SELECT SUM(used) AS used FROM counter") == [{"used": 10}]
