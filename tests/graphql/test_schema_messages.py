"""Mail through the schema: sent, waited for, read, in a number of statements that does not grow."""

import asyncio
import base64
from datetime import timedelta
from typing import Any

import orjson
import pytest

from app.access.check import GrantValues
from app.access.principal import Action
from app.clock import now
from app.database.connection import rows
from app.database.key import new_key, parse_public_id
from app.mail.reply import Reply
from app.queue.claim import claim_message
from app.queue.heartbeat import beat
from app.queue.pause import pause_service
from app.queue.settle import Settlement, settle
from app.queue.states import RecipientState
from app.services.models import Service
from tests.factories import count, make_key, make_service
from tests.graphql.api import Api, codes
from tests.statements import told

MESSAGE = """
    id serviceName state messageIdHeader from { email name } subject metadata tags sizeBytes createdAt settledAt
    recipients {
        kind email name state attemptCount nextAttemptAt reply { code enhancedCode text } detail settledAt
        attempts { number startedAt finishedAt outcome phase inDoubt reply { code } detail }
    }
"""
MAIL: dict[str, Any] = {
    "service": "email",
    "to": [{"email": "bob@example.com", "name": "Bob"}],
    "cc": [{"email": "ann@example.com"}],
    "bcc": [{"email": "eve@example.com"}],
    "subject": "Hello {name}",
    "text": "It works, {name}.",
    "html": "<p>It works, {name}. <img src='cid:logo'></p>",
    "from": {"email": "ada@example.com", "name": "Ada"},
    "replyTo": {"email": "help@example.com"},
    "attachments": [
        {"name": "a.png", "content": base64.b64encode(b"png").decode(), "contentType": "image/png", "contentId": "logo"}
    ],
    "headers": [{"name": "X-Campaign", "value": "one"}],
    "templateData": {"name": "<Bob>"},
    "metadata": {"order": [1, {"ü": None}]},
    "tags": ["one", "two"],
}
TAKEN = Reply(250, "taken", "2.0.0")
PLAIN: dict[str, Any] = {
    "service": "email",
    "to": [{"email": "bob@example.com"}],
    "text": "t",
    "from": {"email": "ada@example.com"},
}


@pytest.fixture(autouse=True)
async def service(api: Api) -> Service:
    return await make_service()


async def send(api: Api, **given: Any) -> dict[str, Any]:
    payload = await api.mutate("sendEmail", f"replayed message {{ {MESSAGE} }}", **{**PLAIN, **given})
    assert payload["userErrors"] == []
    message: dict[str, Any] = payload["message"]
    return message


async def deliver(public: str, reply: Reply = TAKEN) -> None:
    """What a worker does."""
    _, key = parse_public_id(public) or (None, None)
    assert key is not None
    claim = await claim_message(new_key(), key, now(), 60)
    assert claim is not None
    state = RecipientState.SENT if reply.code == 250 else RecipientState.FAILED
    settlements = [Settlement(r.id, r.number, state, None, reply) for r in claim.recipients]
    assert await settle(claim, lambda _: settlements, now(), now())


async def test_a_mail_is_accepted_with_all_it_has(api: Api) -> None:
    payload = await api.mutate("sendEmail", f"replayed message {{ {MESSAGE} }}", **MAIL)

    message = payload["message"]
    assert (payload["userErrors"], payload["replayed"]) == ([], False)
    assert (message["serviceName"], message["state"], message["settledAt"]) == ("email", "QUEUED", None)
    assert (message["from"], message["subject"]) == ({"email": "ada@example.com", "name": "Ada"}, "Hello <Bob>")
    assert (message["metadata"], message["tags"]) == (MAIL["metadata"], MAIL["tags"])
    assert [(r["kind"], r["email"], r["name"], r["state"]) for r in message["recipients"]] == [
        ("TO", "bob@example.com", "Bob", "QUEUED"),
        ("CC", "ann@example.com", None, "QUEUED"),
        ("BCC", "eve@example.com", None, "QUEUED"),
    ]
    assert all(r["nextAttemptAt"] == message["createdAt"] for r in message["recipients"])
    (stored,) = await rows("SELECT octets FROM message_content")
    content = bytes(stored["octets"])
    assert b"X-Campaign: one\r\n" in content
    assert b"It works, &lt;Bob&gt;." in content
    assert b"Reply-To: help@example.com\r\n" in content
    assert (len(content), b"eve@example.com" in content) == (message["sizeBytes"], False)


