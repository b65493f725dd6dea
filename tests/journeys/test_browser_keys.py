"""A browser key is in everybody's hands: it sends what its operator fixed to whom its operator named, no more."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from app.database.connection import rows
from app.inbox.receiver import Receiver
from tests.journeys.browser_keys import EVERYTHING, ORIGIN, OWNERS, Page, codes, make_page
from tests.journeys.conftest import Eventually, Running
from tests.journeys.doors import CREATE_API_KEY, CREATE_TEMPLATE, Doors
from tests.journeys.reading import read_mail

BEHIND_A_PROXY = {"trusted_proxies": "127.0.0.1/32"}


@pytest.fixture
def site(sqlite_running: Running, receiver: Receiver) -> Any:
    """A running server with a service that sends to the receiver, and a page with a key for it."""

    @asynccontextmanager
    async def start(**browser: Any) -> AsyncIterator[tuple[Doors, Page]]:
        async with sqlite_running(**BEHIND_A_PROXY, smtp_ports=str(receiver.port)) as admin:
            await admin.graphql.create_service("site", port=receiver.port)
            yield admin, await make_page(admin, **browser)

    return start


async def arrived(receiver: Receiver, count: int, eventually: Eventually) -> None:
    async def enough() -> bool:
        return len(receiver.mails) >= count

    await eventually(enough)


async def test_a_page_sends_by_both_doors_and_the_owner_reads(
    site: Any, receiver: Receiver, eventually: Eventually
) -> None:
    async with site(replyToFromVisitor=True) as (_, page):
        visitor = {"email": "vera@visitor.example", "name": "Vera"}
        sent = await page.send(service="site", replyTo=visitor, idempotencyKey="once")
        again = await page.send(service="site", replyTo=visitor, idempotencyKey="once")
        assert (sent["userErrors"], sent["message"], sent["replayed"], again["replayed"]) == ([], None, False, True)
        assert sent["messageId"] == again["messageId"]
        body = {"template": page.template, "name": "<b>Vera</b>", "message": "{topic}", "topic": "Hours"}
        answer = await page.http.post("/api/v2/site", json=body, headers=page.headers)
        assert (answer.status_code, answer.json()) == (202, {"count": 2})
        await arrived(receiver, 2, eventually)
    mails = [read_mail(mail.content) for mail in receiver.mails]
    first, second = sorted(mails, key=lambda mail: mail.reply_to is None)  # they may arrive in either order
    assert [mail.recipients for mail in receiver.mails] == [OWNERS, OWNERS]
    assert (first.subject, first.reply_to) == ("From the site: Hours", "Vera <vera@visitor.example>")
    assert first.sender == "Contact form <form@owner.example>"
    assert (first.text or "").startswith("Vera writes:")
    assert second.html is not None
    assert "&lt;b&gt;Vera&lt;/b&gt; writes:</p><p>{topic}" in second.html


ELSEWHERE = [{"email": "victim@elsewhere.example"}]
FILE = {"name": "a.txt", "content": "aGk="}
INPUTS: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "other recipients": ({"to": ELSEWHERE}, [("to", "FORBIDDEN")]),
    "the right recipient": ({"to": [{"email": OWNERS[0]}]}, [("to", "FORBIDDEN")]),
    "a copy": ({"cc": ELSEWHERE}, [("cc", "FORBIDDEN")]),
    "a blind copy": ({"bcc": ELSEWHERE}, [("bcc", "FORBIDDEN")]),
    "several": ({"cc": ELSEWHERE, "bcc": ELSEWHERE, "text": "x"}, [(at, "FORBIDDEN") for at in ("cc", "bcc", "text")]),
    "no template": ({"template": None, "text": "x"}, [("template", "FORBIDDEN"), ("text", "FORBIDDEN")]),
    "another template": ({"template": "Other"}, [("template", "FORBIDDEN")]),
    "no such template": ({"template": "Absent"}, [("template", "FORBIDDEN")]),
    "a subject": ({"subject": "x"}, [("subject", "FORBIDDEN")]),
    "an empty subject": ({"subject": ""}, [("subject", "FORBIDDEN")]),
    "html": ({"html": "<a href='https://evil.example'>"}, [("html", "FORBIDDEN")]),
    "an attachment": ({"attachments": [FILE]}, [("attachments", "FORBIDDEN")]),
    "a way to unsubscribe": ({"unsubscribe": {"url": "https://evil.example"}}, [("unsubscribe", "FORBIDDEN")]),
    "a header": ({"headers": [{"name": "Bcc", "value": "victim@elsewhere.example"}]}, [("headers", "FORBIDDEN")]),
    "a sender": (
        {"from": {"email": "boss@owner.example"}},
        [("from.email", "FORBIDDEN"), ("from.name", "FORBIDDEN")],
    ),
    "a reply address": (
        {"replyTo": {"email": "victim@elsewhere.example", "name": "x"}},
        [("replyTo.email", "FORBIDDEN"), ("replyTo.name", "FORBIDDEN")],
    ),
    "metadata and tags": ({"metadata": {"a": 1}, "tags": ["a"]}, [("metadata", "FORBIDDEN"), ("tags", "FORBIDDEN")]),
    "later": ({"sendAt": "2099-01-01T00:00:00Z"}, [("sendAt", "FORBIDDEN")]),
    "an end": ({"expiresAt": "2099-01-01T00:00:00Z"}, [("expiresAt", "FORBIDDEN")]),
    "before all others": ({"priority": "HIGH"}, [("priority", "FORBIDDEN")]),
    "a choice in doubt": ({"onDoubt": "FAIL"}, [("onDoubt", "FORBIDDEN")]),
    "line ends in the subject": (
        {"templateData": {"topic": "x\r\nBcc: victim@elsewhere.example", "message": "x"}},
        [("subject", "INVALID_INPUT")],
    ),
    "a book": ({"templateData": {"message": "x" * 300_000}}, [("templateData", "TOO_LARGE")]),
    "a book that nobody reads": (
        {"templateData": {"message": "x", "y": "x" * 300_000}},
        [("templateData", "TOO_LARGE")],
    ),
    "a page full of quotes": ({"templateData": {"message": '"' * 100_000}}, [("html", "TOO_LARGE")]),
    "a long letter": ({"templateData": {"message": "x" * 200_000}}, [("", "TOO_LARGE")]),
    "no message": ({"templateData": {"topic": "x"}}, [("templateData.message", "MISSING_VARIABLE")]),
}
BODIES: dict[str, dict[str, Any]] = {
    "json": {"json": {"to": "victim@elsewhere.example"}},
    "form": {"data": {"to": "victim@elsewhere.example"}},
    "json called a form": {"content": b'{"bcc": "victim@elsewhere.example", "template": "Contact"}'},
    "nested form": {"data": {"cc[0][email]": "victim@elsewhere.example"}},
    "file": {"files": {"file": ("a.txt", b"hi")}, "data": {"template": "Contact"}},
    "link": {"json": {"template": "Contact", "attachment": ["https://elsewhere.example/a.pdf"]}},
    "text": {"json": {"template": "Contact", "body_text": "own"}},
    "html": {"json": {"template": "Contact", "body_html": "own"}},
    "subject": {"json": {"template": "Contact", "subject": "own"}},
    "sender": {"json": {"template": "Contact", "from_email": "x@elsewhere.example"}},
    "sender's name": {"json": {"template": "Contact", "from_name": "Your bank"}},
    "reply": {"json": {"template": "Contact", "reply_to_email": "x@elsewhere.example"}},
    "other template": {"json": {"template": "Other"}},
    "template by number": {"json": {"template_id": 2}},
    "template in the query": {"json": {"message": "x"}, "params": {"template": "Other"}},
    "query alone": {"params": {"to": "victim@elsewhere.example", "subject": "x", "body_text": "x"}},
    "query with the template": {"params": {"template": "Contact", "bcc": "victim@elsewhere.example"}},
}
HARMLESS_DATA = {
    "topic": "{from_email} {to} victim@elsewhere.example",
    "name": '"><script>alert(1)</script>',
    "message": "{subject}\r\n.\r\nMAIL FROM:<x@y.example>\r\nBcc: victim@elsewhere.example",
    "to": "victim@elsewhere.example",
    "recipients": ["victim@elsewhere.example"],
    "bcc": {"email": "victim@elsewhere.example"},
}


async def test_whoever_has_the_key_reaches_nobody_but_the_owner(
    site: Any, receiver: Receiver, eventually: Eventually
) -> None:
    async with site() as (admin, page):
        await admin.graphql.change(CREATE_TEMPLATE, name="Other", text="{message}", to=ELSEWHERE)
        for name, (changes, expected) in INPUTS.items():
            assert codes(await page.send(service="site", **changes)) == expected, name
        for name, request in BODIES.items():
            answer = await page.http.post("/api/v2/site", headers=page.headers, **request)
            assert (answer.status_code, answer.json()["error"]["context"]["error_code"]) == (403, "FORBIDDEN"), name
        assert await admin.graphql.messages() == []
        aliases = " ".join(f"m{n}: sendEmail(input: $input) {{ userErrors {{ code }} }}" for n in range(3))
        mail = {"service": "site", "template": page.template, "templateData": HARMLESS_DATA}
        await page.post(f"mutation ($input: SendEmailInput!) {{ {aliases} }}", input=mail)
        await arrived(receiver, 3, eventually)
        listed = await admin.graphql.messages()
        assert [sorted(recipient.email for recipient in message.recipients) for message in listed] == [
            sorted(OWNERS)
        ] * 3
    assert {mail.recipients for mail in receiver.mails} == {OWNERS}
    read = read_mail(receiver.mails[0].content)
    assert read.subject == "From the site: {from_email} {to} victim@elsewhere.example"
    assert "<script>" not in (read.html or "")


READS = (
    "messages(first: 1) { nodes { id } }",
    'message(id: "$message") { id }',
    'node(id: "$message") { id }',
    "inbox(first: 1) { nodes { id } }",
    'service(name: "site") { id }',
    "services(first: 1) { nodes { id } }",
    'template(name: "Contact") { id }',
    "templates(first: 1) { nodes { id } }",
    "roles(first: 1) { nodes { id } }",
    "apiKeys(first: 1) { nodes { id } }",
    "auditLog(first: 1) { nodes { id } }",
    "dkimKeys(first: 1) { nodes { id } }",
    'canSend(role: "$other", service: "site", from: "a@b.example", to: []) { allowed }',
)
NOTHING: tuple[object, ...] = ({}, {"nodes": []}, None)
CHANGES = (
    'cancelEmail(input: {id: "$message"})',
    'holdEmail(input: {id: "$message"})',
    'createService(input: {name: "mine", host: "a.example"})',
    'createTemplate(input: {name: "mine", text: "x"})',
    'createRole(input: {name: "mine", grants: []})',
    'createApiKey(input: {roleId: "$role", name: "mine"})',
    'updateApiKey(input: {id: "$key", name: "mine"})',
    'revokeApiKey(input: {id: "$key"})',
    'rotateApiKey(input: {id: "$key"})',
    'deleteRole(input: {id: "$role"})',
    'generateDkimKey(input: {domain: "a.example", selector: "s"})',
    'sendTestEmail(input: {service: "site", to: "victim@elsewhere.example"})',
)
PREVIEW = """{ previewEmail(input: {service: "site", template: "Contact", templateData: {message: "x"}}) {
  preview { source } userErrors { code } } }"""


async def test_it_reads_nothing_and_changes_nothing_whatever_its_role_may(site: Any) -> None:
    async with site() as (admin, page):
        sent = await page.send()
        viewer = (await page.post("{ viewer { roleId apiKeyId actionsOnAllServices } }")).json()["data"]["viewer"]
        assert viewer["actionsOnAllServices"] == ["SEND"]
        other = (await admin.graphql.ask("{ viewer { roleId } }"))["viewer"]["roleId"]
        ids = {"$message": sent["messageId"], "$role": viewer["roleId"], "$key": viewer["apiKeyId"], "$other": other}
        for field in READS:
            body = (await page.post(f"{{ found: {_with(ids, field)} }}")).json()
            refused = [error["extensions"]["code"] for error in body.get("errors", ())] == ["FORBIDDEN"]
            assert refused or body["data"]["found"] in NOTHING, body
        for field in CHANGES:
            body = (await page.post(f"mutation {{ done: {_with(ids, field)} {{ userErrors {{ code }} }} }}")).json()
            code = body["data"]["done"]["userErrors"][0]["code"]
            assert code == ("NOT_FOUND" if "$message" in field else "FORBIDDEN"), body
        preview = (await page.post(PREVIEW)).json()["data"]["previewEmail"]
        assert preview == {"preview": None, "userErrors": [{"code": "FORBIDDEN"}]}
        assert len(await admin.graphql.messages()) == 1
        assert (await admin.with_key(page.key).graphql.post("{ viewer { roleId } }")).json()["errors"]


async def test_its_idempotency_keys_are_in_nobody_elses_way(sqlite_running: Running) -> None:
    async with sqlite_running() as admin:
        page = await make_page(admin)
        viewer = (await page.post("{ viewer { roleId } }")).json()["data"]["viewer"]
        made = await admin.graphql.change(CREATE_API_KEY, roleId=viewer["roleId"], name="of a program")
        await page.send(idempotencyKey="order 1")
        (error,) = (await page.send(idempotencyKey="order 1", templateData={"message": "other"}))["userErrors"]
        assert (error["code"], "'order 1'" in error["message"]) == ("IDEMPOTENCY_CONFLICT", True)
        mail = {"service": "email", "to": ELSEWHERE, "text": "x", "from": {"email": "me@owner.example"}}
        sent = await admin.with_key(made["key"]).graphql.send_email(idempotencyKey="order 1", **mail)
        assert sent.recipients[0].email == ELSEWHERE[0]["email"]


def _with(ids: dict[str, str], field: str) -> str:
    for name, key in ids.items():
        field = field.replace(name, key)
    return field


async def test_can_send_tells_what_sending_would_and_no_address_of_the_owner(site: Any) -> None:
    given = 'service: "email", from: $from, to: $to, template: $template, replyTo: $replyTo'
    told = "allowed rule recipients { email allowed }"
    ask = f"""query ($from: String!, $to: [String!]!, $template: ID, $replyTo: String)
      {{ viewer {{ canSend({given}) {{ {told} }} }} }}"""
    async with site() as (_, page):

        async def can_send(template: str | None, sender: str = "form@OWNER.example", **more: Any) -> Any:
            asked = {"from": sender, "to": [], "template": template, **more}
            return (await page.post(ask, **asked)).json()["data"]["viewer"]["canSend"]

        assert await can_send(page.template) == {"allowed": True, "rule": None, "recipients": []}
        refused = await can_send(page.template, to=[OWNERS[0]])
        assert (refused["rule"], refused["recipients"]) == (
            "FIXED_RECIPIENTS",
            [{"email": OWNERS[0], "allowed": False}],
        )
        assert (await can_send(page.template, sender="boss@owner.example"))["rule"] == "FIXED_FIELD"
        assert (await can_send(page.template, replyTo="vera@visitor.example"))["rule"] == "FIXED_FIELD"
        assert (await can_send(None))["rule"] == "TEMPLATE_NOT_ALLOWED"


async def test_a_rule_of_the_role_refuses_without_a_word_of_the_address(sqlite_running: Running) -> None:
    async with sqlite_running() as admin:
        page = await make_page(admin, {"actions": EVERYTHING, "deniedRecipients": [OWNERS[0]]})
        (error,) = (await page.send())["userErrors"]
    assert error["code"] == "FORBIDDEN"
    assert not any(part in str(error) for part in ("desk", "owner.example"))


async def test_another_origin_or_none_is_refused_alike_at_both_doors(sqlite_running: Running) -> None:
    message = "Access Forbidden. This API key is for pages of its own origins only."
    async with sqlite_running() as admin:
        page = await make_page(admin)
        for origin in (None, "null", "https://example.com", "http://www.example.com", f"{ORIGIN}:8443", f"{ORIGIN}/"):
            elsewhere = replace(page, origin=origin)
            by_graphql = await elsewhere.post("{ viewer { apiKeyName } }")
            (error,) = by_graphql.json()["errors"]
            assert (error["message"], error["extensions"]["code"]) == (message, "FORBIDDEN"), origin
            mail = {"template": page.template, "message": "x"}
            by_rest = await page.http.post("/api/v2/email", json=mail, headers=elsewhere.headers)
            told = by_rest.json()["error"]
            assert (by_rest.status_code, told["message"], told["context"]["error_code"]) == (403, message, "FORBIDDEN")
            assert _cors(by_graphql) == _cors(by_rest) == []


async def test_each_client_address_has_its_own_rate(sqlite_running: Running) -> None:
    async with sqlite_running(**BEHIND_A_PROXY) as admin:
        page = await make_page(admin, limitsPerClientAddress={"perMinute": 4, "perDay": 100})

        async def send(address: str, **given: Any) -> list[str]:
            return [code for _, code in codes(await replace(page, address=address).send(**given))]

        limited = ["RATE_LIMITED"]
        assert await send("198.51.100.7", idempotencyKey="a") == []
        assert await send("::ffff:198.51.100.7") == []
        assert await send("198.51.100.7") == limited
        assert await send("198.51.100.7", idempotencyKey="a") == []  # a replay is free
        assert await send("198.51.100.8", to=ELSEWHERE) == ["FORBIDDEN"]  # and so is what was refused
        assert [await send("198.51.100.8") for _ in range(3)] == [[], [], limited]
        assert [await send(f"2001:db8:0:1::{n}") for n in range(3)] == [[], [], limited]
        assert await send("2001:db8:0:2::1") == []
        told = (await page.post("{ viewer { rateLimit { scope name limit remaining } } }")).json()["data"]["viewer"]
        assert told["rateLimit"] == [
            {"scope": "CLIENT_ADDRESS", "name": "RECIPIENTS_PER_MINUTE", "limit": 4, "remaining": 0},
            {"scope": "CLIENT_ADDRESS", "name": "RECIPIENTS_PER_DAY", "limit": 100, "remaining": 96},
        ]
        stored = await rows("SELECT * FROM counter")
        assert stored
        assert not any("198.51.100" in str(row) for row in stored)
        answer = await page.http.post("/api/v2/email", json={"template": page.template}, headers=page.headers)
    assert (answer.status_code, answer.headers["x-ratelimit-limit"]) == (429, "4")
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["access-control-allow-origin"] == ORIGIN


async def test_a_preflight_is_answered_for_the_origins_of_active_keys_alone(sqlite_running: Running) -> None:
    async with sqlite_running(cors_refresh=0) as admin:
        page = await make_page(admin)

        async def preflight(origin: str, path: str = "/graphql") -> httpx2.Response:
            asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            return await page.http.options(path, headers=asked)

        for path in ("/graphql", "/graphql/", "/api/v2/email"):
            answer = await preflight(ORIGIN, path)
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, ORIGIN)
            assert "POST" in answer.headers["access-control-allow-methods"]
            assert "X-API-Key" in answer.headers["access-control-allow-headers"]
            assert answer.headers["access-control-max-age"] == "600"
            assert "access-control-allow-credentials" not in answer.headers
        silent = [await preflight("https://example.com"), await preflight("null"), await preflight(ORIGIN, "/inbox")]
        assert [_cors(answer) for answer in silent] == [[], [], []]
        assert [answer.headers.get("vary") for answer in silent] == ["Origin", "Origin", None]
        unknown = await replace(page, key="hg_unknown").post("{ viewer { roleId } }")
        assert (unknown.json()["errors"][0]["extensions"]["code"], unknown.headers["access-control-allow-origin"]) == (
            "INVALID_API_KEY",
            ORIGIN,
        )
        as_admin = await replace(page, key=admin.api_key).post("{ viewer { roleId } }")
        assert ("data" in as_admin.json(), _cors(as_admin)) == (True, [])
        viewer = (await page.post("{ viewer { apiKeyId } }")).json()["data"]["viewer"]
        revoke = f'mutation {{ revokeApiKey(input: {{id: "{viewer["apiKeyId"]}"}}) {{ userErrors {{ code }} }} }}'
        await admin.graphql.ask(revoke)
        assert _cors(await preflight(ORIGIN)) == []


def _cors(answer: httpx2.Response) -> list[str]:
    return [name for name in answer.headers if name.startswith("access-control-")]
