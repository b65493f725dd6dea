"""What a template holds survives storing and reading, on both databases."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.mail.address import Mailbox
from app.templates.check import MAX_VARIABLE_NAME_CHARS, TemplateValues, check_template
from app.templates.content import TEXT_FIELDS, TemplateContent, Variable, VariableType, is_same, without_empty_texts
from app.templates.manage import create_template, name_key, update_template
from app.templates.models import Template, TemplateVersion
from tests.templates.stored import LIMITS, current

pytestmark = pytest.mark.usefixtures("database")

STORABLE = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
LINE = st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])
BODIES = st.none() | st.text(STORABLE, max_size=20)
LINES = st.none() | st.text(LINE, max_size=20)
EMAILS = st.sampled_from(["a@example.com", '"a b"@x', "ä@bücher.example", "a@[127.0.0.1]", "{a}@x.example"])
MAILBOXES = st.lists(st.builds(Mailbox, EMAILS, LINES), max_size=3).map(tuple)
INTEGERS = st.integers(-(2**63) + 1, 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
DEFAULTS = {
    VariableType.STRING: st.none() | st.text(STORABLE, max_size=20) | INTEGERS | FLOATS,
    VariableType.NUMBER: st.none() | INTEGERS | FLOATS,
    VariableType.BOOLEAN: st.none() | st.booleans(),
}
VARIABLE_NAMES = st.from_regex(rf"\A[A-Za-z_]\w{{0,{MAX_VARIABLE_NAME_CHARS - 1}}}\Z")


def _variables(kind: VariableType) -> st.SearchStrategy[Variable]:
    made = st.builds(Variable, VARIABLE_NAMES, st.just(kind), st.booleans(), DEFAULTS[kind])
    return made.map(lambda variable: replace(variable, required=variable.required and variable.default is None))


CONTENTS = st.builds(
    TemplateContent,
    subject=LINES,
    text=st.text(STORABLE, min_size=1, max_size=20),
    html=BODIES,
    from_email=st.none() | EMAILS,
    from_name=LINES,
    reply_to_email=st.none() | EMAILS,
    reply_to_name=LINES,
    to=MAILBOXES,
    cc=MAILBOXES,
    bcc=MAILBOXES,
    variables=st.lists(
        st.sampled_from(VariableType).flatmap(_variables), max_size=4, unique_by=lambda variable: variable.name
    ).map(tuple),
)
NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=128)
each_example = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@each_example
@given(NAMES, CONTENTS, CONTENTS)
async def test_any_content_is_read_as_it_was_given(name: str, one: TemplateContent, other: TemplateContent) -> None:
    assert check_template(TemplateValues(name, content=one), LIMITS) == ()
    await Template.all().delete()
    template = await create_template(TemplateValues(name, content=one), None, LIMITS)
    assert await current(template.id) == without_empty_texts(one)
    changes = {field: getattr(other, field) for field in (*TEXT_FIELDS, "to", "cc", "bcc", "variables")}
    await update_template(template.id, changes, None, LIMITS)  # type: ignore[arg-type]
    assert await current(template.id) == without_empty_texts(other)
    assert (await Template.get(name_key=name_key(name))).name == name


@each_example
@given(st.sampled_from(VariableType).flatmap(_variables))
async def test_a_default_keeps_its_type_and_a_change_to_the_same_makes_no_version(variable: Variable) -> None:
    await Template.all().delete()
    content = TemplateContent(text="x", variables=(variable,))
    template = await create_template(TemplateValues("n", content=content), None, LIMITS)
    (read,) = (await current(template.id)).variables
    assert (read, type(read.default), repr(read.default)) == (variable, type(variable.default), repr(variable.default))
    assert is_same(await current(template.id), content)
    await update_template(template.id, {"variables": (variable,)}, None, LIMITS)
    assert await TemplateVersion.filter(template_id=template.id).count() == 1
