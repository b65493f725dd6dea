"""Services, roles and keys as they decide over mail."""

import asyncio
from base64 import b64encode
from email import message_from_string
from pathlib import Path
from typing import Any

import pytest

from app.inbox.receiver import Receiver, Stage, Wait
from tests.journeys.conftest import Eventually, Running
from tests.journeys.doors import (
    CREATE_API_KEY,
    CREATE_SERVICE,
    DELETE_SERVICE,
    REVOKE_API_KEY,
    SEND_EMAIL,
    UPDATE_SERVICE,
    Doors,
    Refused,
    error_of,
)
from tests.journeys.program import ADMIN_KEY, Heliograph

REST_MAIL = {"to": "a@x.example", "subject": "Hello", "body_text": "Hello."}
CANARY = "canary-7f3a9c51-never-to-be-seen"
MAIL_CANARY = "canary-0d2e8b47-not-for-the-log"


def graphql_mail(service: str, **more: Any) -> dict[str, Any]:
    return {"service": service, "to": [{"email": "a@x.example"}], "subject": "Hello", "text": "Hello.", **more}


async def refusal(answer: Any) -> list[str]:
    """The codes with which a request to door one was refused."""
    with pytest.raises(Refused) as caught:
        await answer
    return [problem.code for problem in caught.value.problems]


async def test_a_sandbox_delivers_into_the_inbox_and_nowhere_else(running: Running) -> None:
    async with running() as doors:
        message = await doors.graphql.send_email(
            **graphql_mail("email", waitSeconds=30, html="<p>Hello.</p>", bcc=[{"email": "hidden@x.example"}])
        )
        response = await doors.rest.send("email", REST_MAIL)
        assert (message.state, response.json()) == ("SENT", {"count": 1})
        by_rest, by_graphql = await doors.graphql.inbox()
    assert by_graphql["recipients"] == ["a@x.example", "hidden@x.example"]
    assert (by_graphql["from"], by_graphql["subject"]) == ("Heliograph <heliograph@example.com>", "Hello")
    assert (by_graphql["content"]["text"], by_graphql["content"]["html"]) == ("Hello.\r\n", "<p>Hello.</p>\r\n")
    assert "hidden@x.example" not in by_graphql["content"]["source"]
    source = message_from_string(by_graphql["content"]["source"])
    assert source["Message-ID"] == message.message_id_header
    assert by_rest["recipients"] == ["a@x.example"]


async def test_no_secret_is_ever_seen_again(heliograph: Heliograph) -> None:
    installed = heliograph.having(admin_api_key=ADMIN_KEY, log_level="debug")
    async with Receiver(keep=True, credentials={"me": CANARY}) as receiver, installed.serving() as server:
        doors, seen = server.doors, []
        given = {"name": "relay", "host": "127.0.0.1", "port": receiver.port, "encryption": "NONE"}
        account = {"username": "me", "password": CANARY, "fromEmail": "me@x.example"}
        made = await doors.graphql.post(CREATE_SERVICE, input=given | account)
        service = made.json()["data"]["done"]["service"]
        assert service["hasPassword"] is True
        sent = await doors.http.post(f"/api/v2/relay?api_key={ADMIN_KEY}", json=REST_MAIL | {"body_text": MAIL_CANARY})
        assert (sent.status_code, receiver.mails[0].username) == (200, "me")
        assert MAIL_CANARY.encode() in receiver.mails[0].content

        receiver.script.on(Stage.AUTH, f"535 5.7.8 {CANARY} is wrong for me")
        await doors.graphql.change(UPDATE_SERVICE, id=service["id"], username="you", password=CANARY)
        refused = await doors.rest.send("relay", REST_MAIL)
        assert (refused.status_code, error_of(refused)["code"]) == (500, 535)
        seen += [made.text, refused.text, repr(await doors.graphql.message(refused.headers["x-message-id"]))]
        server.terminate()
        ended = await server.ended()
        assert "message" in ended.errors
        assert not [text for text in (ended.output, ended.errors) if MAIL_CANARY in text or ADMIN_KEY in text]
        assert not [text for text in (*seen, ended.output, ended.errors) if CANARY in text]
    assert_nowhere_on_disk(heliograph.folder)


