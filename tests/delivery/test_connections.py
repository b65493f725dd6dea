"""How many connections of a service a worker has in use."""

import asyncio
from uuid import UUID

import pytest

from app.database.key import new_key
from app.delivery.attempt import Attempter
from app.delivery.backoff import RetryPolicy
from app.delivery.lease import LeasePolicy
from app.inbox.receiver import Receiver, Script, Stage, Wait
from app.queue.wakeup import Wakeup
from app.services.models import Service
from app.smtp.pool import Pool
from tests.delivery.conftest import Put, plain_server, until


@pytest.mark.parametrize(("here", "expected"), [(0, 1), (1, 1), (2, 2), (9, 4), (None, 4)])
async def test_mails_share_the_connections_that_the_engine_allows(
    service: Service,
    receiver: Receiver,
    script: Script,
    put_mail: Put,
    pool: Pool,
    wakeup: Wakeup,
    here: int | None,
    expected: int,
) -> None:
    """At least one: mail that is just moved may have none at its new service."""
    answer, asked = asyncio.Event(), []
    script.on(Stage.DOT, Wait(answer))

    def connections(service_id: UUID) -> int | None:
        asked.append(service_id)
        return here

    async def all_want_one() -> bool:
        return len(asked) == 4 and len(receiver.sessions) >= expected

    retry, lease = RetryPolicy((30,), 0.2, 3600), LeasePolicy(60, 3600, 0.01)
    attempter = Attempter(new_key(), pool, plain_server, retry, lease, wakeup, connections=connections)
    mails = [await put_mail() for _ in range(4)]
    attempting = asyncio.gather(*[attempter.attempt(message_id) for message_id in mails])
    await until(all_want_one)
    answer.set()
    assert await attempting == [True] * 4
    assert len(receiver.mails) == 4
    assert len(receiver.sessions) == expected
