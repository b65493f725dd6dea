"""Mail leaves by access token: through refusals, expiry and an endpoint that fails."""

import logging
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from app.clock import now
from app.database.connection import execute, rows
from app.database.key import new_key
from app.delivery.attempt import Attempter
from app.delivery.backoff import RetryPolicy
from app.delivery.lease import LeasePolicy
from app.inbox.receiver import Receiver
from app.queue.wakeup import Wakeup
from app.services.check import ServiceValues
from app.services.circuit import CircuitPolicy, read_circuits
from app.services.manage import create_service
from app.services.models import Service
from app.services.oauth2 import OAuth2Values
from app.services.secret import Sealer
from app.services.server import server_for
from app.settings import Settings
from app.smtp.pool import Pool
from tests.delivery.conftest import Put
from tests.factories import recipient_states
from tests.token_endpoint import TokenEndpoint, token_endpoint

SEALER = Sealer(["k" * 32])


@pytest.fixture
async def endpoint() -> AsyncIterator[TokenEndpoint]:
    async with token_endpoint() as endpoint:
        yield endpoint


@pytest.fixture
async def receiver(endpoint: TokenEndpoint) -> AsyncIterator[Receiver]:
    """Takes the token that the endpoint has issued last."""

    def check(username: str, token: str) -> bool:
        return (username, token) == ("me@example.com", endpoint.token)

    async with Receiver(credentials=check, mechanisms=("XOAUTH2",), keep=True) as receiver:
        yield receiver


@pytest.fixture
async def service(database: Settings, receiver: Receiver, endpoint: TokenEndpoint) -> Service:
    oauth2 = OAuth2Values(
        grant="MICROSOFT_CLIENT_CREDENTIALS",
        client_id="app",
        tenant="t.example",
        client_secret="canary-secret",
        token_endpoint=endpoint.url,
    )
    values = ServiceValues(
        name="m365",
        host=receiver.host,
        port=receiver.port,
        encryption="NONE",
        username="me@example.com",
        oauth2=oauth2,
    )
    return await create_service(values, None, SEALER)


@pytest.fixture
def attempter(database: Settings, pool: Pool, wakeup: Wakeup) -> Attempter:
    settings = database.model_copy(update={"smtp_loopback": True, "ehlo_name": "client.example"})
    return Attempter(
        new_key(),
        pool,
        lambda service: server_for(service, settings, SEALER),
        RetryPolicy((30,), 0, 3600),
        LeasePolicy(60, 3600, 0.01),
        wakeup,
        circuit=CircuitPolicy(0.001, 0.001),
    )


async def attempt_elsewhere(attempter: Attempter, message_id: UUID) -> None:
    """Try the message as a worker that knows nothing but what is in the database."""
    pool = Pool(max_connections=1, max_messages=9, idle_limit=9, noop_after=9)
    retry, lease = RetryPolicy((30,), 0, 3600), LeasePolicy(60, 3600, 0.01)
    await Attempter(new_key(), pool, attempter._resolve, retry, lease, Wakeup()).attempt(message_id)
    await pool.close()


async def test_a_token_that_expired_early_is_replaced_and_the_mail_leaves(
    put_mail: Put, attempter: Attempter, receiver: Receiver, endpoint: TokenEndpoint
) -> None:
    await attempter.attempt(await put_mail())
    endpoint.forms.append({})  # the server does not take the cached token-1 any more, nor yet another one
    message = await put_mail()
    await attempt_elsewhere(attempter, message)
    assert await recipient_states(message) == ["sent"]
    assert [session.verbs.count("AUTH") for session in receiver.sessions] == [1, 1, 1]
    assert len(receiver.mails) == 2
    assert endpoint.token == "token-3"


async def test_a_refused_grant_pauses_the_service_with_its_reason_until_it_is_given_again(
    service: Service,
    put_mail: Put,
    attempter: Attempter,
    endpoint: TokenEndpoint,
    receiver: Receiver,
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = {"error": "invalid_client", "error_description": "AADSTS7000222: canary"}
    endpoint.replies.append((401, told))
    message = await put_mail()
    with caplog.at_level(logging.DEBUG):
        await attempter.attempt(message)
    circuit = (await read_circuits([service.id]))[service.id]
    assert circuit.reason == "Authentication failed: no access token from 127.0.0.1 (invalid_client, AADSTS7000222)."
    assert await recipient_states(message) == ["deferred"]
    (recipient,) = await rows("SELECT attempt_number FROM recipient WHERE message_id = $1", message)
    assert recipient["attempt_number"] == 0, "it is no fault of the mail"
    assert receiver.sessions == []
    kept = [
        await rows(f"SELECT * FROM {table}") for table in ("service", "access_token", "circuit", "attempt", "event")
    ]
    assert "canary" not in repr((kept, caplog.text))

    await execute("UPDATE message SET due_at = $1", now())
    await execute("UPDATE recipient SET due_at = $1", now())
    await execute("UPDATE circuit SET probe_at = $1, auth_after = $1", now())
    await attempt_elsewhere(attempter, message)
    assert await recipient_states(message) == ["sent"]
    assert await read_circuits([service.id]) == {}


async def test_an_endpoint_that_is_away_costs_no_attempt(
    service: Service, put_mail: Put, attempter: Attempter, endpoint: TokenEndpoint
) -> None:
    endpoint.replies.append((503, {}))
    message = await put_mail()
    await attempter.attempt(message)
    circuit = (await read_circuits([service.id]))[service.id]
    assert circuit.reason.startswith("Connection refused: no access token can be had now, 127.0.0.1 answers with")
    (recipient,) = await rows("SELECT state, attempt_number FROM recipient WHERE message_id = $1", message)
    assert (recipient["state"], recipient["attempt_number"]) == ("deferred", 0)
