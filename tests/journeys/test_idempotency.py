"""Fifty concurrent requests with one idempotency key: one message, one copy, the same answer to all."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.database.connection import rows
from app.inbox.receiver import Receiver, Stage, Wait
from tests.journeys.doors import SEND_EMAIL, Doors
from tests.journeys.fleet import launched, settled
from tests.journeys.installation import installation, is_on_postgres, opened
from tests.journeys.ledger import Ledger
from tests.journeys.program import Heliograph

REQUESTS = 50
REST_MAIL = {"to": "a@x.example", "subject": "Hello", "body_text": "Hello."}
GRAPHQL_MAIL = {"service": "relay", "to": [{"email": "a@x.example"}], "subject": "Hello", "text": "Hello."}


@pytest.fixture
def installed(tmp_path: Path, database_url: str) -> Heliograph:
    return installation(tmp_path, database_url, lease=60, lease_renewal=20)


@pytest.fixture
async def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
async def receiver(ledger: Ledger) -> AsyncIterator[Receiver]:
    async with Receiver(on_mail=ledger.take) as started:
        yield started


@pytest.fixture
async def doors(installed: Heliograph, receiver: Receiver) -> AsyncIterator[list[Doors]]:
    """Two API processes and a worker on PostgreSQL, one process on SQLite; `relay` leads to the receiver."""
    several = is_on_postgres(installed)
    shape = {"apis": 2, "workers": 1} if several else {"apis": 1, "workers": 0}
    async with launched(installed, **shape, alone=not several) as fleet:
        doors = [await fleet.doors() for _ in fleet.apis]
        await doors[0].graphql.create_service("relay", port=receiver.port)
        yield doors


async def test_through_graphql(doors: list[Doors], ledger: Ledger, installed: Heliograph) -> None:
    async def send(door: Doors) -> Any:
        return (await door.graphql.ask(SEND_EMAIL, input=GRAPHQL_MAIL | {"idempotencyKey": "order-1"}))["done"]

    payloads = await asyncio.gather(*(send(door) for door in islice(cycle(doors), REQUESTS)))
    assert Counter(payload["replayed"] for payload in payloads) == {True: REQUESTS - 1, False: 1}
    assert all(payload["userErrors"] == [] for payload in payloads)
    assert len({(p["message"]["id"], p["message"]["messageIdHeader"]) for p in payloads}) == 1
    await one_message_and_one_copy(installed, ledger, payloads[0]["message"]["messageIdHeader"])


async def test_through_rest(doors: list[Doors], ledger: Ledger, installed: Heliograph) -> None:
    answers = await post_all(doors)
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, '{"count":1}')}
    await same_message(doors, answers, ledger, installed)


async def test_through_rest_without_waiting(
    doors: list[Doors], receiver: Receiver, ledger: Ledger, installed: Heliograph
) -> None:
    # Otherwise a late replay may tell that the mail is sent by then.
    answered = asyncio.Event()
    receiver.script.on(Stage.DOT, Wait(answered))
    answers = await post_all(doors, Prefer="respond-async")
    answered.set()
    assert {(answer.status_code, answer.text) for answer in answers} == {(202, '{"count":1}')}
    await same_message(doors, answers, ledger, installed)


async def post_all(doors: list[Doors], **headers: str) -> list[httpx2.Response]:
    return await asyncio.gather(
        *(
            door.rest.send("relay", REST_MAIL, Idempotency_Key="order-1", **headers)
            for door in islice(cycle(doors), REQUESTS)
        )
    )


async def same_message(
    doors: list[Doors], answers: list[httpx2.Response], ledger: Ledger, installed: Heliograph
) -> None:
    replayed = Counter(answer.headers.get("idempotent-replayed") for answer in answers)
    assert replayed == {"true": REQUESTS - 1, None: 1}
    (message_id,) = {answer.headers["x-message-id"] for answer in answers}
    message = await doors[0].graphql.message(message_id)
    await one_message_and_one_copy(installed, ledger, message.message_id_header)


async def one_message_and_one_copy(installed: Heliograph, ledger: Ledger, message_id: str) -> None:
    async with opened(installed):
        await settled()
        stored = await rows("SELECT state, fence, message_id_header FROM message")
        assert stored == [{"state": "sent", "fence": 1, "message_id_header": message_id}]
        assert await rows("SELECT COUNT(*) AS attempts FROM attempt") == [{"attempts": 1}]
    assert [copy.message_id for copy in ledger.copies["a@x.example"]] == [message_id]
    assert len(ledger.copies) == 1
