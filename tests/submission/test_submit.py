"""The use case behind both doors: which refusal comes first, who is the sender, what is stored."""

import asyncio
from email import message_from_bytes
from email.policy import default
from typing import Any

import pytest
from msgspec.structs import replace

from app.access.check import GrantValues
from app.access.principal import Principal
from app.errors import Conflict, ErrorCode, Forbidden, InvalidInput, NotFound, Refusal, TooLarge
from app.mail.address import Mailbox
from app.mail.draft import Attachment, Draft
from app.queue.embedded import EmbeddedEngine
from app.queue.lookup import list_recipients
from app.queue.put import Receipt
from app.queue.wakeup import Wakeup
from app.services.models import Service
from app.settings import Settings
from app.submission.prepare import Submission
from app.submission.submit import Submitter
from tests.factories import count, make_principal, make_service, message_row, stored_content

DRAFT = Draft(to=(Mailbox("bob@example.com", "Bob"),), subject="Hello", text="text", from_email="ada@example.com")
WRONG = Draft(to=(Mailbox("bob"),), subject="a\nb", from_email="ada", from_name="\r", tags=("\x00",))


@pytest.fixture
async def service(sqlite_database: Settings) -> Service:
    return await make_service(from_email="desk@example.com", from_name="Desk", reply_to_email="help@example.com")


@pytest.fixture
async def principal(service: Service) -> Principal:
    return await make_principal()


async def submit(submitter: Submitter, principal: Principal, draft: Draft = DRAFT, **fields: Any) -> Receipt:
    return await submitter.submit(Submission(**{"service_name": "email", **fields}, draft=draft, principal=principal))


async def refusal(submitter: Submitter, principal: Principal, draft: Draft = DRAFT, **fields: Any) -> Refusal:
    with pytest.raises(Refusal) as refused:
        await submit(submitter, principal, draft, **fields)
    assert await count("message") == 0
    return refused.value


def with_settings(submitter: Submitter, wakeup: Wakeup, **changes: Any) -> Submitter:
    settings = submitter._settings.model_copy(update=changes)
    return Submitter(settings, EmbeddedEngine(wakeup, 1), wakeup)


async def test_a_mail_is_stored_with_its_envelope_and_content(
    submitter: Submitter, principal: Principal, service: Service
) -> None:
    draft = replace(DRAFT, bcc=(Mailbox("eve@BÜCHER.example"),), metadata={"m": 1}, tags=("t",))
    receipt = await submit(submitter, principal, draft, verdict_wanted=True)

    row = await message_row(receipt.message_id)
    assert (row["service_id"], row["service_name"], row["subject"]) == (str(service.id), "email", "Hello")
    assert (row["reverse_path"], row["from_email"]) == ("ada@example.com", "ada@example.com")
    assert (row["role_id"], row["api_key_id"]) == (str(principal.role_id), str(principal.api_key_id))
    assert row["verdict_awaited"]
    assert receipt.verdict_awaited
    recipients = (await list_recipients([receipt.message_id]))[receipt.message_id]
    assert [(r.kind, r.email, r.name) for r in recipients] == [
        ("to", "bob@example.com", "Bob"),
        ("bcc", "eve@BÜCHER.example", None),
    ]
    content = await stored_content(receipt.message_id)
    mail = message_from_bytes(content)
    assert row["size_bytes"] == len(content)
    assert mail["Message-ID"] == row["message_id_header"] == f"<{receipt.message_id.hex}@example.com>"
    assert (mail["To"], mail["Bcc"], mail["Reply-To"]) == ("Bob <bob@example.com>", None, "help@example.com")


async def test_the_engine_is_woken(submitter: Submitter, principal: Principal, wakeup: Wakeup) -> None:
    await submit(submitter, principal)
    async with asyncio.timeout(10):
        await wakeup.wait_for_work(3600)


