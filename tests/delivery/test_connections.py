"""How many connections of a service a worker has in use."""

import asyncio

import pytest

from app.database.key import new_key
from app.delivery.attempt import Attempter
from app.delivery.backoff import RetryPolicy
from app.delivery.lease import LeasePolicy
from app.inbox.receiver import Receiver
from app.queue.wakeup import Wakeup
from app.services.models import Service
from app.smtp.pool import Pool
from tests.delivery.conftest import Put, plain_server


@pytest.mark.parametrize(("here", "expected"), [(0, 1), (1, 1), (2, 2), (9, 4), (None, 4)])
async def test_mails_share_the_connections_that_the_engine_allows(
    service: Service,
    receiver: Receiver,
    put_mail: Put,
    pool: Pool,
    wakeup: Wakeup,
    here: int | None,
    expected: int,
) -> None:
    """At least one: mail that is just moved may have none at its new service."""
    retry, lease = RetryPolicy((30,), 0.2, 3600), LeasePolicy(60, 3600, 0.01)
    attempter = Attempter(new_key(), pool, plain_server, retry, lease, wakeup, connections=lambda _: here)
    mails = [await put_mail() for _ in range(4)]
    async with asyncio.timeout(20):
        assert await asyncio.gather(*[attempter.attempt(message_id) for message_id in mails]) == [True] * 4
    assert len(receiver.mails) == 4
    assert len(receiver.sessions) <= expected
    if here is not None and here < 4:
        assert len(receiver.sessions) == expected
