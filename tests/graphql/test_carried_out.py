"""What a request has carried out is told and never to be repeated, whatever goes wrong after it: on the real schema."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from strawberry.types import ExecutionResult

from app.clock import now
from app.database.configuration import sqlite_path
from app.database.connection import as_key, close_database, open_database, rows
from app.database.key import new_key, parse_public_id, public_id
from app.domains.key_pair import generate_key, private_text
from app.domains.models import DkimAlgorithm
from app.graphql.context import Context
from app.graphql.schema import Mutation
from app.graphql.view import GraphQLView
from app.queue.claim import claim_message
from app.queue.lookup import StoredMessage, find_message
from app.queue.settle import Settlement, settle
from app.queue.states import RecipientState
from app.queue.wakeup import Wakeup
from app.settings import Settings
from tests.factories import count, make_service
from tests.graphql.api import Api

MAIL: dict[str, Any] = {
    "service": "email",
    "to": [{"email": "bob@example.com"}],
    "text": "t",
    "from": {"email": "ada@example.com"},
}
SEND = "mutation ($input: SendEmailInput!) { sendEmail(input: $input) { message { %s } userErrors { message } } }"
SEND_TWICE = """
    mutation ($input: SendEmailInput!) {
        first: sendEmail(input: $input) { message { id } userErrors { message } }
        second: sendEmail(input: $input) { message { id } userErrors { message } }
    }"""


@pytest.fixture
async def sqlite_database(sqlite_settings: Settings) -> AsyncIterator[Settings]:
    settings = sqlite_settings.model_copy(update={"database_busy_timeout": 0.1})
    await open_database(settings)
    try:
        await make_service(from_email="ada@example.com")
        yield settings
    finally:
        await close_database()


@pytest.fixture
async def client(api: Api) -> AsyncIterator[httpx2.AsyncClient]:
    async def make_context(_: object) -> Context:
        return Context(api.parts, api.key)

    transport = httpx2.ASGITransport(Starlette(routes=GraphQLView(api.schema, make_context).routes()))
    async with httpx2.AsyncClient(transport=transport, base_url="http://heliograph.test") as client:
        yield client


@pytest.fixture
def locked_once_accepted(monkeypatch: pytest.MonkeyPatch, sqlite_database: Settings) -> Iterator[None]:
    """Another process takes the database's write lock as soon as the first mail is accepted, and keeps it."""
    with closing(sqlite3.connect(sqlite_path(sqlite_database.database_url), isolation_level=None)) as other:
        monkeypatch.setattr(Wakeup, "mail_arrived", lambda *_: other.execute("BEGIN IMMEDIATE"))
        yield


