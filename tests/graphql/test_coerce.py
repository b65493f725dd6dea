"""Variables are coerced to just what graphql-core and Strawberry make of them, or left to these."""

from typing import Any

from graphql import OperationDefinitionNode, get_variable_values, parse
from hypothesis import given
from hypothesis import strategies as st
from strawberry.types.arguments import convert_arguments

from app.graphql.coerce import Unfit
from tests.graphql.api import real_schema

OPERATION = parse("mutation ($input: SendEmailInput!) { sendEmail(input: $input) { replayed } }").definitions[0]
MAILBOX = st.fixed_dictionaries({"email": st.text()}, optional={"name": st.none() | st.text()})
MAILBOXES = st.none() | st.lists(MAILBOX, max_size=2)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
MOMENTS = st.none() | st.datetimes().map(lambda moment: f"{moment.isoformat()}Z") | st.sampled_from(["20261201", "now"])
FILE = st.fixed_dictionaries({"name": st.text(), "content": st.text()}, optional={"contentId": st.none() | st.text()})
OPTIONAL: dict[str, st.SearchStrategy[Any]] = {
    "to": MAILBOXES,
    "cc": MAILBOXES,
    "from": st.none() | MAILBOX,
    "replyTo": st.none() | MAILBOX,
    "subject": st.none() | st.text(),
    "attachments": st.none() | st.lists(FILE, max_size=2),
    "headers": st.lists(st.fixed_dictionaries({"name": st.text(), "value": st.text()}), max_size=2),
    "unsubscribe": st.fixed_dictionaries({}, optional={"url": st.text(), "oneClick": st.booleans()}),
    "templateData": ANYTHING,
    "tags": st.lists(st.text(), max_size=2),
    "sendAt": MOMENTS,
    "priority": st.sampled_from(["HIGH", "NORMAL", "LOW", "high", "low", ""]),
    "onDoubt": st.sampled_from(["RETRY", "FAIL", "retry"]),
    "waitSeconds": st.none() | st.integers() | st.integers(0, 60),
}
VALID = st.fixed_dictionaries({"service": st.text()}, optional=OPTIONAL)


@st.composite
def variables(draw: st.DrawFn) -> Any:
    """A valid input, or one of which something was replaced, taken away, or added."""
    value: Any = draw(VALID)
    for _ in range(draw(st.integers(0, 2))):
        value = _changed(draw, value)
    return value


def _changed(draw: st.DrawFn, value: Any) -> Any:
    if not isinstance(value, dict | list) or not value or draw(st.integers(0, 3)) == 0:
        return draw(ANYTHING)
    if isinstance(value, list):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], _changed(draw, value[at]), *value[at + 1 :]]
    name = draw(st.sampled_from(sorted(value)))
    match draw(st.integers(0, 3)):
        case 0:
            return {other: value[other] for other in value if other != name}
        case 1:
            return {**value, draw(st.text(max_size=3) | st.sampled_from(["from_", "name", "to"])): draw(ANYTHING)}
        case _:
            return {**value, name: _changed(draw, value[name])}


def walked(value: Any) -> Any:
    """What the resolver gets from the generic executor; None where it is not asked."""
    assert isinstance(OPERATION, OperationDefinitionNode)
    values = get_variable_values(real_schema()._schema, OPERATION.variable_definitions or (), {"input": value})
    if isinstance(values, list):
        return None
    field = real_schema().get_field_for_type("sendEmail", "Mutation")
    assert field is not None
    scalars = real_schema().schema_converter.scalar_registry
    return convert_arguments(values.coerced, field.arguments, scalars, real_schema().config)["input"]


@given(variables())
def test_what_is_coerced_is_what_the_full_executor_makes_of_it(value: Any) -> None:
    try:
        coerced = real_schema()._coerce(value)
    except Unfit:
        return
    assert coerced == walked(value)


@given(VALID)
def test_what_is_as_the_types_say_needs_no_full_executor(value: Any) -> None:
    if (expected := walked(value)) is not None:
        assert real_schema()._coerce(value) == expected
