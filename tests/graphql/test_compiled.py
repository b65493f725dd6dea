"""sendEmail by its compiled operation answers what the full executor answers, to the byte."""

import asyncio
import dataclasses
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
import strawberry
from graphql import parse
from starlette.applications import Starlette
from strawberry.types import ExecutionContext, ExecutionResult

from app.access.check import GrantValues
from app.access.principal import Action
from app.graphql.coerce import Unfit
from app.graphql.compiled import CompilingSchema, compile_operation
from app.graphql.context import Context
from app.graphql.view import GraphQLView
from app.queue.wakeup import Wakeup
from app.submission.submit import Submitter
from tests.factories import make_key, make_service
from tests.graphql.api import Api, real_schema

MAIL: dict[str, Any] = {
    "service": "email",
    "to": [{"email": "bob@example.com", "name": "Bob"}, {"email": "eve@example.com"}],
    "bcc": [{"email": "ann@example.com"}],
    "subject": "Hello {name}",
    "text": "t",
    "from": {"email": "ada@example.com", "name": "Ada"},
}
ERRORS = "userErrors { code field message retryable retryAfter }"
COMPILED = [
    f"mutation ($input: SendEmailInput!) {{ sendEmail(input: $input) {{ message {{ id }} {ERRORS} }} }}",
    f"""mutation Send($i: SendEmailInput!) {{
        sent: sendEmail(input: $i) {{
            {ERRORS} kind: __typename replayed messageId
            it: message {{ __typename state id sender: from {{ name email }} serviceName subject metadata tags sizeBytes
                priority onDoubt template {{ id name version }} scheduledAt expiresAt createdAt settledAt }}
            again: message {{ to: recipients {{ state kind email name attemptCount what: __typename }} id }}
        }}
    }}""",
    "mutation($a: SendEmailInput!){sendEmail(input:$a){messageId message{messageIdHeader recipients{email}}}}",
]
SEND, EVERYTHING, WITH_RECIPIENTS = COMPILED
VARIABLES: list[dict[str, Any]] = [
    {},
    {"templateData": {"name": "<Bob>"}, "metadata": {"ü": [1, 2.5, None]}, "tags": ["a", "b"]},
    {"sendAt": "2031-01-01T00:00:00+02:00"},
    {"sendAt": "2026-12-01T12:00Z", "expiresAt": "2027-01-01T00:00:00Z", "priority": "HIGH", "onDoubt": "FAIL"},
    {"sendAt": "2026-12-01T12:00"},
    {"sendAt": "tomorrow"},
    {"to": [], "bcc": None, "text": None, "html": ""},
    {"to": [{"email": "nobody"}], "headers": [{"name": "Bcc", "value": "x"}], "from": None},
    {"to": {"email": "bob@example.com"}, "tags": "one"},
    {"to": [None]},
    {"to": [{"email": None}]},
    {"service": None},
    {"service": "unknown"},
    {"subject": 5, "password": "hunter2"},
    {"waitSeconds": 1.0},
    {"waitSeconds": 2**31},
    {"waitSeconds": -1},
    {"priority": None},
    {"priority": "highest"},
    {"metadata": [], "templateData": "x"},
    {"attachments": [{"name": "a.txt", "content": "!"}, {"name": "b.txt", "content": "Yg==", "contentId": None}]},
    {"unsubscribe": {"url": "https://example.com/{name}", "oneClick": True}},
    {"unsubscribe": {"email": "x@example.com", "oneClick": None}},
    {"idempotencyKey": ""},
]


@dataclass
class Doors:
    """The same application behind a schema that compiles, and behind one that does not."""

    compiled: httpx2.AsyncClient
    full: httpx2.AsyncClient
    schema: CompilingSchema
    walked: int = 0
    """How often the generic executor was asked."""

    async def answers(self, query: str, variables: Any, **headers: str) -> tuple[str, str, int]:
        """Status, header fields and body by either, ids and times aside; and how often the compiled one walked."""
        body = {"query": query, "variables": variables}
        full = await self.full.post("/graphql", json=body, headers=headers)
        walked = self.walked
        compiled = await self.compiled.post("/graphql", json=body, headers=headers)
        return plain(compiled), plain(full), self.walked - walked

    def learn(self, query: str, name: str | None = None) -> None:
        """As if the operation had been run once."""
        context = ExecutionContext(query, self.schema, (), graphql_document=parse(query), provided_operation_name=name)
        self.schema.found_valid(context)


def plain(response: httpx2.Response) -> str:
    text = f"{response.status_code} {response.headers.multi_items()} {response.text}"
    text = re.sub(r"\b(msg_|<)?[0-9a-f]{16,32}\b", "ID", text)
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", "MOMENT", text)


