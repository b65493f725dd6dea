"""A worker that stood still for longer than its lease: another one took over, and it neither sends nor writes."""

import asyncio
import os
import signal
from pathlib import Path

from app.database.connection import execute, is_transient, rows
from app.inbox.receiver import Receiver, Stage, Wait
from tests.journeys.conftest import Eventually
from tests.journeys.fleet import launched, settled
from tests.journeys.installation import installation, opened
from tests.journeys.program import Process

REST_MAIL = {"to": "a@x.example", "subject": "Hello", "body_text": "Hello."}


async def test_a_worker_stopped_past_its_lease_sends_no_second_copy_and_changes_nothing(
    tmp_path: Path, database_url: str, eventually: Eventually
) -> None:
    installed = installation(tmp_path, database_url, lease=2, lease_renewal=0.4)
    resumed = asyncio.Event()
    async with (
        Receiver(keep=True) as receiver,
        launched(installed, apis=1, workers=2, alone=False) as fleet,
    ):
        receiver.script.on(Stage.DATA, Wait(resumed), times=1)
        doors = await fleet.doors()
        await doors.graphql.create_service("relay", port=receiver.port)
        answer = await doors.rest.send("relay", REST_MAIL, Prefer="respond-async")
        message_id = answer.headers["x-message-id"]

        async def first_is_at_data() -> bool:
            return any("DATA" in session.verbs for session in receiver.sessions)

        await eventually(first_is_at_data)
        stopped = fleet.lives[receiver.sessions[0].commands[0].removeprefix("EHLO ")].process
        async with opened(installed):
            await stop(stopped)
            (second,) = await receiver.wait_for(1)
            await settled()
            before = await history()
            os.kill(stopped.running.pid, signal.SIGCONT)
            resumed.set()

            async def first_gives_up() -> bool:
                return "its end was withheld, the lease was not sure" in stopped.errors

            await eventually(first_gives_up)
            assert await history() == before
        assert (await doors.graphql.message(message_id)).state == "SENT"
    assert [(row["number"], row["outcome"]) for row in before] == [(1, "queued"), (2, "sent")]
    assert {(row["state"], row["fence"], row["attempt_number"]) for row in before} == {("sent", 2, 2)}
    assert receiver.mails == [second]
    assert second.ehlo_name != receiver.sessions[0].commands[0].removeprefix("EHLO ")


async def stop(process: Process) -> None:
    """SIGSTOP, at a moment at which it holds no lock of the database: with one, it would stop the others as well."""
    os.kill(process.running.pid, signal.SIGSTOP)
    while not await is_writable():
        os.kill(process.running.pid, signal.SIGCONT)
        while not await is_writable():
            pass
        os.kill(process.running.pid, signal.SIGSTOP)


async def is_writable() -> bool:
    try:
        await execute("UPDATE message SET fence = fence")
    except Exception as error:
        if not is_transient(error):
            raise
        return False
    return True


async def history() -> list[dict[str, object]]:
    """Each attempt that was written down, with what it made of the message and its recipient."""
    return await rows(
        "SELECT message.state, message.fence, message.settled_at, recipient.attempt_number, recipient.reply_text,"
        " attempt.number, attempt.worker_id, attempt.outcome FROM message"
        " JOIN recipient ON recipient.message_id = message.id JOIN attempt ON attempt.message_id = message.id"
        " ORDER BY attempt.number"
    )
