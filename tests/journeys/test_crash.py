"""SIGKILL at the worst moments: what was acknowledged arrives, once; only after the final dot it may arrive twice."""

import asyncio
import secrets
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.inbox.receiver import Hang, Receiver, Stage, Wait
from tests.journeys.conftest import Eventually, KeepPort
from tests.journeys.crash import crash
from tests.journeys.doors import Doors, Message
from tests.journeys.installation import installation
from tests.journeys.program import ADMIN_KEY, PATIENCE, Heliograph
from tests.journeys.reading import read_mail


@pytest.fixture(params=["sqlite", "postgres"])
def installed(request: pytest.FixtureRequest, heliograph: Heliograph) -> Heliograph:
    """The program on each database, whose leases end soon after a crash."""
    url = "sqlite://heliograph.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    secret = "thirty-two characters are enough for a test"
    return heliograph.having(database_url=url, secret_keys=secret, admin_api_key=ADMIN_KEY, lease=2, lease_renewal=0.4)


def graphql_mail(service: str, **more: Any) -> dict[str, Any]:
    return {"service": service, "to": [{"email": "a@x.example"}], "subject": "Hello", "text": "Hello.", **more}


REST_MAIL = {"to": "a@x.example", "subject": "Hello", "body_text": "Hello."}


async def is_sent(doors: Doors, message_id: str) -> bool:
    return (await doors.graphql.message(message_id)).state == "SENT"


async def all_are_sent(doors: Doors) -> bool:
    return {message.state for message in await doors.graphql.messages()} == {"SENT"}


async def test_what_was_acknowledged_before_the_crash_arrives_once_after_the_restart(
    installed: Heliograph, eventually: Eventually, keep_port: KeepPort
) -> None:
    acknowledged: list[Message] = []
    ports = keep_port(), keep_port()
    async with Receiver(port=ports[0], keep=True) as hanging, Receiver(port=ports[1], keep=True) as refusing:
        hanging.script.on(Stage.GREETING, Hang())
        refusing.script.on(Stage.RCPT, "450 4.2.1 Try later")
        async with installed.serving() as server:
            doors = server.doors
            await doors.graphql.create_service("hanging", port=hanging.port)
            await doors.graphql.create_service("refusing", port=refusing.port)
            acknowledged.append(await doors.graphql.send_email(**graphql_mail("hanging")))
            at_once = await doors.rest.send("hanging", REST_MAIL, Prefer="respond-async")
            assert at_once.status_code == 202
            queued = await doors.rest.send("refusing", REST_MAIL)
            assert (queued.status_code, queued.headers["x-message-status"]) == (200, "queued")
            ids = [response.headers["x-message-id"] for response in (at_once, queued)]
            acknowledged += [await doors.graphql.message(message_id) for message_id in ids]
            await server.kill()
    assert hanging.mails == refusing.mails == []

    async with Receiver(port=ports[0], keep=True) as one, Receiver(port=ports[1], keep=True) as other:
        async with installed.serving() as server:
            await eventually(lambda: all_are_sent(server.doors))
            assert {message.id for message in await server.doors.graphql.messages()} == {m.id for m in acknowledged}
            server.terminate()
            assert (await server.ended()).status == 0
        arrived = Counter(read_mail(mail.content).message_id for mail in [*one.mails, *other.mails])
    assert arrived == Counter(message.message_id_header for message in acknowledged)


async def test_a_mail_claimed_by_a_killed_process_leaves_again_when_its_lease_ends(
    installed: Heliograph, receiver: Receiver, eventually: Eventually
) -> None:
    receiver.script.on(Stage.DATA, Hang(), times=1)
    async with installed.serving() as server:
        await server.doors.graphql.create_service("relay", port=receiver.port)
        message = await server.doors.graphql.send_email(**graphql_mail("relay"))

        async def hangs_at_data() -> bool:
            return any("DATA" in session.verbs for session in receiver.sessions)

        await eventually(hangs_at_data)
        assert (await server.doors.graphql.message(message.id)).state == "SENDING"
        await server.kill()
    async with installed.serving() as server:
        await eventually(lambda: all_are_sent(server.doors))
        sent = await server.doors.graphql.message(message.id)
    assert sent["a@x.example"].attempt_count == 2
    assert [attempt.number for attempt in sent["a@x.example"].attempts] == [1, 2]
    assert [read_mail(mail.content).message_id for mail in receiver.mails] == [message.message_id_header]