async def test_the_service_is_found_in_any_case(submitter: Submitter, principal: Principal) -> None:
    receipt = await submit(submitter, principal, service_name="EMail")
    assert (await message_row(receipt.message_id))["service_name"] == "email"


async def test_who_may_not_send_does_not_learn_whether_the_service_exists(
    submitter: Submitter, service: Service
) -> None:
    reader = await make_principal("reader", [GrantValues(None, ["READ_MESSAGES", "MANAGE_SERVICES"])])
    answers = [await refusal(submitter, reader, WRONG, service_name=name) for name in ("email", "nothing", "no/name")]

    assert {type(answer) for answer in answers} == {Forbidden}
    assert len({str(answer) for answer in answers}) == 1


async def test_a_service_that_does_not_exist_is_not_found_before_anything_is_checked(
    submitter: Submitter, principal: Principal
) -> None:
    answer = await refusal(submitter, principal, WRONG, service_name="no\nthing", idempotency_key="")

    assert isinstance(answer, NotFound)
    assert answer.problems[0].code is ErrorCode.SERVICE_NOT_FOUND
    assert str(answer) == "Could not find a service for no\\nthing"


async def test_an_inactive_service_is_forbidden_before_anything_is_checked(
    submitter: Submitter, principal: Principal
) -> None:
    await make_service("sleeping", is_active=False)
    answer = await refusal(submitter, principal, WRONG, service_name="Sleeping", idempotency_key="")

    assert isinstance(answer, Forbidden)
    assert answer.problems[0].code is ErrorCode.SERVICE_INACTIVE
    assert str(answer) == "Service sleeping is deactivated."


async def test_a_grant_for_one_service_is_none_for_another(submitter: Submitter, service: Service) -> None:
    await make_service("other")
    sender = await make_principal("sender", [GrantValues("other", ["SEND"])])

    assert isinstance(await refusal(submitter, sender), Forbidden)
    assert await submit(submitter, sender, service_name="other")


@pytest.mark.parametrize("key", ["", "k" * 257, "a\nb", "a\x00", "\ud800"])
async def test_an_idempotency_key_has_1_to_256_printable_characters(
    submitter: Submitter, principal: Principal, key: str
) -> None:
    answer = await refusal(submitter, principal, WRONG, idempotency_key=key)
    assert [problem.field for problem in answer.problems] == [("idempotency_key",)]


async def test_everything_wrong_with_a_draft_is_named_at_once(submitter: Submitter, principal: Principal) -> None:
    answer = await refusal(submitter, principal, WRONG)

    assert isinstance(answer, InvalidInput)
    assert [(".".join(problem.field), problem.code.value) for problem in answer.problems] == [
        ("to.0.email", "INVALID_EMAIL"),
        ("from_email", "INVALID_EMAIL"),
        ("from_name", "INVALID_INPUT"),
        ("subject", "INVALID_INPUT"),
        ("text", "NO_BODY"),
        ("tags.0", "INVALID_INPUT"),
    ]


@pytest.mark.parametrize(
    ("own", "sender", "reply_to"),
    [
        ({}, "Desk <desk@example.com>", "help@example.com"),
        ({"from_email": "ada@example.com"}, "Desk <ada@example.com>", "help@example.com"),
        ({"from_name": "Ada"}, "Ada <desk@example.com>", "help@example.com"),
        ({"from_name": ""}, "desk@example.com", "help@example.com"),
        ({"from_email": "ada@example.com", "from_name": "Ada"}, "Ada <ada@example.com>", "help@example.com"),
        ({"reply_to_email": ""}, "Desk <desk@example.com>", None),
        ({"reply_to_email": "a@example.com", "reply_to_name": "A"}, "Desk <desk@example.com>", "A <a@example.com>"),
        ({"reply_to_name": "Help"}, "Desk <desk@example.com>", "Help <help@example.com>"),
    ],
)
async def test_each_field_of_the_sender_comes_from_the_draft_else_from_the_service(
    submitter: Submitter, principal: Principal, own: dict[str, str], sender: str, reply_to: str | None
) -> None:
    receipt = await submit(submitter, principal, replace(DRAFT, **{"from_email": None, **own}))
    mail = message_from_bytes(await stored_content(receipt.message_id))

    assert (mail["From"], mail["Reply-To"]) == (sender, reply_to)


