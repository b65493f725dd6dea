"""The schema as a whole: its file, its descriptions, its nodes, its answers when the database is in trouble."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    build_schema,
)

from app.access.check import GrantValues
from app.database.configuration import sqlite_path
from app.database.connection import execute
from app.database.key import new_key, public_id
from app.graphql.schema import make_schema
from app.settings import Settings
from tests.factories import make_key, make_service
from tests.graphql.api import Api

FILE = Path(__file__).parents[2] / "schema.graphql"
OBJECTS = (GraphQLObjectType, GraphQLInterfaceType)


@pytest.fixture(scope="module")
def schema() -> GraphQLSchema:
    return build_schema(FILE.read_text())


def own_types(schema: GraphQLSchema) -> list[GraphQLNamedType]:
    return [kind for name, kind in schema.type_map.items() if not name.startswith("__")]


def test_the_file_is_the_schema() -> None:
    assert FILE.read_text() == f"{make_schema().as_str()}\n", "run: heliograph schema > schema.graphql"


def test_everything_has_a_description(schema: GraphQLSchema) -> None:
    described: list[tuple[str, str | None]] = []
    for kind in own_types(schema):
        described.append((kind.name, kind.description))
        if isinstance(kind, OBJECTS):
            for name, field in kind.fields.items():
                described.append((f"{kind.name}.{name}", field.description))
                described += ((f"{kind.name}.{name}.{arg}", a.description) for arg, a in field.args.items())
        if isinstance(kind, GraphQLInputObjectType):
            described += ((f"{kind.name}.{name}", field.description) for name, field in kind.fields.items())

    assert len(described) > 200
    builtin = {"ID", "Int", "String", "Boolean", "Float"}
    assert [path for path, text in described if not (text or "").strip() and path not in builtin] == []


def test_every_description_is_a_sentence(schema: GraphQLSchema) -> None:
    texts = [
        (f"{kind.name}.{name}", field.description)
        for kind in own_types(schema)
        if isinstance(kind, (*OBJECTS, GraphQLInputObjectType))
        for name, field in kind.fields.items()
    ]
    assert [path for path, text in texts if not (text or "").rstrip().endswith((".", ".]"))] == []


def test_every_mutation_takes_one_input_and_answers_with_user_errors(schema: GraphQLSchema) -> None:
    assert schema.mutation_type is not None
    for name, field in schema.mutation_type.fields.items():
        assert list(field.args) == ["input"], name
        payload = getattr(field.type, "of_type", None)
        assert isinstance(payload, GraphQLObjectType), name
        assert str(payload.fields["userErrors"].type) == "[UserError!]!", name


def test_no_output_type_knows_a_password(schema: GraphQLSchema) -> None:
    fields = {name for kind in own_types(schema) if isinstance(kind, OBJECTS) for name in kind.fields}
    assert {name for name in fields if "assword" in name or "secret" in name.lower()} == {
        "hasPassword",
        "hasClientSecret",
    }
    assert not fields & {"refreshToken", "privateKey", "accessToken"}


def test_refusals_and_actions_have_their_own_names(schema: GraphQLSchema) -> None:
    codes, states = schema.type_map["ErrorCode"], schema.type_map["MessageState"]
    assert isinstance(codes, GraphQLEnumType)
    assert isinstance(states, GraphQLEnumType)
    assert "IDEMPOTENCY_CONFLICT" in codes.values
    assert "PARTIALLY_SENT" in states.values


async def test_every_kind_of_node_is_found_by_its_id(api: Api) -> None:
    service = await make_service()
    sent = await api.mutate(
        "sendEmail",
        "message { id }",
        service="email",
        to=[{"email": "bob@example.com"}],
        text="t",
        **{"from": {"email": "ada@example.com"}},
    )
    capture = new_key()
    await execute(
        "INSERT INTO captured_mail (id, service_id, received_at, reverse_path, recipients, size_bytes, octets)"
        " SELECT $1, id, created_at, '', '[]', 0, $2 FROM service",
        capture,
        b"\r\n",
    )
    viewer = (await api.ask("{ viewer { apiKeyId roleId } }"))["viewer"]
    ids = {
        "Service": public_id("svc", service.id),
        "Message": sent["message"]["id"],
        "CapturedMail": public_id("cap", capture),
        "Role": viewer["roleId"],
        "ApiKey": viewer["apiKeyId"],
    }
    nobody = api.as_key(await make_key("nobody", []))
    query = "query ($id: ID!) { node(id: $id) { __typename id } }"
    for kind, key in ids.items():
        assert (await api.ask(query, id=key))["node"] == {"__typename": kind, "id": key}
        assert (await nobody.ask(query, id=key))["node"] is None, kind
        prefix, _, digits = key.partition("_")
        for wrong in (f"{prefix}_{new_key().hex}", f"other_{digits}", digits, key.upper(), f"{key} ", ""):
            assert (await api.ask(query, id=wrong))["node"] is None, wrong
            assert (await api.as_key(None).refused(query, id=wrong))["code"] == "UNAUTHENTICATED"


async def test_the_content_of_captured_mail_is_read_one_by_one(api: Api) -> None:
    await make_service()
    capture = new_key()
    await execute(
        "INSERT INTO captured_mail (id, service_id, received_at, reverse_path, recipients, size_bytes, octets)"
        " SELECT $1, id, created_at, 'ada@example.com', '[]', 9, $2 FROM service",
        capture,
        b"A: b\r\n\r\nc",
    )
    listed = await api.ask("{ inbox(first: 100) { nodes { __typename id reversePath } edges { node { id } } } }")
    key = public_id("cap", capture)
    expected = {"__typename": "CapturedSummary", "id": key, "reversePath": "ada@example.com"}
    assert listed["inbox"] == {"nodes": [expected], "edges": [{"node": {"id": key}}]}
    for nodes in ("nodes { content { source } }", "edges { node { content { source } } }"):
        result = await api.execute(f"{{ inbox(first: 100) {{ {nodes} }} }}")
        assert [error.message for error in result.errors or ()] == [
            "Cannot query field 'content' on type 'CapturedSummary'."
        ]
    mail = "... on CapturedMail { reversePath content { source } }"
    found = await api.ask(
        f"query ($id: ID!) {{ capturedMail(id: $id) {{ {mail} }} node(id: $id) {{ {mail} }} }}", id=key
    )
    whole = {"reversePath": "ada@example.com", "content": {"source": "A: b\r\n\r\nc"}}
    assert found == {"capturedMail": whole, "node": whole}


async def test_an_id_of_another_kind_names_nothing(api: Api) -> None:
    service = public_id("svc", (await make_service()).id)
    fields = " ".join(f"{field}(id: $id) {{ id }}" for field in ("message", "capturedMail", "role", "apiKey"))
    query = f"query ($id: ID!) {{ {fields} }}"
    assert set((await api.ask(query, id=service)).values()) == {None}


@pytest.mark.parametrize(
    "query",
    [
        "{ viewer { roleName } }",
        "{ messages(first: 1) { nodes { id } } }",
        "{ services(first: 1) { nodes { id } } }",
        "{ roles(first: 1) { nodes { id } } }",
        "{ apiKeys(first: 1) { nodes { id } } }",
        "{ inbox(first: 1) { nodes { id } } }",
        '{ message(id: "x") { id } }',
        '{ service(name: "x") { id } }',
        '{ role(id: "x") { id } }',
        '{ apiKey(id: "x") { id } }',
        '{ capturedMail(id: "x") { id } }',
        'mutation { deleteRole(input: {id: "x"}) { userErrors { code } } }',
        'mutation { deleteService(input: {id: "x"}) { userErrors { code } } }',
        'mutation { revokeApiKey(input: {id: "x"}) { userErrors { code } } }',
        'mutation { createApiKey(input: {roleId: "x", name: "x"}) { userErrors { code } } }',
        'mutation { updateRole(input: {id: "x"}) { userErrors { code } } }',
        'mutation { updateService(input: {id: "x"}) { userErrors { code } } }',
        'mutation { createRole(input: {name: "x"}) { userErrors { code } } }',
        'mutation { createService(input: {name: "x"}) { userErrors { code } } }',
        'mutation { cancelEmail(input: {id: "x"}) { userErrors { code } } }',
        'mutation { holdEmail(input: {id: "x"}) { userErrors { code } } }',
        'mutation { releaseEmail(input: {id: "x"}) { userErrors { code } } }',
        'mutation { retryEmail(input: {id: "x"}) { userErrors { code } } }',
        'mutation { rescheduleEmail(input: {id: "x", sendAt: "2027-01-01T00:00:00Z"}) { userErrors { code } } }',
        'mutation { pauseService(input: {id: "x", reason: "x"}) { userErrors { code } } }',
        'mutation { resumeService(input: {id: "x"}) { userErrors { code } } }',
        'mutation { sendEmail(input: {service: "x", to: []}) { userErrors { code } } }',
    ],
)
async def test_without_a_valid_key_nothing_is_said(api: Api, query: str) -> None:
    assert (await api.as_key(None).refused(query))["code"] == "UNAUTHENTICATED"
    assert (await api.as_key("hg_unknown").refused(query))["code"] == "INVALID_API_KEY"


async def test_a_role_that_is_inactive_opens_nothing(api: Api) -> None:
    sleeping = api.as_key(await make_key("sleeping", is_active=False))
    assert (await sleeping.refused("{ viewer { roleName } }"))["code"] == "ROLE_INACTIVE"


async def test_the_viewer_sees_what_its_key_may_do(api: Api) -> None:
    await make_service("email")
    await make_service("other")
    key = await make_key("sender", [GrantValues(None, ["READ_MESSAGES"]), GrantValues("email", ["SEND"])])
    query = """{ viewer {
        roleName apiKeyName actionsOnAllServices
        email: actions(service: "EMAIL") other: actions(service: "other") none: actions(service: "no such")
    } }"""

    assert (await api.as_key(key).ask(query))["viewer"] == {
        "roleName": "sender",
        "apiKeyName": "sender key",
        "actionsOnAllServices": ["READ_MESSAGES"],
        "email": ["SEND"],
        "other": ["READ_MESSAGES"],
        "none": [],
    }


@pytest.fixture
def sqlite_settings(sqlite_settings: Settings) -> Settings:
    """Waiting for a lock ends soon."""
    return sqlite_settings.model_copy(update={"database_busy_timeout": 0.1})


async def test_database_trouble_is_worth_trying_again(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    mutation = 'mutation { createRole(input: {name: "x"}) { role { id } userErrors { code } } }'
    url = api.parts.settings.database_url
    with closing(sqlite3.connect(sqlite_path(url), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        extensions = await api.refused(mutation)

    assert extensions == {"code": "UNAVAILABLE", "retryable": True}
    assert "the database is in trouble" in caplog.text
    assert "Traceback" not in caplog.text
    assert (await api.ask(mutation))["createRole"]["userErrors"] == []


async def test_any_other_database_error_is_a_bug(api: Api) -> None:
    await execute("DROP TABLE event")
    await execute("DROP TABLE captured_mail")
    extensions = await api.refused("{ inbox(first: 1) { nodes { id } } }")
    assert (extensions["code"], sorted(extensions)) == ("INTERNAL", ["code", "errorId"])
