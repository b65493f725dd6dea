"""A preview is the mail that would leave, to the octet, and leaves nothing behind."""

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from app.access.check import GrantValues
from app.access.mail_policy import MailRule
from app.access.principal import Principal
from app.access.restrictions import Restrictions
from app.database.connection import execute
from app.database.key import new_key
from app.delivery.attempt import Attempter
from app.delivery.backoff import RetryPolicy
from app.delivery.lease import LeasePolicy
from app.domains.manage import activate_dkim_key, generate_dkim_key
from app.domains.models import DkimAlgorithm
from app.domains.signing import ContentSigner
from app.errors import Forbidden, Refusal
from app.inbox.receiver import Receiver
from app.limits.window import Span
from app.mail.address import Mailbox
from app.mail.draft import Attachment, Draft, Link, Unsubscribe
from app.mail.lint.finding import LintCode
from app.queue.embedded import EmbeddedEngine
from app.queue.wakeup import Wakeup
from app.services.announced import note_announced_size
from app.services.models import Service
from app.services.secret import Sealer
from app.settings import Settings
from app.smtp.pool import Pool
from app.submission.prepare import Submission
from app.submission.preview import Preview
from app.submission.submit import Submitter
from app.templates.content import Variable
from tests.delivery.conftest import plain_server
from tests.domains.dns_answers import answering
from tests.factories import NOW, count, make_principal, make_service
from tests.templates.stored import make

SIZE = 100_000
SEALER = Sealer(["k" * 32])
BOB = Mailbox("bob@example.com", "Bob")
DRAFT = Draft(to=(BOB,), subject="Hello", text="text\n.\n..dots", from_email="ada@example.com")
HTML = "<p>Grüße, <b>{name}</b> <img src='cid:logo' alt='Logo'>"
LOGO = Attachment("logo.png", b"\x89PNG\r\n.\r\n", "image/png", "logo")
FILE = Attachment("Größe.pdf", bytes(range(256)) * 40)

DRAFTS = {
    "text": DRAFT,
    "html alone": replace(DRAFT, text=None, html="<p>It works"),
    "text and html": replace(DRAFT, html=HTML, template_data={"name": "<Ann>"}),
    "files": replace(DRAFT, attachments=(FILE, LOGO)),
    "inline": replace(DRAFT, text=None, html=HTML, attachments=(LOGO, FILE)),
    "only a file": replace(DRAFT, text=None, attachments=(FILE,)),
    "beyond ASCII": replace(DRAFT, to=(Mailbox("用户@例え.テスト", "名前"),), subject="🎉" * 90, text="ü" * 200),
    "header fields": replace(
        DRAFT,
        cc=(Mailbox("c@x.example"),),
        bcc=(Mailbox("d@x.example"),),
        reply_to_email="r@x.example",
        headers=(("X-A", "b"),),
        unsubscribe=Unsubscribe("https://x.example/{name}", "off@x.example", one_click=True),
        template_data={"name": "a/b"},
    ),
    "signed": replace(DRAFT, from_email="ada@shop.example"),
    "a template": Draft(to=(BOB,), template="welcome", template_data={"name": "Ann"}),
}


@pytest.fixture
async def principal(sqlite_database: Settings) -> Principal:
    await make("Welcome", 1, subject="Hi {name}", text=None, html=HTML, from_email="shop@example.com")
    return await make_principal()


@pytest.fixture
async def service(sqlite_database: Settings) -> Service:
    return await make_service("email", kind="SMTP", from_email="desk@example.com", username="desk@mail.example.com")


async def signing_for(domain: str) -> None:
    key = await generate_dkim_key(domain, "s1", DkimAlgorithm.ED25519, None, SEALER)
    await activate_dkim_key(key.id, None, answering({}), force=True)


def submission(principal: Principal, draft: Draft = DRAFT, **fields: Any) -> Submission:
    values = {"service_name": "email", "values_required": True, "text_from_html": True, **fields}
    return Submission(draft=draft, principal=principal, **values)


@asynccontextmanager
async def delivering(message_id: UUID, wakeup: Wakeup, signer: ContentSigner) -> AsyncIterator[None]:
    """The mail is tried once."""
    pool = Pool(max_connections=1, max_messages=1, idle_limit=25, noop_after=5)
    retry, lease = RetryPolicy((30,), 0, 3600), LeasePolicy(60, 60, 0.01)
    attempter = Attempter(new_key(), pool, plain_server, retry, lease, wakeup, signer=signer)
    try:
        assert await attempter.attempt(message_id)
        yield
    finally:
        await pool.close()


