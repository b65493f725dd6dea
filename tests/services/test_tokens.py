"""Access tokens: cached, renewed in time, requested once for all who ask, and sealed."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.database.connection import execute, rows
from app.queue.forgive import forgive_outage
from app.services.access_token import read_token, take_lease
from app.services.check import ServiceValues
from app.services.manage import create_service, get_service, update_service
from app.services.models import Service
from app.services.oauth2 import OAuth2Values
from app.services.sealed import Rotation, forget_secret, reseal_secrets
from app.services.sealed_columns import bound_to
from app.services.secret import Sealer
from app.services.tokens import Tokens
from app.settings import Settings
from app.smtp.failure import Cause, Phase, SmtpFailure
from tests.factories import count
from tests.token_endpoint import TokenEndpoint, token_endpoint

KEY_TEXT = "k" * 32
SEALER = Sealer([KEY_TEXT])
NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
OAUTH2 = OAuth2Values(
    grant="MICROSOFT_REFRESH_TOKEN", client_id="app", client_secret="canary-secret", refresh_token="canary-refresh-0"
)


class Clock:
    """Stands still until told."""

    def __init__(self) -> None:
        self.moment = NOW

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@pytest.fixture
async def endpoint() -> AsyncIterator[TokenEndpoint]:
    async with token_endpoint() as endpoint:
        yield endpoint


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def service(database: Settings, endpoint: TokenEndpoint) -> Service:
    oauth2 = replace(OAUTH2, token_endpoint=endpoint.url)
    values = ServiceValues(name="m365", host="127.0.0.1", encryption="NONE", username="me@example.com", oauth2=oauth2)
    return await create_service(values, None, SEALER)


@pytest.fixture
def tokens(database: Settings, clock: Clock) -> Tokens:
    return Tokens(impatient(database), SEALER, now=clock)


def impatient(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update={"oauth2_poll": 0.01, "smtp_loopback": True, **changes})


async def test_a_token_is_requested_once_and_renewed_before_it_expires(
    service: Service, tokens: Tokens, endpoint: TokenEndpoint, clock: Clock
) -> None:
    seen = []
    for seconds in (0, 3299, 2, 3299, 2):
        clock.advance(seconds)
        token = await tokens.obtain(service)
        seen.append((token.text, token.is_fresh))
    assert seen == [("token-1", True), ("token-1", False), ("token-2", True), ("token-2", False), ("token-3", True)]
    assert endpoint.forms[0] == {
        "grant_type": "refresh_token",
        "client_id": "app",
        "client_secret": "canary-secret",
        "refresh_token": "canary-refresh-0",
        "scope": "https://outlook.office.com/SMTP.Send offline_access",
    }


@pytest.mark.parametrize(
    ("lifetime", "good_for"), [(60, 30), (400, 200), (None, 150), (0, 150), (10**9, 24 * 3600 - 300)]
)
async def test_however_long_a_token_lasts_it_is_renewed_before_its_end(
    service: Service, tokens: Tokens, endpoint: TokenEndpoint, clock: Clock, lifetime: float | None, good_for: float
) -> None:
    endpoint.lifetime = lifetime
    await tokens.obtain(service)
    clock.advance(good_for - 1)
    assert (await tokens.obtain(service)).text == "token-1"
    clock.advance(2)
    assert (await tokens.obtain(service)).text == "token-2"


async def test_a_token_that_the_server_refuses_is_replaced_once_for_all(
    service: Service, tokens: Tokens, endpoint: TokenEndpoint
) -> None:
    await tokens.obtain(service)
    renewed = await asyncio.gather(*(tokens.obtain(service, "token-1") for _ in range(5)))
    assert {token.text for token in renewed} == {"token-2"}
    assert sum(token.is_fresh for token in renewed) == 1
    assert len(endpoint.forms) == 2


async def test_of_many_who_ask_at_once_one_requests(
    service: Service, tokens: Tokens, endpoint: TokenEndpoint, database: Settings, clock: Clock
) -> None:
    endpoint.gate.clear()
    other = Tokens(impatient(database), SEALER, now=clock)
    asking = [asyncio.ensure_future(source.obtain(service)) for source in (tokens, other) * 5]
    await endpoint.asked(1)
    endpoint.gate.set()
    assert {token.text for token in await asyncio.gather(*asking)} == {"token-1"}
    assert len(endpoint.forms) == 1


WORKER = """
import asyncio, sys
from uuid import UUID
from app.clock import now
from app.database.connection import close_database, open_database
from app.database.key import new_key
from app.queue.heartbeat import beat
from app.services.models import Service
from app.services.secret import Sealer
from app.services.tokens import Tokens
from app.settings import Settings

