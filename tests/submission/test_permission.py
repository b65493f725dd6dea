"""A mail that a grant does not cover is refused as a whole, by name of the rule, before anything is done for it."""

import dataclasses
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from app.access.check import GrantValues
from app.access.principal import Principal
from app.access.restrictions import Restrictions
from app.errors import ErrorCode, Forbidden, NotFound, Refusal
from app.mail.address import Mailbox
from app.mail.draft import Attachment, Draft, Link, Unsubscribe
from app.queue.put import Receipt
from app.services.models import Service
from app.settings import Settings
from app.submission.prepare import Submission
from app.submission.submit import Submitter
from tests.factories import count, make_principal, make_service, stored_content
from tests.templates.stored import make

ADA, BOB, EVE = "ada@example.com", "bob@example.com", "eve@evil.example"
DRAFT = Draft(to=(Mailbox(BOB),), subject="Hello", text="text", from_email=ADA)


@pytest.fixture(autouse=True)
async def service(sqlite_database: Settings) -> Service:
    return await make_service(from_email=EVE, reply_to_email="help@example.com")


async def restricted(**restrictions: Any) -> Principal:
    return await make_principal("shop", [GrantValues(None, ["SEND"], Restrictions(**restrictions))])


async def submit(submitter: Submitter, principal: Principal, draft: Draft, **fields: Any) -> Receipt:
    return await submitter.submit(Submission("email", draft, principal, **fields))


async def refusal(submitter: Submitter, principal: Principal, draft: Draft, **fields: Any) -> Refusal:
    with pytest.raises(Refusal) as refused:
        await submit(submitter, principal, draft, **fields)
    assert [await count(table) for table in ("message", "recipient", "idempotency_key", "event")] == [0, 0, 0, 0]
    return refused.value


async def forbidden(submitter: Submitter, principal: Principal, draft: Draft, **fields: Any) -> list[str]:
    refused = await refusal(submitter, principal, draft, **fields)
    assert isinstance(refused, Forbidden)
    assert all(problem.message.startswith("Access Forbidden. The role 'shop' ") for problem in refused.problems)
    assert {problem.code for problem in refused.problems} == {ErrorCode.FORBIDDEN}
    return [".".join(problem.field) for problem in refused.problems]


async def test_the_sender_that_counts_is_the_one_the_mail_would_have(submitter: Submitter) -> None:
    shop = await restricted(allowed_senders=("*@example.com",), denied_senders=("boss@example.com",))
    assert await forbidden(submitter, shop, replace(DRAFT, from_email=None)) == ["from_email"]
    assert await forbidden(submitter, shop, replace(DRAFT, from_email="BOSS@Example.com")) == ["from_email"]
    refused = await refusal(submitter, shop, replace(DRAFT, from_email=EVE))
    assert str(refused) == (
        f"Access Forbidden. The role 'shop' may not send as '{EVE}': it is not among the allowed senders."
    )
    assert await submit(submitter, shop, DRAFT)


async def test_one_forbidden_recipient_refuses_the_mail_and_each_is_named(submitter: Submitter) -> None:
    shop = await restricted(allowed_recipients=("*@example.com",), denied_recipients=("boss@example.com",))
    draft = replace(DRAFT, to=(Mailbox(BOB), Mailbox(EVE)), cc=(Mailbox("Boss@EXAMPLE.com"),), bcc=(Mailbox(EVE),))
    fields = ["to.1.email", "cc.0.email", "bcc.0.email"]
    assert await forbidden(submitter, shop, draft, idempotency_key="k") == fields
    refused = await refusal(submitter, shop, draft)
    assert refused.problems[1].message == (
        "Access Forbidden. The role 'shop' may not send to 'Boss@EXAMPLE.com': it is matched by 'boss@example.com' of"
        " the denied recipients."
    )
    assert await submit(submitter, shop, replace(DRAFT, cc=(Mailbox("Carol@EXAMPLE.com"),)))


async def test_the_row_for_the_service_replaces_the_row_for_all(submitter: Submitter) -> None:
    await make_service("other", from_email=EVE)
    tight = GrantValues(None, ["SEND"], Restrictions(allowed_senders=("*@example.com",)))
    shop = await make_principal("shop", [tight, GrantValues("email", ["SEND"])])
    assert await submit(submitter, shop, replace(DRAFT, from_email=EVE))
    with pytest.raises(Forbidden):
        await submitter.submit(Submission("other", replace(DRAFT, from_email=EVE), shop))


