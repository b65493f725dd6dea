"""What has had its time is purged, and nothing else."""

import asyncio
import logging
from uuid import UUID

import pytest

from app.clock import now
from app.database.connection import close_database, execute, open_database, rows, transaction
from app.database.key import new_key
from app.housekeeping import purge, run_housekeeping
from app.limits.counter import take
from app.limits.window import Span
from app.queue.embedded import EmbeddedEngine
from app.queue.heartbeat import beat
from app.queue.put import Idempotency, put
from app.queue.schedule import Schedule
from app.queue.wakeup import Wakeup
from app.settings import Settings
from tests.factories import NOW, after, count, make_principal, make_service, new_message, recipient_states

DAY = 24 * 3600.0


@pytest.fixture
async def old_and_new(database: Settings) -> None:
    """Of each kind one row made at NOW and one made a day later."""
    service, principal = await make_service(), await make_principal()
    for name, seconds in (("old", 0.0), ("new", DAY)):
        message = new_message(service, principal, idempotency=Idempotency(name, "d", NOW))
        await put(message, after(seconds), EmbeddedEngine(Wakeup(), 1))
        await beat(new_key(), after(seconds))
        await execute(
            "INSERT INTO captured_mail (id, service_id, received_at, reverse_path, recipients, size_bytes, octets)"
            " VALUES ($1, $2, $3, $4, '[]', 0, $5)",
            new_key(),
            service.id,
            after(seconds),
            name,
            b"",
        )


@pytest.mark.usefixtures("old_and_new")
async def test_only_what_is_older_than_the_settings_keep_is_purged(database: Settings) -> None:
    kept = {"captured_mail_days": 1, "idempotency_ttl": DAY, "worker_lost_after": DAY / 10}
    settings = database.model_copy(update=kept)
    await purge(settings, after(DAY))
    assert [await count(table) for table in ("captured_mail", "idempotency_key", "worker")] == [2, 2, 2]

    await purge(settings, after(DAY + 1))
    assert [row["reverse_path"] for row in await rows("SELECT reverse_path FROM captured_mail")] == ["new"]
    assert [row["key"] for row in await rows("SELECT key FROM idempotency_key")] == ["new"]
    assert await count("worker") == 1
    assert await count("message") == 2, "mail is kept"


async def test_it_goes_on_after_trouble(sqlite_database: Settings, caplog: pytest.LogCaptureFixture) -> None:
    settings = sqlite_database.model_copy(update={"housekeeping_interval": 0.01, "worker_lost_after": 0.001})
    await close_database()
    keeping = asyncio.create_task(run_housekeeping(settings))
    async with asyncio.timeout(20):
        while "housekeeping failed" not in caplog.text:  # noqa: ASYNC110 - a log line sets no event
            await asyncio.sleep(0.01)
        await open_database(settings)
        await beat(UUID(int=1), NOW)
        while await count("worker"):  # noqa: ASYNC110 - a row sets no event
            await asyncio.sleep(0.01)
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping


async def test_a_statement_that_is_wrong_is_logged_with_its_traceback(
    sqlite_database: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    await execute("DROP TABLE captured_mail")
    keeping = asyncio.create_task(run_housekeeping(sqlite_database))
    async with asyncio.timeout(20):
        while "housekeeping failed" not in caplog.text:  # noqa: ASYNC110 - a log line sets no event
            await asyncio.sleep(0.01)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)

    [failed] = [record for record in caplog.records if "housekeeping failed" in record.getMessage()]
    assert failed.levelno == logging.ERROR
    assert "no such table: captured_mail" in caplog.text


async def test_mail_whose_time_is_over_is_expired(database: Settings) -> None:
    service, principal = await make_service(is_active=False), await make_principal()
    message = new_message(service, principal, schedule=Schedule(expires_at=now()))
    await put(message, now(), EmbeddedEngine(Wakeup(), 1))
    keeping = asyncio.create_task(run_housekeeping(database))
    try:
        async with asyncio.timeout(20):
            while await recipient_states(message.id) != ["expired"]:  # noqa: ASYNC110 - a row sets no event
                await asyncio.sleep(0.01)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def test_what_no_limit_counts_any_more_is_purged(database: Settings) -> None:
    for seconds in (0.0, DAY):
        async with transaction():
            await take(new_key(), {Span.HOUR: 10}, 1, after(seconds))
    await purge(database, after(DAY))
    assert [row["used"] for row in await rows("SELECT used FROM counter")] == [1]