async def test_everything_wrong_with_a_mail_is_named_at_once_as_the_input_names_it(api: Api) -> None:
    wrong = {
        **MAIL,
        "to": [{"email": "bob@example.com"}, {"email": "bob", "name": "a\nb"}],
        "from": {"email": "ada", "name": "a\nb"},
        "replyTo": {"email": "help", "name": "a\nb"},
        "attachments": [{"name": "a", "content": "", "contentType": "png", "contentId": "a b"}],
        "headers": [{"name": "Bcc", "value": "x"}],
        "templateData": {"a": "\x00"},
        "metadata": {"a": "\x00"},
        "tags": ["\x00"],
    }
    payload = await api.mutate("sendEmail", "message { id }", **wrong)

    assert payload["message"] is None
    assert codes(payload) == [
        ("to.1.email", "INVALID_EMAIL"),
        ("to.1.name", "INVALID_INPUT"),
        ("from.email", "INVALID_EMAIL"),
        ("from.name", "INVALID_INPUT"),
        ("replyTo.email", "INVALID_EMAIL"),
        ("replyTo.name", "INVALID_INPUT"),
        ("headers.0.name", "INVALID_INPUT"),
        ("attachments.0.contentType", "INVALID_INPUT"),
        ("attachments.0.contentId", "INVALID_INPUT"),
        ("templateData", "INVALID_INPUT"),
        ("metadata", "INVALID_INPUT"),
        ("tags.0", "INVALID_INPUT"),
    ]
    assert await count("message") == 0


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"to": []}, [("to", "NO_RECIPIENTS")]),
        ({"text": None}, [("text", "NO_BODY")]),
        ({"from": None}, [("from.email", "NO_SENDER")]),
        ({"service": "nothing"}, [("service", "SERVICE_NOT_FOUND")]),
        ({"waitSeconds": -1}, [("waitSeconds", "INVALID_INPUT")]),
        ({"waitSeconds": 61}, [("waitSeconds", "INVALID_INPUT")]),
        ({"idempotencyKey": ""}, [("idempotencyKey", "INVALID_INPUT")]),
        ({"templateData": [1]}, [("templateData", "INVALID_INPUT")]),
        (
            {"metadata": "m", "attachments": [{"name": "a", "content": "!"}]},
            [("attachments.0.content", "INVALID_INPUT"), ("metadata", "INVALID_INPUT")],
        ),
    ],
)
async def test_a_refusal_names_its_field(api: Api, change: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert codes(await api.mutate("sendEmail", "message { id }", **{**PLAIN, **change})) == expected


async def test_who_may_not_send_is_refused(api: Api) -> None:
    reader = api.as_key(await make_key("reader", [GrantValues(None, [Action.READ_MESSAGES])]))
    for name in ("email", "nothing"):
        payload = await reader.mutate("sendEmail", "message { id }", **{**PLAIN, "service": name})
        assert codes(payload) == [("", "FORBIDDEN")]


async def test_an_idempotency_key_accepts_once(api: Api) -> None:
    given = {**PLAIN, "idempotencyKey": "order 1"}
    first, again = [await api.mutate("sendEmail", "replayed message { id }", **given) for _ in range(2)]

    assert (first["replayed"], again["replayed"]) == (False, True)
    assert again["message"] == first["message"]
    other = await api.mutate("sendEmail", "replayed message { id }", **{**given, "text": "other"})
    assert codes(other) == [("idempotencyKey", "IDEMPOTENCY_CONFLICT")]


async def test_a_client_can_wait_for_the_verdict(api: Api) -> None:
    waiting = asyncio.create_task(send(api, waitSeconds=60))
    async with asyncio.timeout(20):
        while not await count("message"):  # noqa: ASYNC110 - a row sets no event
            await asyncio.sleep(0.01)
    (row,) = await rows("SELECT id FROM message")
    await deliver(f"msg_{str(row['id']).replace('-', '')}", Reply(550, "no such user", "5.1.1"))
    message = await waiting

    assert message["state"] == "FAILED"
    (recipient,) = message["recipients"]
    assert recipient["reply"] == {"code": 550, "enhancedCode": "5.1.1", "text": "no such user"}


async def test_a_message_is_read_with_its_recipients_and_attempts(api: Api) -> None:
    sent = await send(api)
    await deliver(sent["id"])
    message = (await api.ask(f"query ($id: ID!) {{ message(id: $id) {{ {MESSAGE} }} }}", id=sent["id"]))["message"]

    assert (message["state"], message["id"]) == ("SENT", sent["id"])
    (recipient,) = message["recipients"]
    assert (recipient["state"], recipient["attemptCount"], recipient["nextAttemptAt"]) == ("SENT", 1, None)
    assert recipient["settledAt"] == message["settledAt"]
    (attempt,) = recipient["attempts"]
    assert attempt == {
        "number": 1,
        "startedAt": attempt["startedAt"],
        "finishedAt": message["settledAt"],
        "outcome": "SENT",
        "phase": None,
        "inDoubt": False,
        "reply": {"code": 250},
        "detail": None,
    }


async def test_messages_are_seen_by_those_who_may_read_their_service(api: Api) -> None:
    await make_service("other")
    mine, other = await send(api), await send(api, service="other")
    query = "query ($id: ID!) { messages(first: 10) { nodes { id } } message(id: $id) { id } }"
    for grants, seen in (
        ([GrantValues(None, [Action.READ_MESSAGES])], [other["id"], mine["id"]]),
        ([GrantValues("other", [Action.READ_MESSAGES])], [other["id"]]),
        ([GrantValues(None, [Action.READ_MESSAGES]), GrantValues("other", [Action.SEND])], [mine["id"]]),
        ([GrantValues(None, [Action.SEND, Action.MANAGE_SERVICES])], []),
    ):
        found = await api.as_key(await make_key(str(new_key()), grants)).ask(query, id=other["id"])
        assert [node["id"] for node in found["messages"]["nodes"]] == seen
        assert found["message"] == ({"id": other["id"]} if other["id"] in seen else None)


async def test_messages_are_filtered(api: Api) -> None:
    first = await send(api, tags=["a"])
    second = await send(api, to=[{"email": "Ann@example.com"}])
    await deliver(second["id"])
    query = "query ($filter: MessageFilterInput) { messages(first: 10, filter: $filter) { nodes { id } } }"
    for wanted, seen in (
        (None, [second, first]),
        ({}, [second, first]),
        ({"state": "SENT"}, [second]),
        ({"tag": "a"}, [first]),
        ({"recipient": "Ann@example.com"}, [second]),
        ({"recipient": "a\x00b"}, []),
        ({"service": "EMAIL", "state": "QUEUED"}, [first]),
        ({"createdFrom": second["createdAt"]}, [second]),
        ({"createdBefore": second["createdAt"].replace("+00:00", "Z")}, [first]),
        ({"createdFrom": "2999-01-01T00:00:00+02:00"}, []),
    ):
        found = (await api.ask(query, filter=wanted))["messages"]["nodes"]
        assert [node["id"] for node in found] == [message["id"] for message in seen], wanted


@pytest.mark.parametrize("moment", ["2026-11-22T12:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
async def test_a_moment_needs_an_offset_and_a_year_that_exists(api: Api, moment: str) -> None:
    query = "query ($moment: DateTime) { messages(first: 1, filter: {createdFrom: $moment}) { nodes { id } } }"
    assert await api.refused(query, moment=moment) == {"code": "INVALID_INPUT", "field": ["filter", "createdFrom"]}


async def test_pages_stay_put_while_mail_arrives(api: Api) -> None:
    sent = [(await send(api))["id"] for _ in range(5)]
    page = "nodes { id } pageInfo { endCursor hasNextPage }"
    query = f"query ($after: String) {{ messages(first: 2, after: $after) {{ {page} }} }}"
    seen, more, cursor = [], True, None
    while more:
        found = (await api.ask(query, after=cursor))["messages"]
        seen += [node["id"] for node in found["nodes"]]
        more, cursor = found["pageInfo"]["hasNextPage"], found["pageInfo"]["endCursor"]
        await send(api)

    assert seen == sent[::-1]


async def test_the_number_of_statements_does_not_grow_with_the_page(api: Api) -> None:
    for number in range(12):
        message = await send(api, to=[{"email": f"{name}@example.com"} for name in "abc"])
        if number % 2:
            await deliver(message["id"])
    query = f"query ($first: Int!) {{ messages(first: $first) {{ nodes {{ {MESSAGE} }} }} }}"
    counts = []
    for first in (1, 12):
        async with told() as seen:
            found = await api.ask(query, first=first)
        assert len(found["messages"]["nodes"]) == first
        counts.append(len(seen))

    assert counts[0] == counts[1]
    assert counts[1] <= 5, "authenticate, messages, recipients, attempts"


async def test_resolvers_side_by_side_check_the_key_once(api: Api) -> None:
    await api.ask("{ viewer { roleId } }")
    async with told() as seen:
        await api.ask("{ viewer { roleId } messages(first: 1) { nodes { id } } roles(first: 1) { nodes { id } } }")
    assert sum("JOIN api_key" in statement for statement in seen) == 1


@pytest.mark.parametrize("kind", [list, dict])
async def test_metadata_is_only_as_deep_as_the_setting_allows(api: Api, kind: type) -> None:
    def nested(levels: int) -> dict[str, Any]:
        value: Any = "leaf"
        for _ in range(levels - 1):
            value = [value] if kind is list else {"in": value}
        return {"out": value}

    sent = await send(api, metadata=nested(64))
    listed = await api.ask("{ messages(first: 1) { edges { node { metadata } } } }")
    assert b"leaf" in orjson.dumps({"data": listed})
    assert sent["metadata"] == nested(64)
    payload = await api.mutate("sendEmail", "message { id }", **{**PLAIN, "metadata": nested(65)})
    assert codes(payload) == [("metadata", "INVALID_INPUT")]


async def test_what_the_author_accepted_the_author_may_see(api: Api) -> None:
    sender = api.as_key(await make_key("sender", [GrantValues("email", [Action.SEND])]))
    message = await send(sender)
    assert message["recipients"][0]["email"] == "bob@example.com"
    assert (await sender.ask("query ($id: ID!) { message(id: $id) { id } }", id=message["id"]))["message"] is None


EXPLAIN = "query($id: ID!) { message(id: $id) { explain { reasons { cause message until } eta } } }"


async def explain(api: Api, message: dict[str, Any]) -> dict[str, Any]:
    found = await api.ask(EXPLAIN, id=message["id"])
    explanation: dict[str, Any] = found["message"]["explain"]
    return explanation


async def test_a_message_tells_in_order_why_it_has_not_left(api: Api, service: Service) -> None:
    await pause_service(service.id, "Moving house", None, now(), max_reason_chars=100)
    send_at = (now() + timedelta(hours=1)).replace(microsecond=0)
    explanation = await explain(api, await send(api, sendAt=send_at.isoformat()))

    assert [reason["cause"] for reason in explanation["reasons"]] == ["SCHEDULED", "SERVICE_PAUSED", "NO_WORKER"]
    assert explanation["reasons"][0]["until"] == send_at.isoformat()
    assert explanation["reasons"][1]["message"].endswith(": Moving house")
    assert explanation["eta"] is None


async def test_a_scheduled_message_says_when_it_leaves(api: Api) -> None:
    await beat(new_key(), now())
    send_at = (now() + timedelta(hours=1)).replace(microsecond=0)
    assert (await explain(api, await send(api, sendAt=send_at.isoformat())))["eta"] == send_at.isoformat()


async def test_a_settled_message_has_nothing_to_explain(api: Api) -> None:
    message = await send(api)
    await api.mutate("cancelEmail", "message { state }", id=message["id"])
    assert await explain(api, message) == {"reasons": [], "eta": None}