@pytest.mark.parametrize("name", DRAFTS)
async def test_the_receiver_gets_the_preview_to_the_octet(
    name: str, sqlite_database: Settings, principal: Principal, service: Service, wakeup: Wakeup, engine: EmbeddedEngine
) -> None:
    key, signer = new_key(), ContentSigner(SEALER)
    submitter = Submitter(sqlite_database, engine, wakeup, make_key=lambda: key, clock=lambda: NOW, signer=signer)
    await signing_for("shop.example")
    async with Receiver(keep=True, max_bytes=SIZE) as receiver:
        await Service.filter(id=service.id).update(host=receiver.host, port=receiver.port)
        preview = await submitter.preview(submission(principal, DRAFTS[name]))
        receipt = await submitter.submit(submission(principal, DRAFTS[name]))
        async with delivering(receipt.message_id, wakeup, signer):
            (mail,) = receiver.mails
    prepared = preview.prepared
    assert mail.content == preview.content
    assert (mail.reverse_path, mail.recipients) == (prepared.envelope.reverse_path, prepared.envelope.recipients)
    domain = prepared.sender.email.rpartition("@")[2]
    assert (prepared.message_id_header, prepared.date) == (f"<{key.hex}@{domain}>", NOW)
    assert (b"DKIM-Signature" in mail.content) is (domain == "shop.example")
    assert [judged.recipient.address for judged in preview.recipients] == list(mail.recipients)
    assert (preview.size_limit, (await Service.get(id=service.id)).announced_size) == (None, SIZE)
    assert preview.automatic_text == (b"text/plain" in mail.content and DRAFTS[name].text is None)


async def test_nothing_is_left_behind(submitter: Submitter, principal: Principal, service: Service) -> None:
    limited = dataclasses.replace(principal, role_limits={Span.MINUTE: 1})
    tables = ("message", "recipient", "event", "idempotency_key", "counter", "pace", "audit_entry")
    before = [await count(table) for table in tables]
    for _ in range(2):
        await submitter.preview(submission(limited, idempotency_key="k"))
    assert [await count(table) for table in tables] == before


