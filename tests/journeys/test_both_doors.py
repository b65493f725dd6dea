"""The same rows behind both doors: what each recipient came to, whoever asks."""

import asyncio
from typing import Any

import pytest

from app.inbox.receiver import Receiver, Stage, Wait
from tests.journeys.conftest import Eventually, Running
from tests.journeys.doors import UPDATE_SERVICE, Doors, Message, Refused, Reply, error_of
from tests.journeys.reading import read_mail

SOON = {"retry_schedule": (0.1,)}
OK = Reply(250, "2.0.0", "Taken")


async def make_service(doors: Doors, port: int, **given: Any) -> None:
    await doors.graphql.create_service("relay", port=port, **given)


def rest_mail(*to: str, **more: Any) -> dict[str, Any]:
    return {"to": list(to), "subject": "Hello", "body_text": "Hello.", **more}


def graphql_mail(*to: str, **more: Any) -> dict[str, Any]:
    recipients = [{"email": email} for email in to]
    return {"service": "relay", "to": recipients, "subject": "Hello", "text": "Hello.", **more}


async def send_by_rest(doors: Doors, *to: str) -> Message:
    """Send through door two, then ask door one what became of it."""
    response = await doors.rest.send("relay", rest_mail(*to))
    return await doors.graphql.message(response.headers["x-message-id"])


async def send_by_graphql(doors: Doors, *to: str) -> Message:
    return await doors.graphql.send_email(**graphql_mail(*to, waitSeconds=30))


BOTH_DOORS = pytest.mark.parametrize("send", [send_by_rest, send_by_graphql])


async def test_mail_of_both_doors_is_in_the_same_list(
    running: Running, receiver: Receiver, eventually: Eventually
) -> None:
    async with running() as doors:
        await make_service(doors, receiver.port)
        waited = await doors.graphql.send_email(
            **graphql_mail("to@x.example", cc=[{"email": "cc@x.example"}], bcc=[{"email": "bcc@x.example"}]),
            waitSeconds=30,
            tags=["first"],
        )
        unawaited = await doors.graphql.send_email(**graphql_mail("to@x.example"))
        response = await doors.rest.send(
            "RELAY", rest_mail("to@x.example", cc="cc@x.example", bcc="bcc@x.example, bcc@X.example")
        )
        assert response.json() == {"count": 3}
        by_rest = await doors.graphql.message(response.headers["x-message-id"])

        assert (waited.state, unawaited.state, by_rest.state) == ("SENT", unawaited.state, "SENT")
        for message in (waited, by_rest):
            assert [(r.kind, r.email, r.state) for r in message.recipients] == [
                ("TO", "to@x.example", "SENT"),
                ("CC", "cc@x.example", "SENT"),
                ("BCC", "bcc@x.example", "SENT"),
            ]
            for recipient in message.recipients:
                assert (recipient.reply, recipient.attempt_count, recipient.next_attempt_at) == (OK, 1, None)
                [attempt] = recipient.attempts
                assert (attempt.number, attempt.outcome, attempt.reply, attempt.phase) == (1, "SENT", OK, None)

        await receiver.wait_for(3)

        async def all_are_sent() -> bool:
            return {message.state for message in await doors.graphql.messages()} == {"SENT"}

        await eventually(all_are_sent)
        assert [message.id for message in await doors.graphql.messages()] == [by_rest.id, unawaited.id, waited.id]
        assert await doors.graphql.messages(service="relay", state="SENT", recipient="cc@x.example") == [
            by_rest,
            waited,
        ]
        assert await doors.graphql.messages(tag="first") == [waited]
    assert {read_mail(mail.content).message_id for mail in receiver.mails} == {
        message.message_id_header for message in (waited, unawaited, by_rest)
    }


