"""Mail made from a stored template: what comes from where, what is refused, what is remembered."""

import asyncio
import dataclasses
from collections.abc import Mapping
from email import message_from_bytes
from email.message import Message
from email.policy import default
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from app.access.check import GrantValues
from app.access.principal import Principal
from app.errors import Conflict, ErrorCode, Refusal
from app.mail.address import Mailbox
from app.mail.draft import Draft
from app.queue.lookup import list_recipients
from app.queue.put import Receipt
from app.settings import Settings
from app.submission.prepare import Submission
from app.submission.submit import Submitter
from app.templates.content import Variable, VariableType
from app.templates.manage import delete_template
from app.templates.models import Template
from tests.factories import count, make_principal, make_service, message_row, stored_content
from tests.templates.stored import change, make

CONTENT: dict[str, Any] = {
    "subject": "Hi {name}",
    "text": "{name} {n}",
    "html": "<b>{name}</b>",
    "from_email": "desk@example.com",
    "from_name": "Desk",
    "reply_to_email": "help@example.com",
    "to": (Mailbox("a@example.com"),),
    "bcc": (Mailbox("b@example.com"),),
    "variables": (Variable("name", required=True), Variable("n", VariableType.NUMBER, default=0)),
}
DRAFT = Draft(template="WELCOME", template_data={"name": "<Ada>"})


@pytest.fixture
async def template(sqlite_database: Settings) -> Template:
    await make_service(from_email="service@example.com", from_name="Service", reply_to_name="Service help")
    return await make("Welcome", 7, **CONTENT)


@pytest.fixture
async def principal(template: Template) -> Principal:
    return await make_principal()


async def submit(submitter: Submitter, principal: Principal, draft: Draft, **fields: Any) -> Receipt:
    given = {"service_name": "email", "values_required": True, **fields}
    return await submitter.submit(Submission(draft=draft, principal=principal, **given))


async def refusal(submitter: Submitter, principal: Principal, draft: Draft, **fields: Any) -> list[tuple[str, str]]:
    with pytest.raises(Refusal) as refused:
        await submit(submitter, principal, draft, **fields)
    assert await count("message") == 0
    return [(".".join(problem.field), problem.code.value) for problem in refused.value.problems]


async def mail_of(receipt: Receipt) -> Message:
    return message_from_bytes(await stored_content(receipt.message_id), policy=default)


def texts(mail: Message) -> list[str]:
    return [part.get_payload(decode=True).decode().rstrip() for part in mail.walk() if not part.is_multipart()]  # type: ignore[union-attr]


async def test_a_mail_is_made_from_the_template_alone(submitter: Submitter, principal: Principal) -> None:
    receipt = await submit(submitter, principal, DRAFT)
    mail = await mail_of(receipt)
    assert (mail["Subject"], mail["From"], mail["To"]) == ("Hi <Ada>", "Desk <desk@example.com>", "a@example.com")
    assert mail["Reply-To"] == "Service help <help@example.com>"
    assert texts(mail) == ["<Ada> 0", "<b>&lt;Ada&gt;</b>"]
    recipients = (await list_recipients([receipt.message_id]))[receipt.message_id]
    assert [(found.kind, found.email) for found in recipients] == [("to", "a@example.com"), ("bcc", "b@example.com")]


@pytest.mark.parametrize(
    ("fields", "header", "expected"),
    [
        ({"subject": "Own"}, "Subject", "Own"),
        ({"from_email": "own@example.com"}, "From", "Desk <own@example.com>"),
        ({"from_name": ""}, "From", "desk@example.com"),
        ({"reply_to_email": ""}, "Reply-To", None),
        ({"reply_to_name": "Own"}, "Reply-To", "Own <help@example.com>"),
        ({"to": (Mailbox("own@example.com"),)}, "To", "own@example.com"),
    ],
)
async def test_the_request_wins_then_the_template_then_the_service(
    submitter: Submitter, principal: Principal, fields: dict[str, Any], header: str, expected: str | None
) -> None:
    assert (await mail_of(await submit(submitter, principal, replace(DRAFT, **fields))))[header] == expected


async def test_a_template_without_a_sender_leaves_it_to_the_service(
    submitter: Submitter, principal: Principal, template: Template
) -> None:
    await change(template, {"from_email": "", "from_name": None})
    assert (await mail_of(await submit(submitter, principal, DRAFT)))["From"] == "Service <service@example.com>"


WRONG: list[tuple[Mapping[str, object], list[tuple[str, str]]]] = [
    ({}, [("template_data.name", "MISSING_VARIABLE")]),
    ({"name": None, "n": "1"}, [("template_data.name", "MISSING_VARIABLE"), ("template_data.n", "INVALID_INPUT")]),
    ({"name": ["x"]}, [("template_data.name", "INVALID_INPUT")]),
]


@pytest.mark.parametrize(("data", "expected"), WRONG)
async def test_values_that_do_not_fit_are_refused_where_they_are_required(
    submitter: Submitter, principal: Principal, data: Mapping[str, object], expected: list[tuple[str, str]]
) -> None:
    assert await refusal(submitter, principal, replace(DRAFT, template_data=data)) == expected