@pytest.fixture
async def doors(api: Api, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Doors]:
    async def make_context(connection: Any) -> Context:
        return Context(api.parts, connection.headers.get("x-api-key", api.key), page_origin="https://a.example")

    def client(schema: strawberry.Schema) -> httpx2.AsyncClient:
        app = Starlette(routes=GraphQLView(schema, make_context).routes())
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://heliograph.test")

    await make_service()
    compiling, walking = real_schema(), real_schema("never compiles")
    monkeypatch.setattr(walking, "found_valid", lambda context: None)
    async with client(compiling) as compiled, client(walking) as full:
        doors = Doors(compiled, full, compiling)
        for query in COMPILED:
            doors.learn(query)
        walk = strawberry.Schema.execute

        async def execute(self: strawberry.Schema, *args: Any) -> ExecutionResult:
            doors.walked += 1
            return await walk(self, *args)

        monkeypatch.setattr(strawberry.Schema, "execute", execute)
        yield doors


async def test_every_answer_is_the_same_by_either_way(doors: Doors) -> None:
    ways = []
    for query in COMPILED:
        name = "i" if query is EVERYTHING else "a" if query is WITH_RECIPIENTS else "input"
        for given in VARIABLES if query is EVERYTHING else VARIABLES[:8]:
            compiled, full, walked = await doors.answers(query, {name: {**MAIL, **given}, "unknown": 1})
            assert compiled == full, given
            ways.append(walked)
    assert 0 < sum(ways) < len(ways) / 2, "most of them are compiled, and some must not be"
    unfit: list[Any] = [None, {}, {"input": None}, {"input": []}, {"input": "x"}]
    for variables in unfit:
        compiled, full, walked = await doors.answers(SEND, variables)
        assert (compiled, walked) == (full, 1)


async def test_a_receipt_that_is_replayed_shows_the_message_as_it_is_now(doors: Doors) -> None:
    for query, name in ((EVERYTHING, "i"), (WITH_RECIPIENTS, "a")):
        variables = {name: {**MAIL, "idempotencyKey": name, "sendAt": "2026-12-01T12:00Z"}}
        await doors.answers(query, variables)
        compiled, full, walked = await doors.answers(query, variables)
        assert (compiled, walked) == (full, 0)
        assert ("QUEUED" if name == "i" else "bob@example.com") in compiled


async def test_waiting_for_the_verdict_ends_in_the_same_answer(doors: Doors, api: Api) -> None:
    api.parts.waiter.stop()  # every wait ends at once
    for seconds in (0, 1):
        for query, name in ((EVERYTHING, "i"), (WITH_RECIPIENTS, "a")):
            compiled, full, walked = await doors.answers(query, {name: {**MAIL, "waitSeconds": seconds}})
            assert (compiled, walked) == (full, 0)


async def test_media_types_methods_and_names_are_answered_alike(doors: Doors) -> None:
    variables = {"input": MAIL}
    for accept in ("*/*", "application/graphql-response+json", "text/html, application/json;q=0.1", "image/png"):
        compiled, full, _ = await doors.answers(SEND, variables, accept=accept)
        assert compiled == full
    for more in ({"operationName": "other"}, {"operationName": ""}, {"extensions": {"x": 1}}):
        body = {"query": SEND, "variables": variables, **more}
        answers = [plain(await door.post("/graphql", json=body)) for door in (doors.compiled, doors.full)]
        assert answers[0] == answers[1]
    answers = [plain(await door.get("/graphql", params={"query": SEND})) for door in (doors.compiled, doors.full)]
    assert answers[0] == answers[1]
    assert answers[0].startswith("405 ")


async def test_who_may_not_send_is_told_the_same(doors: Doors) -> None:
    reader = await make_key("reader", [GrantValues(None, [Action.READ_MESSAGES.value])])
    inactive = await make_key("inactive", is_active=False)
    for key in ("", "wrong", reader, inactive):
        compiled, full, walked = await doors.answers(SEND, {"input": MAIL}, **{"x-api-key": key})
        assert (compiled, walked) == (full, 0)