@BOTH_DOORS
async def test_each_recipient_has_a_fate_of_its_own(
    send: Any, running: Running, receiver: Receiver, eventually: Eventually
) -> None:
    released = asyncio.Event()
    receiver.script.on(Stage.RCPT, "550 5.1.1 No such user", address="gone@x.example")
    receiver.script.on(Stage.RCPT, "450 4.2.1 Try later", address="later@x.example", times=1)
    receiver.script.on(Stage.RCPT, Wait(released), address="later@x.example")
    async with running(**SOON) as doors:
        await make_service(doors, receiver.port)
        message = await send(doors, "gone@x.example", "later@x.example", "good@x.example")

        gone, later, good = message.recipients
        assert message.state in {"DEFERRED", "SENDING"}
        assert (gone.state, gone.reply) == ("FAILED", Reply(550, "5.1.1", "No such user"))
        assert (good.state, good.reply) == ("SENT", OK)
        assert later.state in {"DEFERRED", "CLAIMED"}
        assert [(a.outcome, a.reply) for a in later.attempts] == [("DEFERRED", Reply(450, "4.2.1", "Try later"))]

        released.set()

        async def is_settled() -> bool:
            return (await doors.graphql.message(message.id)).state == "PARTIALLY_SENT"

        await eventually(is_settled)
        settled = await doors.graphql.message(message.id)
        assert [r.state for r in settled.recipients] == ["FAILED", "SENT", "SENT"]
        assert [r.attempt_count for r in settled.recipients] == [1, 2, 1]
        assert [a.outcome for a in settled["later@x.example"].attempts] == ["DEFERRED", "SENT"]
    first, second = receiver.mails
    assert (first.recipients, second.recipients) == (("good@x.example",), ("later@x.example",))
    assert first.content == second.content
    assert read_mail(first.content).message_id == message.message_id_header


REFUSALS = {
    "every recipient": [(Stage.RCPT, "550 5.1.1 No such user")],
    "the sender": [(Stage.MAIL, "553 5.7.1 Not your address")],
    "the transaction": [(Stage.DATA, "554 5.5.1 No valid recipients")],
    "the content": [(Stage.DOT, "552 5.2.3 Too long for us")],
}


@pytest.mark.parametrize("refused", REFUSALS)
async def test_what_is_refused_for_good_is_a_500_and_nothing_follows_it(
    refused: str, running: Running, receiver: Receiver
) -> None:
    for stage, answer in REFUSALS[refused]:
        receiver.script.on(stage, answer, times=2 if stage is Stage.RCPT else 1)
    code, enhanced, text = REFUSALS[refused][0][1].split(" ", 2)
    async with running(**SOON) as doors:
        await make_service(doors, receiver.port)
        response = await doors.rest.send("relay", rest_mail("a@x.example", "b@x.example"))
        error = error_of(response)
        assert (response.status_code, error["code"]) == (500, int(code))
        assert text in error["message"]
        assert (error["context"]["smtp_code"], error["context"]["enhanced_code"]) == (int(code), enhanced)
        assert error["context"]["retryable"] is False
        message = await doors.graphql.message(response.headers["x-message-id"])
        assert (message.state, {r.state for r in message.recipients}) == ("FAILED", {"FAILED"})

        await a_later_mail_is_all_that_arrives(doors, receiver)
        assert await doors.graphql.message(message.id) == message


async def a_later_mail_is_all_that_arrives(doors: Doors, receiver: Receiver) -> None:
    """It is tried as often, and as late, as one tries that was not refused for good."""
    receiver.script.on(Stage.RCPT, "450 4.2.1 Try later", address="witness@x.example", times=2)
    witness = await send_by_graphql(doors, "witness@x.example")
    await receiver.wait_for(1)
    assert [read_mail(mail.content).message_id for mail in receiver.mails] == [witness.message_id_header]


async def test_some_refused_is_a_200_that_counts_the_accepted(running: Running, receiver: Receiver) -> None:
    receiver.script.on(Stage.RCPT, "550 5.1.1 No such user", address="gone@x.example")
    async with running() as doors:
        await make_service(doors, receiver.port)
        response = await doors.rest.send("relay", rest_mail("gone@x.example", "a@x.example", "b@x.example"))
        assert (response.status_code, response.json()) == (200, {"count": 2})
        assert response.headers["x-message-status"] == "sent"
        message = await doors.graphql.message(response.headers["x-message-id"])
    assert (message.state, [r.state for r in message.recipients]) == ("PARTIALLY_SENT", ["FAILED", "SENT", "SENT"])


