"""From a stored template to what an SMTP server gets, through door one."""

import asyncio
from typing import Any

import pytest

from app.inbox.receiver import Receiver
from tests.journeys.conftest import Running
from tests.journeys.doors import (
    CREATE_TEMPLATE,
    DELETE_TEMPLATE,
    PREVIEW_TEMPLATE,
    RESTORE_TEMPLATE_VERSION,
    UPDATE_TEMPLATE,
    Doors,
    MadeFrom,
    Message,
    Refused,
)
from tests.journeys.reading import read_mail

WELCOME: dict[str, Any] = {
    "name": "Welcome Straße",
    "subject": "Hi {name}",
    "text": "Dear {name}, {count} new. {greeting} {unknown}",
    "html": "<style>b{color:red}</style><b>{name}</b>{greeting}",
    "fromEmail": "desk@sender.example",
    "fromName": "Desk",
    "replyToEmail": "help@sender.example",
    "to": [{"email": "to@x.example", "name": "To"}],
    "cc": [{"email": "cc@x.example"}],
    "bcc": [{"email": "bcc@x.example"}],
    "variables": [
        {"name": "name", "required": True},
        {"name": "count", "type": "NUMBER", "default": 0},
        {"name": "greeting", "default": "<Bye> {name}"},
    ],
}
DATA = {"name": "A&B {count}"}


async def prepare(doors: Doors, port: int) -> Any:
    """A service with defaults of its own, and the template."""
    await doors.graphql.create_service("relay", port=port, fromName="Relay", replyToName="Relay help")
    return (await doors.graphql.change(CREATE_TEMPLATE, **WELCOME))["template"]


async def send(doors: Doors, template: str = "WELCOME STRASSE", **given: Any) -> Message:
    mail = {"service": "relay", "template": template, "templateData": DATA, "waitSeconds": 30, **given}
    message = await doors.graphql.send_email(**mail)
    assert message.state == "SENT"
    return message


async def problems(attempt: Any) -> list[tuple[str, tuple[str, ...]]]:
    with pytest.raises(Refused) as caught:
        await attempt
    return [(problem.code, problem.field) for problem in caught.value.problems]


async def test_a_mail_is_made_from_a_template_alone(running: Running, receiver: Receiver) -> None:
    async with running() as doors:
        template = await prepare(doors, receiver.port)
        message = await send(doors)
        assert message.template == MadeFrom(template["id"], "Welcome Straße", 1)
        assert [(r.kind, r.email) for r in message.recipients] == [
            ("TO", "to@x.example"),
            ("CC", "cc@x.example"),
            ("BCC", "bcc@x.example"),
        ]
    (arrived,) = receiver.mails
    assert set(arrived.recipients) == {"to@x.example", "cc@x.example", "bcc@x.example"}
    mail = read_mail(arrived.content)
    assert (mail.sender, mail.reply_to) == ("Desk <desk@sender.example>", "Relay help <help@sender.example>")
    assert (mail.to, mail.cc, mail.subject) == ("To <to@x.example>", "cc@x.example", "Hi A&B {count}")
    assert (mail.text or "").rstrip() == "Dear A&B {count}, 0 new. <Bye> {name} {unknown}"
    assert (mail.html or "").rstrip() == "<style>b{color:red}</style><b>A&amp;B {count}</b>&lt;Bye&gt; {name}"


async def test_what_the_request_has_wins_field_by_field(running: Running, receiver: Receiver) -> None:
    async with running() as doors:
        template = await prepare(doors, receiver.port)
        own = {"to": [{"email": "own@x.example"}], "subject": "Own {count}", "from": {"email": "own@sender.example"}}
        await send(doors, template["id"], **own, replyTo={"email": ""}, templateData={"name": "N", "count": 7})
    (arrived,) = receiver.mails
    assert set(arrived.recipients) == {"own@x.example", "cc@x.example", "bcc@x.example"}
    mail = read_mail(arrived.content)
    assert (mail.sender, mail.reply_to, mail.subject) == ("own@sender.example", None, "Own 7")
    assert (mail.text or "").rstrip() == "Dear N, 7 new. <Bye> {name} {unknown}"


async def test_values_that_do_not_fit_are_refused_with_their_path(running: Running, receiver: Receiver) -> None:
    async with running() as doors:
        await prepare(doors, receiver.port)
        missing = ("MISSING_VARIABLE", ("templateData", "name"))
        for data in (None, {}, {"name": None}):
            assert await problems(send(doors, templateData=data)) == [missing]
        wrong = await problems(send(doors, templateData={"name": [], "count": "7"}))
        assert wrong == [("INVALID_INPUT", ("templateData", "name")), ("INVALID_INPUT", ("templateData", "count"))]
        assert await problems(send(doors, "none")) == [("TEMPLATE_NOT_FOUND", ("template",))]
        assert await doors.graphql.messages() == []
    assert receiver.mails == []


