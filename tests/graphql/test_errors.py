import logging

import pytest
from graphql import FieldNode, GraphQLError, OperationDefinitionNode, located_error, parse

from app.errors import ErrorCode, InvalidInput, Problem
from app.graphql.errors import presented
from tests.graphql.api import Api


def field_of(query: str) -> FieldNode:
    operation = parse(query).definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    node = operation.selection_set.selections[0]
    assert isinstance(node, FieldNode)
    return node


def test_an_error_that_points_at_a_field_is_logged_without_the_query(caplog: pytest.LogCaptureFixture) -> None:
    node = field_of('{ me(password: "p4ss") }')
    cause = GraphQLError("Abstract type 'Node' must resolve to an Object type.", [node])
    shown = presented(located_error(cause, [node], ["me"]))
    assert shown.message == "Internal error."
    assert "p4ss" not in caplog.text
    assert "must resolve to an Object type" in caplog.text
    assert "at me" in caplog.text


def test_an_error_presented_twice_is_masked_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    once = presented(located_error(KeyError("x"), [field_of("{ a }")], ["a", 0, "b"]))
    twice = presented(once)
    assert twice.extensions == once.extensions
    [record] = caplog.records
    assert "at a.0.b" in record.getMessage()
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[0] is KeyError


def test_a_masked_error_keeps_its_place_and_forgets_its_cause() -> None:
    node = field_of("{ a }")
    shown = presented(located_error(KeyError("x"), [node], ["a"]))
    assert (shown.path, shown.nodes) == (["a"], [node])
    assert shown.original_error is None


def test_each_bug_gets_an_id_of_its_own() -> None:
    shown = [presented(GraphQLError("x", original_error=ValueError())) for _ in range(20)]
    assert len({str(error.extensions) for error in shown}) == 20


def test_of_several_problems_the_first_is_shown() -> None:
    refusal = InvalidInput(
        problems=[
            Problem(ErrorCode.INVALID_EMAIL, "No @ in it.", ("to", "0", "email")),
            Problem(ErrorCode.NO_BODY, "Nothing to send."),
        ]
    )
    shown = presented(located_error(refusal, [field_of("{ a }")], ["a"]))
    assert shown.message == "No @ in it."
    assert shown.extensions == {"code": "INVALID_EMAIL", "field": ["to", "0", "email"]}


def test_an_exception_with_an_extensions_attribute_of_its_own_is_still_masked(caplog: pytest.LogCaptureFixture) -> None:
    class Chatty(Exception):
        extensions = {"code": "LOOKS_INTENDED", "dsn": "postgres://u:p4ss@h"}  # noqa: RUF012

    shown = presented(GraphQLError("p4ss", path=["a"], original_error=Chatty("p4ss")))
    assert set(shown.extensions or {}) == {"code", "errorId"}
    assert shown.message == "Internal error."


def test_a_graphql_error_raised_with_a_code_is_shown_as_it_was_meant(caplog: pytest.LogCaptureFixture) -> None:
    shown = presented(located_error(GraphQLError("Too far.", extensions={"code": "FAR"}), [field_of("{ a }")], ["a"]))
    assert (shown.message, shown.extensions) == ("Too far.", {"code": "FAR"})
    assert caplog.records == []


async def test_an_error_about_a_variable_shows_no_part_of_a_private_key(api: Api) -> None:
    document = "mutation ($input: ImportDkimKeyInput!) { importDkimKey(input: $input) { dkimKey { id } } }"
    result = await api.execute(document, input={"domain": "x.example", "privateKey": "canary\n" * 400})
    assert result.errors is not None
    assert "selector" in result.errors[0].message
    assert "canary" not in str(result.errors)


async def test_an_error_about_a_variable_shows_no_password_of_it(api: Api) -> None:
    document = "mutation ($input: CreateServiceInput!) { createService(input: $input) { service { id } } }"
    for password in ("canary", "canary'\"\n\\", ["canary"], "ü-canary"):
        for given in ({"port": {"password": password}}, {"password": password}, {"name": "x", "nothing": 1}):
            result = await api.execute(document, input={**given, "password": password})
            assert result.errors is not None
            assert "$input" in result.errors[0].message
            assert "canary" not in repr(result.errors)


@pytest.mark.parametrize(
    "given",
    [
        '{name: "x", nothing: 1, password: "canary"}',
        "{name: 1, password: canary}",
        "{name: 1, password: [canary]}",
        '{name: "x", password: {a: "canary"}}',
        '{name: "x", nothing: 1, oauth2: {clientSecret: "canary\'s", refreshToken: "canary"}}',
        '{name: "x", nothing: 1, sesSecretAccessKey: """\n  canary\n  canary2\n"""}',
        '{name: "x", password "canary"}',
        '{name: "x", password: "canary" "canary"}',
    ],
)
async def test_an_error_about_the_query_text_shows_no_secret_in_it(api: Api, given: str) -> None:
    result = await api.execute(f"mutation {{ createService(input: {given}) {{ service {{ id }} }} }}")
    assert result.errors
    assert "canary" not in "".join(error.message for error in result.errors)


async def test_an_error_about_a_variable_shows_no_secret_of_oauth2(api: Api) -> None:
    document = "mutation ($input: CreateServiceInput!) { createService(input: $input) { service { id } } }"
    for given in ({"oauth2": {"clientSecret": "canary"}}, {"sesSecretAccessKey": "canary"}, {"password": 1234567}):
        result = await api.execute(document, input={"nothing": 1, **given})
        assert result.errors
        assert not any(secret in error.message for error in result.errors for secret in ("canary", "1234567"))


async def test_an_error_about_a_variable_shows_no_secret_whatever_the_variable_is_called(api: Api) -> None:
    for name in ("newPassword1", "SECRET_of_it"):
        document = (
            f'mutation (${name}: Int) {{ createService(input: {{name: "x", port: ${name}}}) {{ service {{ id }} }} }}'
        )
        result = await api.execute(document, **{name: "canary"})
        assert result.errors
        assert "canary" not in "".join(error.message for error in result.errors)
