"""A rate limit at the route: what is answered when it is reached, and what is told before."""

from typing import Any

import httpx2
import pytest

from app.access.api_keys import create_api_key
from app.access.check import GrantValues, RoleValues
from app.access.manage import create_role, update_role
from app.access.models import Role
from app.access.principal import Action
from app.clock import now
from app.limits.recipients import RecipientLimits
from app.rest.examples import failure_examples
from app.settings import Settings
from tests.factories import count
from tests.rest.conftest import MAIL, URL, error_of

AT_ONCE = {"Prefer": "respond-async"}

pytestmark = pytest.mark.usefixtures("service")


@pytest.fixture
async def key(sqlite_database: object) -> str:
    grants = (GrantValues(None, [Action.SEND.value]),)
    role = await create_role(RoleValues("shop", grants=grants, limits=RecipientLimits(per_minute=10)), None)
    return (await create_api_key(role.id, "web", None, None, limits=RecipientLimits(per_hour=100)))[1]


async def send(client: httpx2.AsyncClient, recipients: int = 1, **headers: str) -> httpx2.Response:
    to = [f"{number}@x.example" for number in range(recipients)]
    return await client.post(URL, json={**MAIL, "to": to}, headers=AT_ONCE | headers)


def limits_of(response: httpx2.Response) -> tuple[str | None, ...]:
    return tuple(response.headers.get(f"x-ratelimit-{name}") for name in ("limit", "remaining"))


async def test_the_eleventh_recipient_is_refused(client: httpx2.AsyncClient) -> None:
    began = now().timestamp()
    accepted = await send(client, 7)
    assert (accepted.status_code, limits_of(accepted)) == (202, ("10", "3"))
    assert began + 60 <= int(accepted.headers["x-ratelimit-reset"]) <= now().timestamp() + 62

    response = await send(client, 4)
    error = error_of(response, 429)
    wait = int(response.headers["retry-after"])
    assert error["message"] == (
        f"API limit(s) exceeded. The limit of role 'shop' is 10 recipients per minute. Try again in {wait} s."
    )
    assert error["context"] == {"error_code": "RATE_LIMITED", "retryable": True, "retry_after": wait}
    assert limits_of(response) == ("10", "3")
    assert 1 <= wait <= 61
    reset = int(response.headers["x-ratelimit-reset"])
    assert reset == int(accepted.headers["x-ratelimit-reset"]), "it is free when the seven are"
    assert began + wait - 1 <= reset <= now().timestamp() + wait + 1

    assert limits_of(await send(client, 3)) == ("10", "0")
    assert (await send(client)).status_code == 429
    assert (await count("message"), await count("recipient")) == (2, 10)


async def test_more_than_the_limit_itself_has_no_time_to_come_back(client: httpx2.AsyncClient) -> None:
    response = await send(client, 11)
    error = error_of(response, 429)
    assert error["context"] == {"error_code": "RATE_LIMITED"}
    assert error["message"].endswith("per minute, and this mail has 11: it can never pass. Send it in smaller parts.")
    assert response.json() in [shown["value"] for shown in failure_examples(Settings())[429].values()]
    assert limits_of(response) == ("10", "10")
    assert {"retry-after", "x-ratelimit-reset"}.isdisjoint(response.headers)
    assert (await send(client, 10)).status_code == 202


async def test_a_replay_is_answered_where_nothing_is_free(client: httpx2.AsyncClient) -> None:
    first = await send(client, 10, **{"Idempotency-Key": "order-1"})
    again = await send(client, 10, **{"Idempotency-Key": "order-1"})
    assert (again.status_code, again.json()) == (first.status_code, {"count": 10})
    assert again.headers["x-message-id"] == first.headers["x-message-id"]
    assert limits_of(again) == (None, None)


async def test_a_mailbox_named_twice_counts_once(client: httpx2.AsyncClient) -> None:
    mail: dict[str, Any] = {**MAIL, "to": ["a@x.example", "A <a@x.example>"], "cc": "a@x.example"}
    response = await client.post(URL, json=mail, headers=AT_ONCE)
    assert limits_of(response) == ("10", "9")


async def test_what_is_refused_for_another_reason_does_not_count(client: httpx2.AsyncClient) -> None:
    assert (await client.post(URL, json={**MAIL, "to": "ada@"})).status_code == 400
    assert limits_of(await send(client)) == ("10", "9")


async def test_a_limit_that_is_raised_counts_at_once(client: httpx2.AsyncClient) -> None:
    await send(client, 10)
    assert (await send(client)).status_code == 429
    role = await Role.get(name="shop")
    await update_role(role.id, {"limits": RecipientLimits(per_minute=12)}, None)
    assert limits_of(await send(client, 2)) == ("12", "0")
    await update_role(role.id, {"limits": RecipientLimits(per_minute=5)}, None)
    assert limits_of(await send(client)) == ("5", "0")


async def test_without_a_limit_nothing_is_said(client: httpx2.AsyncClient, unlimited: str) -> None:
    response = await send(client, 20, **{"X-API-Key": unlimited})
    assert (response.status_code, limits_of(response)) == (202, (None, None))


@pytest.fixture
async def unlimited(sqlite_database: object) -> str:
    role = await create_role(RoleValues("free", grants=(GrantValues(None, [Action.SEND.value]),)), None)
    return (await create_api_key(role.id, "web", None, None))[1]
