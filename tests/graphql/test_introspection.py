"""A server that keeps its schema to itself."""

import re
from typing import Any

import pytest
from graphql import get_introspection_query

from app.graphql.errors import MaskedSchema
from app.graphql.schema import make_schema
from tests.graphql.api import Api

NEARLY_RIGHT: dict[str, tuple[str, dict[str, Any]]] = {
    "a field": ("{ mesages { edges { cursor } } }", {}),
    "a field of a type": ("{ message(id: 1) { stat } }", {}),
    "an argument": ('{ message(ide: "x") { id } }', {}),
    "a field of an input": ("mutation { sendEmail(input: {servce: 1}) { message { id } } }", {}),
    "a field of an input in a variable": (
        "mutation($i: SendEmailInput!) { sendEmail(input: $i) { message { id } } }",
        {"i": {"servce": "x", "to": []}},
    ),
    "a type": ("{ ...f } fragment f on Qery { __typename }", {}),
    "an input": ("mutation($i: SendEmailInpt!) { sendEmail(input: $i) { message { id } } }", {}),
    "a value of an enum": ("{ messages(first: 1, filter: {state: SNT}) { edges { cursor } } }", {}),
    "a value of an enum in a variable": (
        "query($s: MessageState) { messages(first: 1, filter: {state: $s}) { edges { cursor } } }",
        {"s": "SNT"},
    ),
    "a directive": ("{ viewer @skp(if: true) { __typename } }", {}),
    "an argument of a directive": ("{ viewer @skip(fi: true) { __typename } }", {}),
    "no selection": ("{ viewer }", {}),
}
SUGGESTS = set(NEARLY_RIGHT) - {"a directive"}


@pytest.fixture(scope="module")
def silent() -> MaskedSchema:
    """The schema with introspection off."""
    return make_schema(introspection=False)


@pytest.mark.parametrize("query", ["{ __schema { types { name } } }", '{ __type(name: "Query") { name } }',
                                   "{ ...f } fragment f on Query { s: __schema { __typename } }",
                                   get_introspection_query()])  # fmt: skip
async def test_the_schema_answers_nothing_about_itself(silent: MaskedSchema, query: str) -> None:
    result = await silent.execute(query)
    assert result.data is None
    for error in result.errors or []:
        assert re.search("introspection has been disabled|Too many validation errors", error.message)
        assert error.extensions == {"code": "GRAPHQL_VALIDATION_FAILED"}
    assert result.errors


async def test_what_a_thing_is_called_may_still_be_asked(silent: MaskedSchema) -> None:
    assert (await silent.execute("{ __typename }")).data == {"__typename": "Query"}


@pytest.mark.parametrize("name", NEARLY_RIGHT)
async def test_no_error_suggests_a_name(silent: MaskedSchema, name: str, api: Api) -> None:
    document, variables = NEARLY_RIGHT[name]
    for _ in range(2):  # the second time from the caches
        hidden = await Api(silent, api.parts, api.key).execute(document, **variables)
        messages = [error.message for error in hidden.errors or []]
        assert messages
        assert not re.search("did you mean", " ".join(messages), re.IGNORECASE), messages
    told = await api.execute(document, **variables)
    suggested = [error.message for error in told.errors or [] if "Did you mean" in error.message]
    assert bool(suggested) is (name in SUGGESTS), told.errors
    assert {message.partition(" Did you mean")[0] for message in suggested} <= set(messages)


async def test_both_schemas_may_be_in_one_process(silent: MaskedSchema) -> None:
    query = "{ __schema { queryType { name } } }"
    assert (await silent.execute(query)).errors
    assert (await make_schema().execute(query)).errors is None
    assert (await silent.execute(query)).errors