@pytest.mark.parametrize("error", [ZeroDivisionError("hunter2"), ConnectionRefusedError()])
async def test_trouble_before_and_after_the_acceptance_is_told_the_same(
    doors: Doors, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    variables = {"a": {**MAIL, "idempotencyKey": "one"}}
    await doors.answers(WITH_RECIPIENTS, variables)

    async def refused(*_: object) -> Any:
        raise error

    for broken in ("app.graphql.context.list_recipients", "app.graphql.send_email.find_message"):
        monkeypatch.setattr(broken, refused)
        compiled, full, walked = await doors.answers(WITH_RECIPIENTS, variables)
        assert (compiled, walked) == (full, 0)
        assert "hunter2" not in compiled
    monkeypatch.setattr(Submitter, "submit", refused)
    compiled, full, walked = await doors.answers(WITH_RECIPIENTS, variables)
    assert (compiled, walked) == (full, 0)
    assert '"data":null' in compiled


async def test_what_was_put_is_told_when_the_server_stops(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted = asyncio.Event()
    monkeypatch.setattr(Wakeup, "mail_arrived", lambda *_: accepted.set())
    body = {"query": SEND, "variables": {"input": {**MAIL, "waitSeconds": 20}}}
    answers = []
    for door in (doors.compiled, doors.full):
        accepted.clear()
        asking = asyncio.create_task(door.post("/graphql", json=body))
        await accepted.wait()
        asking.cancel()
        answers.append(plain(await asking))
    assert answers[0] == answers[1]
    assert answers[0].startswith("503 ")


async def test_what_a_receipt_does_not_show_is_not_shown(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    submit = Submitter.submit

    async def unshown(self: Submitter, submission: Any) -> Any:
        return dataclasses.replace(await submit(self, submission), is_shown=False)

    monkeypatch.setattr(Submitter, "submit", unshown)
    compiled, full, walked = await doors.answers(EVERYTHING, {"i": MAIL})
    assert (compiled, walked) == (full, 0)
    assert '"it":null,"again":null' in compiled


ASKED = "mutation ($input: SendEmailInput!) { sendEmail(input: $input) { %s } }"
NOT_COMPILED = [
    "query { __typename }",
    'mutation { cancelEmail(input: {id: "x"}) { message { id } } }',
    'mutation { sendEmail(input: {service: "email"}) { replayed } }',
    "mutation ($s: String!) { sendEmail(input: {service: $s}) { replayed } }",
    'mutation ($input: SendEmailInput! = {service: "email"}) { sendEmail(input: $input) { replayed } }',
    "mutation ($input: SendEmailInput!, $x: Int) { sendEmail(input: $input) { replayed } }",
    "mutation ($input: SendEmailInput!, $x: SendEmailInput!) { sendEmail(input: $x) { replayed } }",
    "mutation ($input: SendEmailInput!) { sendEmail(input: $input) { replayed } __typename }",
    "mutation ($x: SendEmailInput!) { sendEmail(input: $x) { replayed } b: sendEmail(input: $x) { replayed } }",
    "mutation ($input: SendEmailInput!) @x { sendEmail(input: $input) { replayed } }",
    "mutation ($input: SendEmailInput! @x) { sendEmail(input: $input) { replayed } }",
    "mutation ($input: SendEmailInput!) { sendEmail(input: $input) @skip(if: false) { replayed } }",
    "mutation ($input: SendEmailInput!) { ... { sendEmail(input: $input) { replayed } } }",
    "mutation a($input: SendEmailInput!) { sendEmail(input: $input) { replayed } } query b { __typename }",
    ASKED % "...f" + " fragment f on SendEmailPayload { replayed }",
    ASKED % "... { replayed }",
    ASKED % "replayed @include(if: true)",
    ASKED % "replayed replayed",
    ASKED % "message { explain { eta } }",
    ASKED % "message { recipients { attempts { number } } }",
    ASKED % "message { recipients { nextAttemptAt } }",
    ASKED % "message { recipients { email @skip(if: false) } }",
    ASKED % "message { a: recipients { email } b: recipients { email } }",
    ASKED % "a: message { recipients { email } } b: message { recipients { email } }",
]


@pytest.mark.parametrize("query", NOT_COMPILED)
def test_anything_unusual_goes_the_whole_way(query: str) -> None:
    with pytest.raises(Unfit):
        compile_operation(real_schema(), real_schema()._coerce, parse(query), None)


async def test_what_is_no_good_is_never_compiled(doors: Doors) -> None:
    for query in (SEND.replace("id", "nonsense"), SEND.replace("input: $input", "input: $other"), SEND + "}"):
        for _ in range(2):
            compiled, full, walked = await doors.answers(query, {"input": MAIL})
            assert (compiled, walked) == (full, 1)


async def test_an_operation_is_compiled_when_it_was_seen_once_and_few_are_kept(doors: Doors) -> None:
    query = SEND.replace("sendEmail", "mine: sendEmail")
    walked = [(await doors.answers(query, {"input": MAIL}))[2] for _ in range(2)]
    assert walked == [1, 0]
    for n in range(300):
        doors.learn(SEND.replace("sendEmail", f"a{n}: sendEmail"))
        assert doors.schema._find(query, None) is not None, "what is used stays"
    assert len(doors.schema._operations) == 128