def assert_nowhere_on_disk(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "heliograph.key"]
    assert {"heliograph.db"} <= {path.name for path in files}
    forms = (CANARY.encode(), b64encode(CANARY.encode()), ADMIN_KEY.encode())
    assert [path for path in files for form in forms if form in path.read_bytes()] == []


async def test_a_service_with_unsent_mail_is_deleted_only_with_its_mail(
    running: Running, receiver: Receiver, eventually: Eventually
) -> None:
    receiver.script.on(Stage.RCPT, "450 4.2.1 Try later", address="a@x.example")
    async with running() as doors:
        service = await doors.graphql.create_service("relay", port=receiver.port)
        sent = await doors.graphql.send_email(
            service="relay", to=[{"email": "b@x.example"}], text="Hello.", waitSeconds=30
        )
        unsent = await doors.graphql.send_email(**graphql_mail("relay", waitSeconds=30))
        assert (sent.state, unsent.state) == ("SENT", "DEFERRED")

        assert await refusal(doors.graphql.change(DELETE_SERVICE, id=service["id"])) == ["IN_USE"]
        assert (await doors.graphql.message(unsent.id)).state == "DEFERRED"

        deleted = await doors.graphql.change(DELETE_SERVICE, id=service["id"], cancelUnsent=True)
        assert (deleted["deletedServiceId"], deleted["cancelledRecipients"]) == (service["id"], 1)
        cancelled = await doors.graphql.message(unsent.id)
        assert (cancelled.state, cancelled["a@x.example"].state) == ("CANCELLED", "CANCELLED")
        assert (await doors.graphql.message(sent.id)).state == "SENT"
        assert (await doors.rest.send("relay", REST_MAIL)).status_code == 404
        assert await refusal(doors.graphql.send_email(**graphql_mail("relay"))) == ["SERVICE_NOT_FOUND"]
    assert [mail.recipients for mail in receiver.mails] == [("b@x.example",)]


async def test_a_service_is_not_deleted_under_a_delivery(
    running: Running, receiver: Receiver, eventually: Eventually
) -> None:
    released = asyncio.Event()
    receiver.script.on(Stage.DOT, Wait(released))
    async with running() as doors:
        service = await doors.graphql.create_service("relay", port=receiver.port)
        message = await doors.graphql.send_email(**graphql_mail("relay"))

        async def has_begun() -> bool:
            return (await doors.graphql.message(message.id)).state == "SENDING"

        await eventually(has_begun)
        with pytest.raises(Refused) as caught:
            await doors.graphql.change(DELETE_SERVICE, id=service["id"], cancelUnsent=True)
        assert [(p.code, p.retryable) for p in caught.value.problems] == [("IN_USE", True)]
        released.set()

        async def is_sent() -> bool:
            return (await doors.graphql.message(message.id)).state == "SENT"

        await eventually(is_sent)
        await doors.graphql.change(DELETE_SERVICE, id=service["id"])
    assert len(receiver.mails) == 1


async def test_a_deactivated_service_takes_no_mail_and_keeps_what_it_has(
    running: Running, receiver: Receiver, eventually: Eventually
) -> None:
    receiver.script.on(Stage.RCPT, "450 4.2.1 Try later", times=1)
    async with running(retry_schedule=(0.1,)) as doors:
        service = await doors.graphql.create_service("relay", port=receiver.port, isActive=False)
        response = await doors.rest.send("relay", REST_MAIL)
        error = error_of(response)
        assert (response.status_code, error["context"]["error_code"]) == (403, "SERVICE_INACTIVE")
        assert error["message"] == "Service relay is deactivated."
        assert await refusal(doors.graphql.send_email(**graphql_mail("relay"))) == ["SERVICE_INACTIVE"]

        await doors.graphql.change(UPDATE_SERVICE, id=service["id"], isActive=True)
        message = await doors.graphql.send_email(**graphql_mail("relay", waitSeconds=30))
        await receiver.wait_for(1)

        async def is_sent() -> bool:
            return (await doors.graphql.message(message.id)).state == "SENT"

        await eventually(is_sent)
    assert len(receiver.mails) == 1