@pytest.fixture
def recipients_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for the recipients of a message meets a database that is down."""

    async def refused(_: object) -> Any:
        raise ConnectionRefusedError

    monkeypatch.setattr("app.graphql.context.list_recipients", refused)


async def post(client: httpx2.AsyncClient, query: str, **fields: Any) -> httpx2.Response:
    return await client.post("/graphql", json={"query": query, "variables": {"input": {**MAIL, **fields}}})


async def the_message() -> str:
    """The id of the only message that was accepted."""
    (row,) = await rows("SELECT id FROM message")
    return public_id("msg", as_key(row["id"]))


def assert_accepted_unseen(response: httpx2.Response, carried_out: dict[str, str]) -> None:
    assert (response.status_code, "retry-after" in response.headers) == (503, False)
    (error,) = response.json()["errors"]
    assert error["message"].startswith(f"Accepted: {', '.join(carried_out.values())}. ")
    assert error["message"].endswith("Look it up before you repeat it.")
    assert error["extensions"] == {"code": "UNAVAILABLE", "carriedOut": carried_out}


@pytest.mark.usefixtures("recipients_unreadable")
async def test_a_mail_whose_answer_meets_database_trouble_is_not_to_be_repeated(client: httpx2.AsyncClient) -> None:
    response = await post(client, SEND % "id recipients { state }")
    assert_accepted_unseen(response, {"sendEmail": await the_message()})
    assert response.json()["data"] == {"sendEmail": {"message": None, "userErrors": []}}


@pytest.mark.usefixtures("locked_once_accepted")
async def test_trouble_of_a_later_mutation_does_not_hide_what_an_earlier_one_did(client: httpx2.AsyncClient) -> None:
    response = await post(client, SEND_TWICE)
    assert_accepted_unseen(response, {"first": await the_message()})
    assert response.json()["data"] is None


async def test_a_mail_that_cannot_be_shown_is_told_in_its_own_payload_and_hides_no_other(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = 0

    async def down_at_first(*asked: Any) -> StoredMessage | None:
        nonlocal looked
        looked += 1
        if looked == 1:
            raise ConnectionRefusedError
        return await find_message(*asked)

    monkeypatch.setattr("app.graphql.send_email.find_message", down_at_first)
    await post(client, SEND % "id", idempotencyKey="one")
    assert looked == 0, "what was accepted just now is known"
    response = await post(client, SEND_TWICE, idempotencyKey="one")
    sent = await the_message()
    assert (response.status_code, "retry-after" in response.headers) == (503, False)
    sentence = f"Accepted: {sent}. The rest of the answer cannot be had right now. Look it up before you repeat it."
    assert response.json()["data"] == {
        "first": {"message": None, "userErrors": [{"message": sentence}]},
        "second": {"message": {"id": sent}, "userErrors": []},
    }


async def test_a_stop_in_the_middle_tells_what_was_accepted(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = asyncio.Event()
    monkeypatch.setattr(Wakeup, "mail_arrived", lambda *_: accepted.set())
    asking = asyncio.create_task(post(client, SEND % "id", waitSeconds=20))
    await accepted.wait()
    asking.cancel()
    assert_accepted_unseen(await asking, {"sendEmail": await the_message()})


async def test_a_stop_at_whatever_moment_asks_for_no_repetition(client: httpx2.AsyncClient) -> None:
    reading = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        reading.set()
        await asyncio.Event().wait()
        yield b""

    headers = {"Content-Type": "application/json"}
    asking = asyncio.create_task(client.post("/graphql", content=endless(), headers=headers))
    await reading.wait()
    asking.cancel()
    response = await asking
    assert (response.status_code, "retry-after" in response.headers) == (503, False)
    (error,) = response.json()["errors"]
    assert error["message"].endswith("may have been carried out, or not. Look it up before you repeat it.")
    assert error["extensions"] == {"code": "UNAVAILABLE"}


@pytest.mark.usefixtures("recipients_unreadable")
async def test_trouble_of_a_request_that_did_nothing_is_worth_trying_again(
    client: httpx2.AsyncClient, api: Api
) -> None:
    await api.mutate("sendEmail", "message { id }", **MAIL)
    response = await post(client, "{ messages(first: 1) { nodes { recipients { state } } } }")
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert response.json()["errors"][0]["extensions"] == {"code": "UNAVAILABLE", "retryable": True}


async def test_a_bug_after_it_shows_what_was_carried_out(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: object) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("app.graphql.context.list_recipients", broken)
    response = await post(client, SEND % "id recipients { state }")
    (error,) = response.json()["errors"]
    assert error["extensions"]["code"] == "INTERNAL"
    assert error["extensions"]["carriedOut"] == {"sendEmail": await the_message()}


@pytest.mark.usefixtures("recipients_unreadable")
async def test_what_one_operation_of_a_socket_did_is_nothing_to_the_next(api: Api) -> None:
    socket = Context(api.parts, api.key, is_socket=True)

    async def extensions(query: str) -> Any:
        stream = await api.schema.stream(query, variable_values={"input": MAIL}, context_value=socket)
        (result,) = [result async for result in stream]
        assert isinstance(result, ExecutionResult)
        assert result.errors is not None
        return result.errors[0].extensions

    sent = await extensions(SEND % "recipients { state }")
    assert sent == {"code": "UNAVAILABLE", "carriedOut": {"sendEmail": await the_message()}}
    read = await extensions("query { messages(first: 1) { nodes { recipients { state } } } }")
    assert read == {"code": "UNAVAILABLE", "retryable": True}


async def test_every_mutation_notes_that_it_was_carried_out(api: Api) -> None:
    tried: set[str] = set()

    async def carry_out(mutation: str, **given: Any) -> str:
        tried.add(mutation)
        noted = await noted_by(api, mutation, **given)
        assert list(noted) == ["it"], mutation
        return noted["it"]

    message = await carry_out("sendEmail", **MAIL)
    await carry_out("sendTestEmail", service="email", to="bob@example.com", waitSeconds=0)
    for verb in ("holdEmail", "releaseEmail"):
        await carry_out(verb, id=message)
    await carry_out("rescheduleEmail", id=message, sendAt=now().isoformat())
    await fail(message)
    for verb in ("retryEmail", "cancelEmail"):
        assert await carry_out(verb, id=message) == message

    service = await carry_out("createService", name="relay", kind="SANDBOX")
    await carry_out("updateService", id=service, label="Relay")
    await carry_out("pauseService", id=service, reason="Moving house")
    for verb in ("resumeService", "diagnoseService", "deleteService"):
        assert await carry_out(verb, id=service) == service

    role = await carry_out("createRole", name="reader")
    await carry_out("updateRole", id=role, description="reads")
    key = await carry_out("createApiKey", roleId=role, name="one")
    for verb, given in (("updateApiKey", {"name": "two"}), ("rotateApiKey", {}), ("revokeApiKey", {})):
        assert await carry_out(verb, id=key, **given) == key
    assert await carry_out("deleteRole", id=role) == role

    template = await carry_out("createTemplate", name="welcome", text="Hello")
    assert await carry_out("updateTemplate", id=template, text="Bye") == template
    assert await carry_out("restoreTemplateVersion", id=template, version=1) == template
    assert await carry_out("deleteTemplate", id=template) == template

    dkim_key = await carry_out("generateDkimKey", domain="x.example", selector="one", algorithm="ED25519")
    await carry_out("activateDkimKey", id=dkim_key, force=True)
    for verb in ("retireDkimKey", "deleteDkimKey"):
        assert await carry_out(verb, id=dkim_key) == dkim_key
    private = private_text(generate_key(DkimAlgorithm.ED25519))
    await carry_out("importDkimKey", domain="x.example", selector="two", privateKey=private)

    document = api.schema.introspect()["__schema"]["types"]
    (root,) = [kind for kind in document if kind["name"] == Mutation.__name__]
    assert tried == {field["name"] for field in root["fields"]}


async def test_a_mutation_that_changed_nothing_carried_out_nothing(api: Api) -> None:
    message = (await noted_by(api, "sendEmail", **MAIL))["it"]
    assert await noted_by(api, "cancelEmail", id=message)
    assert await noted_by(api, "cancelEmail", id=message) == {}
    assert await noted_by(api, "sendEmail", **{**MAIL, "to": []}) == {}
    assert await count("message") == 1


async def noted_by(api: Api, mutation: str, **given: Any) -> dict[str, str]:
    context = Context(api.parts, api.key)
    kind = f"{mutation[0].upper()}{mutation[1:]}Input"
    document = f"mutation ($input: {kind}!) {{ it: {mutation}(input: $input) {{ userErrors {{ code }} }} }}"
    result = await api.schema.execute(document, variable_values={"input": given}, context_value=context)
    assert result.errors is None
    return context.carried_out


async def fail(message: str) -> None:
    parsed = parse_public_id(message)
    assert parsed is not None
    claim = await claim_message(new_key(), parsed[1], now(), 60)
    assert claim is not None
    settlements = [Settlement(recipient.id, recipient.number, RecipientState.FAILED) for recipient in claim.recipients]
    assert await settle(claim, lambda _: settlements, now(), now())