async def test_under_kills_at_random_moments_nothing_is_lost_and_only_the_final_dot_doubles(
    tmp_path: Path, database_url: str
) -> None:
    installed = installation(tmp_path, database_url, lease=4, lease_renewal=0.5)
    findings = await crash(installed, mails=60, kills=4, seed=secrets.randbits(32))
    assert list(findings.broken()) == []
    assert (len(findings.copies), len(findings.stored)) == (60, 60)
    assert {life.killed_by for life in findings.lives.values()} == {None, 1, 2, 3, 4}


async def test_three_processes_on_one_database_send_each_mail_once(
    installed: Heliograph, receiver: Receiver, eventually: Eventually
) -> None:
    # On PostgreSQL the limit is one for all workers: the first must not take it up.
    if "postgres" in installed.settings["HELIOGRAPH_DATABASE_URL"]:
        installed = installed.having(smtp_max_connections=1000)
    released = asyncio.Event()
    receiver.script.on(Stage.DOT, Wait(released))

    async def all_three_deliver() -> bool:
        return {session.commands[0] for session in receiver.sessions if session.commands} == {
            "EHLO server.example",
            "EHLO one.example",
            "EHLO two.example",
        }

    async with installed.having(ehlo_name="server.example").serving() as server:
        await server.doors.graphql.create_service("relay", port=receiver.port)
        workers = [await installed.having(ehlo_name=f"{name}.example").start("worker") for name in ("one", "two")]

        async def both_have_started() -> bool:
            return all("delivers mail" in worker.output for worker in workers)

        await eventually(both_have_started)
        sent = []
        async with asyncio.timeout(PATIENCE):
            while not await all_three_deliver():
                sent.append(await server.doors.graphql.send_email(**graphql_mail("relay")))
        released.set()

        for message in sent:
            await eventually(partial(is_sent, server.doors, message.id))
        for worker in workers:
            worker.terminate()
            ended = await worker.ended()
            assert (ended.status, ended.output) == (0, "Heliograph delivers mail\n")
    arrived = Counter(read_mail(mail.content).message_id for mail in receiver.mails)
    assert arrived == Counter(message.message_id_header for message in sent)


async def test_sigterm_answers_whoever_waits_for_a_verdict_and_their_mail_arrives_later(
    installed: Heliograph, eventually: Eventually, keep_port: KeepPort
) -> None:
    async with Receiver(port=keep_port(), keep=True) as silent:
        silent.script.on(Stage.GREETING, Hang())
        async with installed.serving() as server:
            doors = server.doors
            await doors.graphql.create_service("silent", port=silent.port)
            rest = asyncio.create_task(doors.rest.send("silent", REST_MAIL))
            graphql = asyncio.create_task(doors.graphql.send_email(**graphql_mail("silent", waitSeconds=60)))

            async def both_are_being_sent() -> bool:
                return len(silent.sessions) == 2

            await eventually(both_are_being_sent)
            server.terminate()
            answer, message = await rest, await graphql
            assert (answer.status_code, answer.json()) == (200, {"count": 1})
            assert answer.headers["x-message-status"] == "queued"
            assert message.state == "SENDING"
            await silent.stop()
            assert (await server.ended()).status == 0
    async with installed.serving() as server:

        async def one_is_deferred() -> bool:
            return "DEFERRED" in {message.state for message in await server.doors.graphql.messages()}

        await eventually(one_is_deferred)
        async with Receiver(port=silent.port, keep=True) as receiver:
            await eventually(lambda: all_are_sent(server.doors))
            assert len(receiver.mails) == 2