@pytest.mark.parametrize("own", [None, ""])
async def test_a_sender_is_never_invented(submitter: Submitter, principal: Principal, own: str | None) -> None:
    await make_service("bare")
    name = "email" if own == "" else "bare"
    answer = await refusal(submitter, principal, replace(DRAFT, from_email=own), service_name=name)

    assert [(problem.code, problem.field) for problem in answer.problems] == [(ErrorCode.NO_SENDER, ("from_email",))]


async def test_a_missing_sender_is_named_with_everything_else(submitter: Submitter, principal: Principal) -> None:
    await make_service("bare")
    answer = await refusal(submitter, principal, Draft(), service_name="bare")
    assert [problem.code.value for problem in answer.problems] == ["NO_RECIPIENTS", "NO_BODY", "NO_SENDER"]


@pytest.mark.parametrize(
    ("change", "settings", "field"),
    [
        ({"text": "x" * 11}, {"max_body_chars": 10}, "text"),
        ({"html": "x" * 11}, {"max_body_chars": 10}, "html"),
        ({"subject": "x" * 11}, {"max_subject_chars": 10}, "subject"),
        ({"from_name": "x" * 11}, {"max_name_chars": 10}, "from_name"),
        ({"cc": (Mailbox("a@x"), Mailbox("b@x"))}, {"max_recipients": 2}, "to"),
        ({"attachments": (Attachment("a", b""),) * 2}, {"max_attachments": 1}, "attachments"),
        ({"attachments": (Attachment("a", b"12"),)}, {"max_attachment_bytes": 1}, "attachments.0.content"),
        ({"headers": (("X-A", "1"),) * 2}, {"max_headers": 1}, "headers"),
        ({"headers": (("X-A", "12"),)}, {"max_header_chars": 1}, "headers.0.value"),
        ({"tags": ("a", "b")}, {"max_tags": 1}, "tags"),
        ({"tags": ("ab",)}, {"max_tag_chars": 1}, "tags.0"),
        ({"metadata": {"a": 1}}, {"max_metadata_bytes": 5}, "metadata"),
        ({"text": "{a}", "template_data": {"a": "x" * 11}}, {"max_body_chars": 10}, "text"),
        ({}, {"max_message_bytes": 100}, ""),
    ],
)
async def test_every_limit_is_a_setting(
    submitter: Submitter,
    wakeup: Wakeup,
    principal: Principal,
    change: dict[str, Any],
    settings: dict[str, int],
    field: str,
) -> None:
    bound = with_settings(submitter, wakeup, **settings)
    answer = await refusal(bound, principal, replace(DRAFT, **change))

    assert [(problem.code.value, ".".join(problem.field)) for problem in answer.problems] == [("TOO_LARGE", field)]
    assert await submit(submitter, principal, replace(DRAFT, **change)), "with the usual limits it passes"


async def test_a_mail_over_the_limit_in_total_says_so(
    submitter: Submitter, wakeup: Wakeup, principal: Principal
) -> None:
    bound = with_settings(submitter, wakeup, max_message_bytes=100)
    answer = await refusal(bound, principal)

    assert isinstance(answer, TooLarge)
    assert "the limit is 100" in str(answer)


async def test_placeholders_are_filled_before_the_check(submitter: Submitter, principal: Principal) -> None:
    draft = replace(DRAFT, subject="Hello {name}", template_data={"name": "Bob"})
    receipt = await submit(submitter, principal, draft)
    assert (await message_row(receipt.message_id))["subject"] == "Hello Bob"

    injecting = replace(draft, template_data={"name": "Bob\r\nBcc: all@example.com"})
    with pytest.raises(InvalidInput, match="Subject must not contain control characters"):
        await submit(submitter, principal, injecting)