async def test_a_role_without_send_learns_nothing_about_services(running: Running, receiver: Receiver) -> None:
    async with running() as admin:
        await admin.graphql.create_service("relay", port=receiver.port)
        await admin.graphql.create_service("asleep", port=receiver.port, isActive=False)
        reader = admin.with_key(await admin.graphql.create_key({"actions": ["READ_MESSAGES", "MANAGE_SERVICES"]}))
        responses = [await reader.rest.send(name, REST_MAIL) for name in ("relay", "asleep", "nothing-of-this-name")]
        assert {response.status_code for response in responses} == {403}
        assert len({response.text for response in responses}) == 1
        assert error_of(responses[0])["message"].startswith("Access Forbidden.")
        for name in ("relay", "asleep", "nothing-of-this-name"):
            assert await refusal(reader.graphql.send_email(**graphql_mail(name))) == ["FORBIDDEN"]
        assert await admin.graphql.messages() == []
    assert receiver.sessions == []


async def test_a_grant_for_one_service_is_for_that_one(running: Running, receiver: Receiver) -> None:
    async with running() as admin:
        await admin.graphql.create_service("mine", port=receiver.port)
        await admin.graphql.create_service("other", port=receiver.port)
        grant = {"service": "mine", "actions": ["SEND"]}
        shop = admin.with_key(await admin.graphql.create_key(grant))
        response = await shop.rest.send("mine", REST_MAIL)
        assert (response.status_code, (await shop.rest.send("other", REST_MAIL)).status_code) == (200, 403)
        sent = await shop.graphql.send_email(**graphql_mail("mine", waitSeconds=30))
        assert sent.state == "SENT"
        assert await shop.graphql.messages() == []
        assert (await shop.graphql.ask("query ($id: ID!) { message(id: $id) { id } }", id=sent.id))["message"] is None
    assert len(receiver.mails) == 2


async def test_a_revoked_key_opens_nothing(running: Running) -> None:
    async with running() as admin:
        role = (await admin.graphql.ask("{ viewer { roleId } }"))["viewer"]["roleId"]
        made = await admin.graphql.change(CREATE_API_KEY, roleId=role, name="second")
        second = admin.with_key(made["key"])
        assert (await second.rest.send("email", REST_MAIL)).status_code == 200
        await admin.graphql.change(REVOKE_API_KEY, id=made["apiKey"]["id"])
        await assert_unauthenticated(second, "INVALID_API_KEY", "Invalid API key.")
        await assert_unauthenticated(admin.with_key("hg_of_nobody"), "INVALID_API_KEY", "Invalid API key.")
        await assert_unauthenticated(
            admin.with_key(None), "UNAUTHENTICATED", "No session token (JWT) or API Key detected in request."
        )
        assert len(await admin.graphql.messages()) == 1


async def assert_unauthenticated(doors: Doors, code: str, message: str) -> None:
    response = await doors.rest.send("email", REST_MAIL)
    error = error_of(response)
    assert (response.status_code, error["context"]["error_code"]) == (401, code)
    assert error["message"].startswith(message)
    # Not among the userErrors: who is asking is no part of the mail.
    assert await refusal(doors.graphql.ask(SEND_EMAIL, input=graphql_mail("email"))) == [code]
    assert await refusal(doors.graphql.ask("{ viewer { roleId } }")) == [code]