@pytest.mark.parametrize(
    ("stage", "answer"),
    [
        (Stage.GREETING, "421 4.3.2 Closing down"),
        (Stage.GREETING, "450 4.3.2 Not now"),
        (Stage.AUTH, "454 4.7.0 Temporary authentication failure"),
        (Stage.MAIL, "451 4.3.0 Try later"),
        (Stage.RCPT, "450 4.2.1 Greylisted"),
        (Stage.DATA, "451 4.3.0 Try later"),
        (Stage.DOT, "452 4.3.1 Disk full"),
    ],
)
async def test_what_the_server_defers_is_a_200_and_arrives_later(
    stage: Stage, answer: str, running: Running, eventually: Eventually
) -> None:
    async with Receiver(keep=True, credentials={"me": "right"}) as receiver, running(**SOON) as doors:
        answered = asyncio.Event()
        receiver.script.on(stage, answer, times=1).on(stage, Wait(answered))
        await make_service(doors, receiver.port, username="me", password="right")
        response = await doors.rest.send("relay", rest_mail("a@x.example"))
        assert (response.status_code, response.json()) == (200, {"count": 1})
        assert response.headers["x-message-status"] == "queued"
        answered.set()

        async def is_sent() -> bool:
            return (await doors.graphql.message(response.headers["x-message-id"])).state == "SENT"

        await eventually(is_sent)
        message = await doors.graphql.message(response.headers["x-message-id"])
        outcomes = [(a.outcome, a.reply.code if a.reply else None) for a in message["a@x.example"].attempts]
        at_first = [] if stage in (Stage.GREETING, Stage.AUTH) else [("DEFERRED", int(answer[:3]))]
        assert outcomes == [*at_first, ("SENT", 250)]
    assert len(receiver.mails) == 1


async def test_a_server_that_closes_a_session_gets_the_mail_in_a_new_one_at_once(running: Running) -> None:
    async with Receiver(keep=True) as receiver, running() as doors:
        receiver.script.on(Stage.RCPT, "421 4.7.0 Too much", times=1)
        await make_service(doors, receiver.port)
        response = await doors.rest.send("relay", rest_mail("a@x.example"))
        assert (response.status_code, response.headers["x-message-status"]) == (200, "sent")
        message = await doors.graphql.message(response.headers["x-message-id"])
        assert [a.outcome for a in message["a@x.example"].attempts] == ["SENT"]
    assert (len(receiver.mails), len(receiver.sessions)) == (1, 2)


UNREACHABLE: dict[str, tuple[dict[str, Any], str]] = {
    "connection refused": ({"port": 1}, "Connection refused"),
    "host not found": ({"host": "nowhere.invalid", "port": 587}, "Host not found"),
    "wrong credentials": ({"username": "me", "password": "wrong"}, "Authentication failed"),
}