REFUSED: dict[str, tuple[Draft, dict[str, Any]]] = {
    "everything wrong": (Draft(to=(Mailbox("bob"),), subject="a\nb", from_email="ada", tags=("\x00",)), {}),
    "nothing in it": (Draft(), {}),
    "no such service": (DRAFT, {"service_name": "nothing"}),
    "an inactive service": (DRAFT, {"service_name": "asleep"}),
    "no such template": (replace(DRAFT, template="nothing"), {}),
    "no value": (replace(DRAFT, template="strict"), {}),
    "no way to unsubscribe": (replace(DRAFT, unsubscribe=Unsubscribe("ftp://a", one_click=True)), {}),
    "too large": (replace(DRAFT, attachments=(Attachment("a", bytes(3000)),)), {}),
    "a file that is not to be fetched": (replace(DRAFT, links=(Link("https://x.example/a", ("attachment",)),)), {}),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_submitting_refuses_is_refused_just_the_same(
    name: str, sqlite_database: Settings, principal: Principal, service: Service, engine: EmbeddedEngine, wakeup: Wakeup
) -> None:
    draft, fields = REFUSED[name]
    await make_service("asleep", is_active=False)
    await make("Strict", 2, text="{name}", variables=(Variable("name", required=True),))
    settings = sqlite_database.model_copy(update={"max_message_bytes": 2000})
    submitter, told = Submitter(settings, engine, wakeup), []
    for door in (submitter.preview, submitter.submit):
        with pytest.raises(Refusal) as refused:
            await door(submission(principal, draft, **fields))
        told.append((type(refused.value), refused.value.problems))
    assert told[0] == told[1]


async def shop(**rules: Any) -> Principal:
    return await make_principal("shop", [GrantValues("email", ["SEND"], Restrictions(**rules))])


async def test_each_recipient_has_the_verdict_of_the_grant(
    submitter: Submitter, principal: Principal, service: Service
) -> None:
    seller = await shop(denied_recipients=("*@evil.example",), required_reply_to="*")
    link = Link("https://x.example/a", ("attachment",))
    draft = replace(DRAFT, cc=(Mailbox("Eve@EVIL.example"), BOB), links=(link,))
    preview = await submitter.preview(submission(seller, draft))
    broken = [judged.broken.rule if judged.broken else None for judged in preview.recipients]
    assert broken == [None, MailRule.RECIPIENT_DENIED]
    with pytest.raises(Forbidden) as refused:
        await submitter.submit(submission(seller, draft))
    assert preview.refusal is not None
    assert preview.refusal.problems == refused.value.problems
    assert preview.content


async def test_a_mail_that_is_wrong_too_is_refused_for_its_grant_first(
    submitter: Submitter, principal: Principal, service: Service
) -> None:
    seller = await shop(denied_recipients=("bob@example.com",))
    with pytest.raises(Forbidden):
        await submitter.preview(submission(seller, replace(DRAFT, subject="\n")))


def codes(preview: Preview) -> list[LintCode]:
    return [finding.code for finding in preview.findings]


LINTED = {
    "nothing": (DRAFT, []),
    "a text from the html": (replace(DRAFT, text=None, html="<p>Hi"), [LintCode.AUTOMATIC_TEXT]),
    "a name without a value": (replace(DRAFT, text="{name} {from_email}"), [LintCode.UNFILLED_PLACEHOLDER]),
    "braces in a value": (replace(DRAFT, text="{a}", template_data={"a": "{b}"}), []),
    "another domain": (replace(DRAFT, from_email="a@x.example"), [LintCode.FROM_NOT_ALIGNED]),
    "below the domain of the user name": (replace(DRAFT, from_email="a@mail.example.com"), []),
    "a local part beyond ASCII": (replace(DRAFT, from_email="ü@example.com"), [LintCode.NEEDS_SMTPUTF8]),
    "a bulk tag": (replace(DRAFT, tags=("bulk",)), [LintCode.NO_UNSUBSCRIBE]),
}


@pytest.mark.parametrize("name", LINTED)
async def test_the_lint_knows_the_whole_mail(
    name: str, submitter: Submitter, principal: Principal, service: Service
) -> None:
    draft, found = LINTED[name]
    assert codes(await submitter.preview(submission(principal, draft))) == found


async def test_a_mail_over_what_the_server_takes_is_found(
    submitter: Submitter, principal: Principal, service: Service
) -> None:
    size = len((await submitter.preview(submission(principal))).content)
    for limit, found in ((size, []), (size - 1, [LintCode.OVER_SERVER_SIZE])):
        await note_announced_size(service, str(limit))
        preview = await submitter.preview(submission(principal))
        assert (codes(preview), preview.size_limit) == (found, limit)


async def test_nothing_is_known_of_the_domains_of_a_sandbox(submitter: Submitter, principal: Principal) -> None:
    await make_service("email", from_email="desk@example.com")
    assert codes(await submitter.preview(submission(principal, replace(DRAFT, from_email="a@x.example")))) == []


async def test_a_signature_aligns_and_a_key_that_cannot_be_used_is_told(
    sqlite_database: Settings, principal: Principal, service: Service, engine: EmbeddedEngine, wakeup: Wakeup
) -> None:
    await signing_for("x.example")
    submitter = Submitter(sqlite_database, engine, wakeup, signer=ContentSigner(SEALER))
    mail = submission(principal, replace(DRAFT, from_email="a@x.example"))
    assert codes(await submitter.preview(mail)) == []
    await execute("UPDATE dkim_key SET sealed_private_key = 'v1.torn'")
    assert codes(await submitter.preview(mail)) == [LintCode.CANNOT_BE_SIGNED, LintCode.FROM_NOT_ALIGNED]


@pytest.mark.parametrize(
    ("provider", "found"), [("BREVO", []), ("GMAIL", [LintCode.FROM_NOT_ALIGNED]), (None, [LintCode.FROM_NOT_ALIGNED])]
)
async def test_a_login_that_is_no_mailbox_says_nothing_of_the_domain(
    provider: str | None, found: list[LintCode], submitter: Submitter, principal: Principal
) -> None:
    await make_service("email", kind="SMTP", provider=provider, username="8a1b@login.example")
    assert codes(await submitter.preview(submission(principal))) == found