async def test_each_mail_remembers_its_version_when_the_template_is_gone_too(
    running: Running, receiver: Receiver
) -> None:
    async with running() as doors:
        template = await prepare(doors, receiver.port)
        key = template["id"]
        sent = [await send(doors)]
        await doors.graphql.change(UPDATE_TEMPLATE, id=key, name="Farewell", subject="Bye")
        sent.append(await send(doors, "farewell"))
        await doors.graphql.change(RESTORE_TEMPLATE_VERSION, id=key, version=1)
        sent.append(await send(doors, "farewell"))
        await doors.graphql.change(DELETE_TEMPLATE, id=key)
        assert await problems(send(doors, "farewell")) == [("TEMPLATE_NOT_FOUND", ("template",))]

        found = [await doors.graphql.message(message.id) for message in sent]
        made_from = [MadeFrom(key, "Welcome Straße", 1), MadeFrom(key, "Farewell", 2), MadeFrom(key, "Farewell", 1)]
        assert [message.template for message in found] == made_from
    subjects = [read_mail(mail.content).subject for mail in receiver.mails]
    assert subjects == ["Hi A&B {count}", "Bye", "Hi A&B {count}"]


async def test_a_replay_answers_when_the_template_is_gone(running: Running, receiver: Receiver) -> None:
    async with running() as doors:
        template = await prepare(doors, receiver.port)
        first = await send(doors, idempotencyKey="k")
        await doors.graphql.change(UPDATE_TEMPLATE, id=template["id"], text="{other}", variables=[])
        assert (await send(doors, idempotencyKey="k")).id == first.id
        await doors.graphql.change(DELETE_TEMPLATE, id=template["id"])
        assert (await send(doors, idempotencyKey="k")).id == first.id
    assert len(receiver.mails) == 1


async def test_a_preview_shows_what_would_be_sent_and_sends_nothing(running: Running, receiver: Receiver) -> None:
    async with running() as doors:
        await prepare(doors, receiver.port)
        given = {"template": "welcome strasse", "templateData": DATA}
        preview = (await doors.graphql.change(PREVIEW_TEMPLATE, **given))["preview"]
        assert receiver.mails == []
        await send(doors)
    mail = read_mail(receiver.mails[0].content)
    assert preview["subject"] == mail.subject
    assert [preview["text"], preview["html"]] == [(part or "").rstrip() for part in (mail.text, mail.html)]
    assert (preview["missingVariables"], preview["unfilledPlaceholders"]) == ([], ["unknown"])


async def test_a_template_deleted_while_mail_is_accepted_harms_none(running: Running, receiver: Receiver) -> None:
    async with running() as doors:
        template = await prepare(doors, receiver.port)
        *answers, deleted = await asyncio.gather(
            *(send(doors) for _ in range(4)),
            doors.graphql.change(DELETE_TEMPLATE, id=template["id"]),
            return_exceptions=True,
        )
        assert deleted["deletedTemplateId"] == template["id"]  # type: ignore[index]
        refused = [answer for answer in answers if isinstance(answer, Refused)]
        assert {problem.code for answer in refused for problem in answer.problems} <= {"TEMPLATE_NOT_FOUND"}
        accepted = [answer for answer in answers if isinstance(answer, Message)]
        assert len(accepted) + len(refused) == 4
        assert {message.id for message in await doors.graphql.messages()} == {message.id for message in accepted}
    assert len(receiver.mails) == len(accepted)


async def test_who_may_only_send_uses_templates_and_administers_none(running: Running, receiver: Receiver) -> None:
    async with running() as admin:
        template = await prepare(admin, receiver.port)
        shop = admin.with_key(await admin.graphql.create_key({"service": "relay", "actions": ["SEND"]}))
        assert (await send(shop)).template == MadeFrom(template["id"], "Welcome Straße", 1)
        for mutation, given in (
            (CREATE_TEMPLATE, {"name": "n"}),
            (UPDATE_TEMPLATE, {"id": template["id"]}),
            (RESTORE_TEMPLATE_VERSION, {"id": template["id"], "version": 1}),
            (DELETE_TEMPLATE, {"id": template["id"]}),
            (PREVIEW_TEMPLATE, {"template": "welcome strasse"}),
        ):
            assert await problems(shop.graphql.change(mutation, **given)) == [("FORBIDDEN", ())]
        stranger = admin.with_key(
            await admin.graphql.create_key({"service": "email", "actions": ["SEND"]}, role="stranger")
        )
        for name in ("welcome strasse", "none"):
            assert await problems(send(stranger, name)) == [("FORBIDDEN", ())]
    assert len(receiver.mails) == 1