@pytest.mark.parametrize("wrong", UNREACHABLE)
async def test_a_server_that_cannot_be_talked_to_is_a_500_for_rest_and_a_wait_for_graphql(
    wrong: str, running: Running, eventually: Eventually
) -> None:
    given, sentence = UNREACHABLE[wrong]
    async with Receiver(keep=True, credentials={"me": "right"}) as receiver, running(**SOON) as doors:
        await make_service(doors, receiver.port)
        service = await doors.graphql.ask('{ service(name: "relay") { id } }')
        service_id = service["service"]["id"]
        await doors.graphql.change(UPDATE_SERVICE, id=service_id, **given)

        response = await doors.rest.send("relay", rest_mail("a@x.example"))
        error = error_of(response)
        assert response.status_code == 500
        assert error["message"].startswith(sentence)
        failed = await doors.graphql.message(response.headers["x-message-id"])
        assert (failed.state, failed["a@x.example"].attempt_count) == ("FAILED", 1)
        assert str(failed["a@x.example"].detail).startswith(sentence)

        again = error_of(await doors.rest.send("relay", rest_mail("a@x.example")))
        assert {**again, "message": ""} == {**error, "message": ""}
        assert again["message"].startswith(sentence)

        waiting = await doors.graphql.send_email(**graphql_mail("b@x.example"))
        shown = (await doors.graphql.ask('{ service(name: "relay") { pausedAt pausedReason } }'))["service"]
        assert shown["pausedAt"] is None
        assert shown["pausedReason"].startswith(sentence)

        right = {"host": "127.0.0.1", "port": receiver.port, "username": "me", "password": "right"}
        await doors.graphql.change(UPDATE_SERVICE, id=service_id, **right)
        await receiver.wait_for(1)

        async def is_sent() -> bool:
            return (await doors.graphql.message(waiting.id)).state == "SENT"

        await eventually(is_sent)
        assert (await doors.graphql.message(failed.id)).state == "FAILED"
        assert [a.number for a in (await doors.graphql.message(waiting.id))["b@x.example"].attempts] == [1]
    assert [mail.recipients for mail in receiver.mails] == [("b@x.example",)]


async def test_a_client_that_asks_for_it_is_answered_before_the_verdict(
    running: Running, receiver: Receiver, eventually: Eventually
) -> None:
    released = asyncio.Event()
    receiver.script.on(Stage.GREETING, Wait(released))
    async with running() as doors:
        await make_service(doors, receiver.port)
        response = await doors.rest.send("relay", rest_mail("a@x.example"), Prefer="respond-async")
        assert (response.status_code, response.json()) == (202, {"count": 1})
        assert response.headers["x-message-status"] == "queued"
        message = await doors.graphql.send_email(**graphql_mail("b@x.example"))
        assert message.state in {"QUEUED", "SENDING"}
        released.set()
        await receiver.wait_for(2)


async def test_no_verdict_within_the_wait_is_a_200_that_stays_true(
    running: Running, receiver: Receiver, eventually: Eventually
) -> None:
    released = asyncio.Event()
    receiver.script.on(Stage.GREETING, Wait(released), times=1).on(Stage.GREETING, "554 5.3.2 Not today", times=1)
    async with running(verdict_wait=0.1, **SOON) as doors:
        await make_service(doors, receiver.port)
        response = await doors.rest.send("relay", rest_mail("a@x.example"))
        assert (response.status_code, response.json()) == (200, {"count": 1})
        assert response.headers["x-message-status"] == "queued"
        released.set()

        async def is_sent() -> bool:
            return (await doors.graphql.message(response.headers["x-message-id"])).state == "SENT"

        await eventually(is_sent)


@BOTH_DOORS
async def test_the_same_idempotency_key_sends_one_mail(send: Any, running: Running, receiver: Receiver) -> None:
    async with running() as doors:
        await make_service(doors, receiver.port)
        if send is send_by_rest:
            first, again = [
                await doors.rest.send("relay", rest_mail("a@x.example"), Idempotency_Key="order-1") for _ in range(2)
            ]
            assert first.json() == again.json() == {"count": 1}
            assert first.headers["x-message-id"] == again.headers["x-message-id"]
            assert (first.headers.get("idempotent-replayed"), again.headers["idempotent-replayed"]) == (None, "true")
            other = await doors.rest.send("relay", rest_mail("b@x.example"), Idempotency_Key="order-1")
            assert (other.status_code, error_of(other)["context"]["error_code"]) == (409, "IDEMPOTENCY_CONFLICT")
        else:
            given = {"idempotencyKey": "order-1", "waitSeconds": 30}
            one, two = [await doors.graphql.send_email(**graphql_mail("a@x.example"), **given) for _ in range(2)]
            assert one == two
            with pytest.raises(Refused) as caught:
                await doors.graphql.send_email(**graphql_mail("b@x.example"), **given)
            assert [problem.code for problem in caught.value.problems] == ["IDEMPOTENCY_CONFLICT"]
    assert [mail.recipients for mail in receiver.mails] == [("a@x.example",)]
