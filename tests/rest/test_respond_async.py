"""Who does not wait for the verdict: the client that prefers so, and every client of a service that is set so."""

import httpx2
import pytest

from app.inbox.receiver import Receiver
from app.queue.models import Message
from app.services.models import Service
from tests.factories import count
from tests.rest.conftest import MAIL, URL

PREFER = {"Prefer": "respond-async"}
KEY = {"Idempotency-Key": "order 1"}


@pytest.fixture
async def in_no_hurry(service: Service) -> Service:
    """The service answers at once."""
    await Service.filter(id=service.id).update(respond_async=True)
    return service


@pytest.mark.usefixtures("in_no_hurry")
async def test_a_service_that_is_set_so_answers_at_once(client: httpx2.AsyncClient) -> None:
    response = await client.post(URL, json=MAIL)

    assert (response.status_code, response.json()) == (202, {"count": 1})
    assert response.headers["x-message-status"] == "queued"
    assert "preference-applied" not in response.headers, "nobody preferred anything"
    assert not (await Message.get()).verdict_awaited


@pytest.mark.usefixtures("in_no_hurry", "worker")
async def test_a_server_that_is_not_there_fails_no_mail_of_it(client: httpx2.AsyncClient, receiver: Receiver) -> None:
    await receiver.stop()
    response = await client.post(URL, json=MAIL)
    assert response.status_code == 202
    assert (await Message.get()).state != "failed"


@pytest.mark.usefixtures("service")
async def test_a_preference_that_is_honoured_is_said_to_be(client: httpx2.AsyncClient) -> None:
    response = await client.post(URL, json=MAIL, headers=PREFER)
    assert (response.status_code, response.headers["preference-applied"]) == (202, "respond-async")


@pytest.mark.usefixtures("in_no_hurry")
async def test_also_where_the_service_would_not_have_waited_anyway(client: httpx2.AsyncClient) -> None:
    response = await client.post(URL, json=MAIL, headers=PREFER)
    assert (response.status_code, response.headers["preference-applied"]) == (202, "respond-async")


@pytest.mark.usefixtures("worker")
async def test_no_preference_is_applied_where_none_was_given(client: httpx2.AsyncClient) -> None:
    response = await client.post(URL, json=MAIL)
    assert (response.status_code, response.headers["x-message-status"]) == (200, "sent")
    assert "preference-applied" not in response.headers


@pytest.mark.usefixtures("in_no_hurry")
async def test_a_replay_answers_at_once_too(client: httpx2.AsyncClient) -> None:
    first, again = [await client.post(URL, json=MAIL, headers=KEY) for _ in range(2)]
    assert [(answer.status_code, answer.headers["x-message-status"]) for answer in (first, again)] == [
        (202, "queued")
    ] * 2
    assert (again.headers["idempotent-replayed"], await count("message")) == ("true", 1)


@pytest.mark.parametrize("verdict_wait", [0.01])
@pytest.mark.usefixtures("service")
async def test_a_replay_that_prefers_so_is_told_so(client: httpx2.AsyncClient) -> None:
    first = await client.post(URL, json=MAIL, headers=KEY)
    again = await client.post(URL, json=MAIL, headers=KEY | PREFER)
    assert (first.status_code, "preference-applied" in first.headers) == (200, False)
    assert (again.status_code, again.headers["preference-applied"]) == (202, "respond-async")


@pytest.mark.usefixtures("worker")
async def test_a_replay_of_what_was_sent_tells_the_verdict(client: httpx2.AsyncClient) -> None:
    await client.post(URL, json=MAIL, headers=KEY)
    again = await client.post(URL, json=MAIL, headers=KEY | PREFER)
    assert (again.status_code, again.headers["x-message-status"]) == (200, "sent")
    assert "preference-applied" not in again.headers