async def test_a_reply_to_can_be_required_and_the_default_counts(submitter: Submitter) -> None:
    shop = await restricted(required_reply_to="help@example.com")
    assert await forbidden(submitter, shop, replace(DRAFT, reply_to_email="")) == ["reply_to_email"]
    assert await forbidden(submitter, shop, replace(DRAFT, reply_to_email=BOB)) == ["reply_to_email"]
    assert await submit(submitter, shop, DRAFT)


async def test_an_address_that_is_none_is_refused_as_that(submitter: Submitter) -> None:
    shop = await restricted(
        allowed_senders=("*@example.com",), denied_recipients=("*@evil.example",), required_reply_to="*"
    )
    draft = replace(DRAFT, to=(Mailbox("no address"),), from_email="ada@", reply_to_email="x")
    refused = await refusal(submitter, shop, draft)
    assert {problem.code for problem in refused.problems} == {ErrorCode.INVALID_EMAIL}
    assert len(refused.problems) == 3


@pytest.mark.parametrize(
    ("brought", "field"),
    [
        ({"subject": ""}, "subject"),
        ({"text": "t"}, "text"),
        ({"html": "h"}, "html"),
        ({"headers": (("X-A", "b"),)}, "headers"),
        ({"attachments": (Attachment("a", b"a"),)}, "attachments"),
        ({"unsubscribe": Unsubscribe(email=BOB)}, "unsubscribe"),
        ({"links": (Link("http://127.0.0.1:1/a", ("attachment",)),)}, "attachment"),
    ],
)
async def test_mail_from_templates_brings_no_content(submitter: Submitter, brought: Any, field: str) -> None:
    template = await make("Welcome", 7, subject="Hi", text="Hello {name}")
    shop = await restricted(templates=(template.id,))
    draft = Draft(to=(Mailbox(BOB),), from_email=ADA, template="welcome")
    assert await forbidden(submitter, shop, replace(draft, **brought)) == [field]
    assert await submit(submitter, shop, draft)


async def test_a_role_with_templates_of_its_own_learns_of_no_other(submitter: Submitter) -> None:
    own = await make("Own", 1, subject="Hi", text="Hello")
    other = await make("Other", 2, subject="Hi", text="Hello", to=(Mailbox(EVE),), reply_to_email=EVE)
    shop = await restricted(templates=(own.id,), denied_recipients=("*@evil.example",), required_reply_to="*")
    base = Draft(from_email=ADA, reply_to_email="")
    for known, unknown in (("other", "none"), (f"tmpl_{other.id.hex}", f"tmpl_{UUID(int=7).hex}")):
        answers = [(await refusal(submitter, shop, replace(base, template=name))).problems for name in (known, unknown)]
        assert answers[0] == answers[1]
    answers = [(await refusal(submitter, shop, replace(base, template_id=name))).problems for name in ("2", "3")]
    assert answers[0] == answers[1]
    assert answers[0][0].field == ("template_id",)
    assert await forbidden(submitter, shop, DRAFT) == ["template", "subject", "text"]
    free = await make_principal("free")
    assert isinstance(await refusal(submitter, free, replace(DRAFT, template="none")), NotFound)


async def test_raw_variables_bring_no_html_into_a_template(submitter: Submitter) -> None:
    template = await make("Welcome", 7, subject="Hi", html="<b>{name}</b>")
    shop = await restricted(templates=(template.id,))
    draft = Draft(to=(Mailbox(BOB),), from_email=ADA, template="welcome", variables={"name": "<i>"})
    assert b"<b>&lt;i&gt;</b>" in await stored_content((await submit(submitter, shop, draft)).message_id)
    free = await make_principal("free")
    assert b"<b><i></b>" in await stored_content((await submit(submitter, free, draft)).message_id)


async def test_a_mail_accepted_before_is_answered_again_after_the_grant_changed(submitter: Submitter) -> None:
    shop = await make_principal("shop", [GrantValues(None, ["SEND"])])
    first = await submit(submitter, shop, DRAFT, idempotency_key="k")
    rule = dataclasses.replace(shop.grants[0], restrictions=Restrictions(denied_senders=("*",)))
    narrowed = dataclasses.replace(shop, grants=(rule,))
    again = await submit(submitter, narrowed, DRAFT, idempotency_key="k")
    assert (again.message_id, again.replayed) == (first.message_id, True)
    with pytest.raises(Forbidden):
        await submit(submitter, narrowed, DRAFT)