async def test_a_very_long_domain_leaves_room_for_the_message_id(submitter: Submitter, principal: Principal) -> None:
    domain = ".".join(["d" * 60] * 3 + ["e" * 55])
    receipt = await submit(submitter, principal, replace(DRAFT, from_email=f"a@{domain}"))
    header = (await message_row(receipt.message_id))["message_id_header"]

    assert len(header) <= 255
    assert header == f"<{receipt.message_id.hex}@{domain[61:]}>"


async def test_the_same_request_again_answers_with_the_first_message(
    submitter: Submitter, principal: Principal
) -> None:
    first = await submit(submitter, principal, idempotency_key="order 1")
    again = await submit(submitter, principal, idempotency_key="order 1")

    assert again == Receipt(first.message_id, replayed=True)
    assert await count("message") == 1


async def test_another_request_with_the_same_key_is_a_conflict(submitter: Submitter, principal: Principal) -> None:
    await submit(submitter, principal, idempotency_key="order 1")
    with pytest.raises(Conflict):
        await submit(submitter, principal, replace(DRAFT, text="other"), idempotency_key="order 1")
    with pytest.raises(Conflict):
        await submit(submitter, principal, WRONG, idempotency_key="order 1")
    assert await count("message") == 1


async def test_an_idempotency_key_is_free_again_after_its_time(
    submitter: Submitter, wakeup: Wakeup, principal: Principal
) -> None:
    forgetful = with_settings(submitter, wakeup, idempotency_ttl=1e-9)
    first = await submit(forgetful, principal, idempotency_key="order 1")
    second = await submit(forgetful, principal, replace(DRAFT, text="other"), idempotency_key="order 1")

    assert (first.message_id != second.message_id, second.replayed) == (True, False)


async def test_a_refused_request_uses_up_no_key(submitter: Submitter, principal: Principal) -> None:
    await refusal(submitter, principal, WRONG, idempotency_key="order 1")
    assert not (await submit(submitter, principal, idempotency_key="order 1")).replayed


async def test_a_submission_that_is_cancelled_stores_all_or_nothing(submitter: Submitter, principal: Principal) -> None:
    for steps in range(0, 60, 3):
        task = asyncio.create_task(submit(submitter, principal))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})

    stored = await count("message")
    assert [await count(table) for table in ("message_content", "recipient", "event")] == [stored] * 3


HTML = "<p>Hello <b>Bob</b></p>"
TEXTS: list[tuple[dict[str, Any], dict[str, Any], bool, str | None]] = [
    ({}, {}, True, "Hello Bob\r\n"),
    ({}, {}, False, None),
    ({"text": ""}, {}, True, None),
    ({"text": "own"}, {}, True, "own\r\n"),
    ({"html": "<img src='a'>"}, {}, True, None),
    ({}, {"automatic_text_max_html_chars": len(HTML) - 1}, True, None),
    ({"html": "{a}", "template_data": {"a": "<1>"}}, {}, True, "<1>\r\n"),
]


@pytest.mark.parametrize(("fields", "changes", "wanted", "text"), TEXTS)
async def test_mail_with_html_alone_gets_a_text_where_that_is_wanted(
    submitter: Submitter,
    wakeup: Wakeup,
    principal: Principal,
    fields: dict[str, Any],
    changes: dict[str, Any],
    wanted: bool,
    text: str | None,
) -> None:
    draft = replace(DRAFT, **{"text": None, "html": HTML, **fields})
    receipt = await submit(with_settings(submitter, wakeup, **changes), principal, draft, text_from_html=wanted)
    mail = message_from_bytes(await stored_content(receipt.message_id), policy=default)
    found = mail.get_body(["plain"])
    assert (found.get_content() if found else None) == text
    assert mail.get_body(["html"])