async def test_everything_wrong_is_named_at_once(submitter: Submitter, principal: Principal) -> None:
    draft = replace(DRAFT, template_data={}, to=(Mailbox("x"),), tags=("\x00",))
    found = await refusal(submitter, principal, draft)
    assert [path for path, _ in found] == ["template_data.name", "to.0.email", "tags.0"]


@pytest.mark.parametrize(
    ("data", "variables", "text"),
    [
        ({}, {}, "{name} 0"),
        ({"name": None}, {"n": "many"}, "{name} many"),
        ({"name": ["x"]}, {}, "{name} 0"),
        ({"name": True, "n": None}, {}, "true 0"),
        ({"name": None}, {"name": "hidden"}, "{name} 0"),
        ({"name": "{n}"}, {"name": "hidden", "n": 7}, "{n} 7"),
    ],
)
async def test_values_that_do_not_fit_are_left_as_they_are_elsewhere(
    submitter: Submitter, principal: Principal, data: dict[str, Any], variables: dict[str, Any], text: str
) -> None:
    draft = Draft(template_id="7", template_data=data, variables=variables)
    assert texts(await mail_of(await submit(submitter, principal, draft, values_required=False)))[0] == text


async def test_the_message_remembers_the_version_that_it_was_made_from(
    submitter: Submitter, principal: Principal, template: Template
) -> None:
    first = await submit(submitter, principal, DRAFT)
    await change(template, {"name": "Farewell", "text": "{name}"})
    second = await submit(submitter, principal, replace(DRAFT, template="farewell"))
    without = await submit(submitter, principal, Draft(to=(Mailbox("a@example.com"),), text="x"))
    await delete_template(template.id, None)

    async def remembered(receipt: Receipt) -> tuple[UUID | None, str | None, int | None]:
        row = await message_row(receipt.message_id)
        key = row["template_id"] and UUID(str(row["template_id"]))
        return key, row["template_name"], row["template_version"]

    assert await remembered(first) == (template.id, "Welcome", 1)
    assert await remembered(second) == (template.id, "Farewell", 2)
    assert await remembered(without) == (None, None, None)


@pytest.mark.parametrize(
    ("draft", "path"), [(Draft(template="none"), "template"), (Draft(template_id="8"), "template_id")]
)
async def test_an_unknown_template_is_told_before_anything_is_checked(
    submitter: Submitter, principal: Principal, draft: Draft, path: str
) -> None:
    wrong = replace(draft, to=(Mailbox("x"),))
    assert await refusal(submitter, principal, wrong) == [(path, ErrorCode.TEMPLATE_NOT_FOUND.value)]


@pytest.mark.parametrize("name", ["Welcome", "none", "\ud800"])
async def test_role_and_service_come_before_the_template_shows(
    submitter: Submitter, principal: Principal, name: str
) -> None:
    draft = replace(DRAFT, template=name)
    await make_service("sleeping", is_active=False)
    reader = await make_principal("reader", [GrantValues(None, ["READ_MESSAGES", "MANAGE_SERVICES"])])
    assert await refusal(submitter, reader, draft) == [("", "FORBIDDEN")]
    assert await refusal(submitter, principal, draft, service_name="none") == [("service", "SERVICE_NOT_FOUND")]
    assert await refusal(submitter, principal, draft, service_name="sleeping") == [("service", "SERVICE_INACTIVE")]


async def test_a_replay_answers_whatever_became_of_the_template(
    submitter: Submitter, principal: Principal, template: Template
) -> None:
    first = await submit(submitter, principal, DRAFT, idempotency_key="k")
    await change(template, {"variables": (Variable("other", required=True),), "name": "Farewell"})
    assert await submit(submitter, principal, DRAFT, idempotency_key="k") == dataclasses.replace(first, replayed=True)
    await delete_template(template.id, None)
    assert await submit(submitter, principal, DRAFT, idempotency_key="k") == dataclasses.replace(first, replayed=True)
    with pytest.raises(Conflict):
        await submit(submitter, principal, replace(DRAFT, template="Farewell"), idempotency_key="k")
    assert await count("message") == 1


async def test_a_template_that_is_deleted_while_mail_is_accepted_harms_none(
    submitter: Submitter, principal: Principal, template: Template
) -> None:
    async def attempt() -> Receipt | Refusal:
        try:
            return await submit(submitter, principal, DRAFT)
        except Refusal as refused:
            return refused

    *answers, _ = await asyncio.gather(*(attempt() for _ in range(6)), delete_template(template.id, None))
    accepted = [answer for answer in answers if isinstance(answer, Receipt)]
    codes = {answer.problems[0].code for answer in answers if isinstance(answer, Refusal)}
    assert codes <= {ErrorCode.TEMPLATE_NOT_FOUND}
    assert await count("message") == len(accepted)
    for receipt in accepted:
        assert (await message_row(receipt.message_id))["template_version"] == 1
        assert texts(await mail_of(receipt))[0] == "<Ada> 0"