async def work(url, key, service_id):
    settings = Settings(database_url=url, smtp_loopback=True, oauth2_poll=0.01)
    await open_database(settings)
    try:
        await beat(new_key(), now())
        tokens = Tokens(settings, Sealer([key]))
        service = await Service.get(id=UUID(service_id))
        asked = [tokens.obtain(service) for _ in range(3)]
        print(*{token.text for token in await asyncio.gather(*asked)})
    finally:
        await close_database()

asyncio.run(work(*sys.argv[1:]))
"""


async def test_two_workers_make_one_request(database: Settings, service: Service, endpoint: TokenEndpoint) -> None:
    endpoint.gate.clear()
    workers = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", WORKER, database.database_url, KEY_TEXT, str(service.id)),
            cwd=Path(__file__).parents[2],
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        for _ in range(2)
    ]
    async with asyncio.timeout(60):
        await endpoint.asked(1)
        while await count("worker") < 2:  # noqa: ASYNC110 - a row sets no event
            await asyncio.sleep(0.02)
        endpoint.gate.set()
        told = [await worker.communicate() for worker in workers]
    assert [output.decode() for output, _ in told] == ["token-1\n"] * 2, told
    assert len(endpoint.forms) == 1


async def test_while_another_renews_it_the_old_token_is_taken_and_a_dead_renewer_is_replaced(
    service: Service, tokens: Tokens, endpoint: TokenEndpoint, clock: Clock
) -> None:
    await tokens.obtain(service)
    clock.advance(3400)
    assert await take_lease(service.id, await read_token(service.id), service.id, clock.moment, 20)
    assert (await tokens.obtain(service)).text == "token-1"
    clock.advance(21)
    assert (await tokens.obtain(service)).text == "token-2"


@pytest.mark.parametrize(
    ("status", "told", "phase", "reason"),
    [
        (400, {"error": "invalid_grant", "error_description": "canary"}, Phase.AUTH, "(invalid_grant)"),
        (
            401,
            {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret canary"},
            Phase.AUTH,
            "(invalid_client, AADSTS7000215)",
        ),
        (400, {"error": "canary <script>"}, Phase.CONNECT, "answers with status 400"),
        (400, b"canary", Phase.CONNECT, "answers with status 400"),
        (503, {"error": "invalid_grant"}, Phase.CONNECT, "answers with status 503"),
        (429, {}, Phase.CONNECT, "answers with status 429"),
        (400, {"error": "temporarily_unavailable"}, Phase.CONNECT, "answers with status 400"),
        (302, {}, Phase.CONNECT, "answers with status 302"),
        (200, b"[" * 60_000, Phase.CONNECT, "no access token"),
        (200, {"access_token": "canary\x01", "token_type": "Bearer"}, Phase.CONNECT, "no access token"),
        (200, {"access_token": "canary", "token_type": "mac"}, Phase.CONNECT, "no access token"),
        (200, b"x" * 70_000, Phase.CONNECT, "more than 65536 bytes"),
    ],
)
async def test_what_the_endpoint_says_against_it_is_told_by_its_codes(
    sqlite_service: Service,
    sqlite_tokens: Tokens,
    endpoint: TokenEndpoint,
    status: int,
    told: Any,
    phase: Phase,
    reason: str,
) -> None:
    endpoint.replies.append((status, told))
    with pytest.raises(SmtpFailure) as refused:
        await sqlite_tokens.obtain(sqlite_service)
    failure = refused.value.failure
    assert failure.phase is phase
    assert failure.cause is (Cause.AUTHENTICATION if phase is Phase.AUTH else Cause.CONNECTION_REFUSED)
    assert reason in failure.message
    assert "127.0.0.1" in failure.message
    assert "canary" not in failure.message
    assert (await sqlite_tokens.obtain(sqlite_service)).text == "token-2"


@pytest.fixture
async def sqlite_service(sqlite_database: Settings, endpoint: TokenEndpoint) -> Service:
    oauth2 = replace(OAUTH2, token_endpoint=endpoint.url)
    values = ServiceValues(name="m365", host="127.0.0.1", encryption="NONE", username="me@example.com", oauth2=oauth2)
    return await create_service(values, None, SEALER)


@pytest.fixture
def sqlite_tokens(sqlite_database: Settings, clock: Clock) -> Tokens:
    return Tokens(impatient(sqlite_database), SEALER, now=clock)


async def test_an_endpoint_that_cannot_be_reached_is_a_fault_for_now(
    sqlite_service: Service, sqlite_database: Settings, endpoint: TokenEndpoint
) -> None:
    endpoint.gate.clear()
    wrong = {
        "longer than 0.05 seconds": impatient(sqlite_database, oauth2_timeout=0.05),
        "loopback that is permitted": impatient(sqlite_database, smtp_loopback=False),
    }
    for reason, settings in wrong.items():
        with pytest.raises(SmtpFailure, match=reason):
            await Tokens(settings, SEALER).obtain(sqlite_service)
    await Service.filter(id=sqlite_service.id).update(oauth2_token_endpoint="https://127.0.0.1:9/token")
    with pytest.raises(SmtpFailure, match=r"127\.0\.0\.1 takes no connection") as refused:
        await Tokens(impatient(sqlite_database), SEALER).obtain(sqlite_service)
    assert refused.value.failure.phase is Phase.CONNECT


async def test_an_endpoint_that_fails_leaves_the_old_token_while_that_is_good(
    service: Service, tokens: Tokens, endpoint: TokenEndpoint, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    await tokens.obtain(service)
    clock.advance(3301)
    endpoint.replies = [(503, {}), (400, {"error": "invalid_grant"})]
    assert [(await tokens.obtain(service)).text for _ in range(2)] == ["token-1"] * 2
    assert len(endpoint.forms) == 2, "it is not asked again at once"
    assert "no new access token" in caplog.text
    clock.advance(300)
    with pytest.raises(SmtpFailure, match="invalid_grant"):
        await tokens.obtain(service)


async def test_a_refresh_token_that_is_replaced_is_kept_whoever_seals_it_anew(
    service: Service, endpoint: TokenEndpoint, database: Settings, clock: Clock
) -> None:
    both = Sealer(["n" * 32, KEY_TEXT])
    tokens = Tokens(impatient(database), both, now=clock)
    endpoint.gate.clear()
    renewed = {"access_token": "t", "token_type": "bearer", "expires_in": 60, "refresh_token": "canary-refresh-1"}
    endpoint.replies.append((200, renewed))
    asking = asyncio.ensure_future(tokens.obtain(service))
    await endpoint.asked(1)
    assert await reseal_secrets(both) == Rotation(2, 0, ())
    endpoint.gate.set()
    assert (await asking).text == "t"
    stored = await get_service(service.id)
    assert stored.sealed_refresh_token is not None
    assert both.open(stored.sealed_refresh_token, bound_to(service.id, "sealed_refresh_token")) == "canary-refresh-1"
    assert stored.version == service.version
    clock.advance(31)
    await tokens.obtain(service)
    assert endpoint.forms[-1]["refresh_token"] == "canary-refresh-1"


async def test_a_change_of_the_credentials_forgets_the_token_and_what_is_under_way(
    service: Service, tokens: Tokens, endpoint: TokenEndpoint
) -> None:
    await tokens.obtain(service)
    endpoint.gate.clear()
    asking = asyncio.ensure_future(tokens.obtain(service, "token-1"))
    await endpoint.asked(2)
    changes = {"oauth2": replace(OAUTH2, token_endpoint=endpoint.url, refresh_token="another")}
    await update_service(service, changes, None, SEALER, forgive=forgive_outage)  # type: ignore[arg-type]
    endpoint.gate.set()
    await asking
    assert (await read_token(service.id)).sealed is None
    await tokens.obtain(service)
    assert endpoint.forms[-1]["refresh_token"] == "another"
    await update_service(await get_service(service.id), {"label": "x"}, None, SEALER, forgive=forgive_outage)
    assert (await read_token(service.id)).sealed is not None


@pytest.mark.parametrize("cached", [False, True])
async def test_a_server_that_the_service_has_left_gets_no_token(
    sqlite_service: Service, sqlite_tokens: Tokens, endpoint: TokenEndpoint, cached: bool
) -> None:
    """An attempt may have begun before the change."""
    changes = {"port": 2525, "oauth2": replace(OAUTH2, token_endpoint=endpoint.url)}
    changed = await update_service(sqlite_service, changes, None, SEALER, forgive=forgive_outage)  # type: ignore[arg-type]
    if cached:
        await sqlite_tokens.obtain(changed)
    with pytest.raises(SmtpFailure, match="changed meanwhile"):
        await sqlite_tokens.obtain(sqlite_service)
    assert len(endpoint.forms) == cached
    assert (await sqlite_tokens.obtain(changed)).text == "token-1"


async def test_a_token_under_a_key_that_is_gone_is_had_anew(
    service: Service, tokens: Tokens, database: Settings, endpoint: TokenEndpoint, clock: Clock
) -> None:
    await tokens.obtain(service)
    assert await reseal_secrets(Sealer(["n" * 32, KEY_TEXT])) == Rotation(2, 0, ())
    alone = Tokens(impatient(database), Sealer(["n" * 32]), now=clock)
    assert (await alone.obtain(service)).text == "token-2"
    with pytest.raises(SmtpFailure, match="cannot be unsealed"):
        await Tokens(impatient(database), Sealer(["x" * 32]), now=clock).obtain(service)


async def test_secrets_whose_key_is_lost_are_forgotten_as_a_whole(service: Service, tokens: Tokens) -> None:
    await tokens.obtain(service)
    await forget_secret("m365", Sealer(["n" * 32]))
    stored = await get_service(service.id)
    gone = ("username", "oauth2_grant", "oauth2_client_id", "sealed_client_secret", "sealed_refresh_token")
    assert {getattr(stored, column) for column in gone} == {None}
    assert stored.paused_at is not None
    assert (await read_token(service.id)).sealed is None
    assert "canary" not in repr(await rows("SELECT * FROM audit_entry"))


async def test_nothing_secret_is_in_a_row_a_log_or_a_repr(
    service: Service, tokens: Tokens, endpoint: TokenEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.replies.append((200, {"access_token": "canary-token", "token_type": "Bearer", "expires_in": 3600}))
    with caplog.at_level(logging.DEBUG):
        token = await tokens.obtain(service)
    kept = [await rows(f"SELECT * FROM {table}") for table in ("service", "access_token", "audit_entry")]
    assert token.text == "canary-token"
    assert "canary" not in repr((kept, token, caplog.text, service, OAUTH2))


async def test_secrets_of_columns_do_not_open_in_each_others_place(service: Service, tokens: Tokens) -> None:
    await execute("UPDATE service SET sealed_refresh_token = sealed_client_secret WHERE id = $1", service.id)
    with pytest.raises(SmtpFailure, match="cannot be unsealed"):
        await tokens.obtain(service)