async def test_sigterm_lets_a_delivery_under_way_finish(
    heliograph: Heliograph, receiver: Receiver, eventually: Eventually
) -> None:
    installed = heliograph.having(admin_api_key=ADMIN_KEY)
    released = asyncio.Event()
    receiver.script.on(Stage.DOT, Wait(released))
    async with installed.serving() as server:
        await server.doors.graphql.create_service("relay", port=receiver.port)
        message = await server.doors.graphql.send_email(**graphql_mail("relay"))

        async def has_begun() -> bool:
            return any("DATA" in session.verbs for session in receiver.sessions)

        await eventually(has_begun)
        server.terminate()

        async def is_closed() -> bool:
            return "Waiting for application shutdown" in server.errors

        await eventually(is_closed)
        released.set()
        ended = await server.ended()
        assert ended.status == 0
        assert "Traceback" not in ended.errors
    async with installed.serving("--no-worker") as server:
        assert (await server.doors.graphql.message(message.id)).state == "SENT"
    assert len(receiver.mails) == 1


RETRY_EMAIL = """
  mutation ($id: ID!) { retryEmail(input: {id: $id}) { userErrors { message } message { state } } }
"""


async def test_a_mail_that_crashes_its_worker_three_times_is_parked_and_the_others_flow(
    installed: Heliograph, receiver: Receiver, eventually: Eventually
) -> None:
    receiver.script.on(Stage.RCPT, Hang(), address="a@x.example", times=3)

    async def strikes() -> int:
        return sum("RCPT TO:<a@x.example>" in session.commands for session in receiver.sessions)

    message_id = ""
    for kills in range(1, 4):
        async with installed.serving() as server:
            if not message_id:
                await server.doors.graphql.create_service("relay", port=receiver.port)
                message_id = (await server.doors.graphql.send_email(**graphql_mail("relay"))).id

            async def has_struck(times: int = kills) -> bool:
                return await strikes() == times

            await eventually(has_struck)
            other = graphql_mail("relay", to=[{"email": "b@x.example"}], waitSeconds=30)
            assert (await server.doors.graphql.send_email(**other)).state == "SENT"
            await server.kill()

    async with installed.serving() as server:

        async def is_parked() -> bool:
            return (await server.doors.graphql.message(message_id)).state == "FAILED"

        await eventually(is_parked)
        parked = (await server.doors.graphql.message(message_id))["a@x.example"]
        assert str(parked.detail).startswith("It was lost with its worker 3 times")
        assert [(attempt.number, attempt.outcome) for attempt in parked.attempts] == [
            (1, "QUEUED"),
            (2, "QUEUED"),
            (3, "FAILED"),
        ]
        assert {mail.recipients for mail in receiver.mails} == {("b@x.example",)}

        retried = await server.doors.graphql.ask(RETRY_EMAIL, id=message_id)
        assert retried["retryEmail"]["userErrors"] == []
        await eventually(lambda: all_are_sent(server.doors))
    assert ("a@x.example",) in {mail.recipients for mail in receiver.mails}


@pytest.mark.parametrize(("stage", "state"), [(Stage.DATA, "SENT"), (Stage.DOT, "FAILED")])
async def test_mail_that_is_to_fail_in_doubt_does_after_a_crash_only_if_the_dot_may_have_been_said(
    installed: Heliograph, receiver: Receiver, eventually: Eventually, stage: Stage, state: str
) -> None:
    receiver.script.on(stage, Hang(), times=1)

    async def has_come_so_far() -> bool:
        sign = b"Hello." if stage is Stage.DOT else b"DATA"
        return any(sign in session.received for session in receiver.sessions)

    async with installed.serving() as server:
        await server.doors.graphql.create_service("relay", port=receiver.port)
        message = await server.doors.graphql.send_email(**graphql_mail("relay", onDoubt="FAIL"))
        await eventually(has_come_so_far)
        await server.kill()
    async with installed.serving() as server:

        async def is_settled() -> bool:
            return (await server.doors.graphql.message(message.id)).state in {"SENT", "FAILED"}

        await eventually(is_settled)
        settled = await server.doors.graphql.message(message.id)
    recipient = settled["a@x.example"]
    assert (settled.state, recipient.attempts[0].in_doubt) == (state, state == "FAILED")
    assert str(recipient.detail).startswith("Uncertain: ") is (state == "FAILED")
    assert [attempt.number for attempt in recipient.attempts] == ([1] if state == "FAILED" else [1, 2])
    assert len(receiver.mails) == (0 if state == "FAILED" else 1)
