"""What a mail takes from a template, and what of its values the template refuses."""

import html
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import ErrorCode
from app.mail.address import Mailbox
from app.mail.draft import Draft
from app.mail.placeholders import fill
from app.templates.content import (
    RECIPIENT_FIELDS,
    TEXT_FIELDS,
    TemplateContent,
    UsedTemplate,
    Variable,
    VariableType,
    apply_template,
    check_values,
    is_same,
    without_empty_texts,
)

NUMBER, BOOLEAN = VariableType.NUMBER, VariableType.BOOLEAN
FULL = TemplateContent(
    subject="S",
    text="T",
    html="H",
    from_email="desk@example.com",
    from_name="Desk",
    reply_to_email="help@example.com",
    reply_to_name="Help",
    to=(Mailbox("to@example.com"),),
    cc=(Mailbox("cc@example.com", "C"),),
    bcc=(Mailbox("bcc@example.com"),),
)
FIELDS = (*TEXT_FIELDS, *RECIPIENT_FIELDS)
NAMES = st.sampled_from(["a", "b", "c", "Größe"])
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text(), max_size=2)
DATA = st.dictionaries(NAMES, VALUES)
TEXTS = st.none() | st.text(max_size=5)
MAILBOXES = st.lists(st.builds(Mailbox, st.text(max_size=3), TEXTS), max_size=2).map(tuple)
OWN: dict[str, Any] = dict.fromkeys(TEXT_FIELDS, TEXTS) | dict.fromkeys(RECIPIENT_FIELDS, MAILBOXES)
CONTENTS = st.builds(
    TemplateContent, **OWN, variables=st.lists(st.builds(Variable, NAMES, default=VALUES), max_size=4).map(tuple)
)
DRAFTS = st.builds(Draft, **OWN, template_data=DATA, variables=DATA)


def declaring(*variables: Variable, **parts: str) -> TemplateContent:
    return TemplateContent(**parts, variables=variables)  # type: ignore[arg-type]


def used(*variables: Variable) -> UsedTemplate:
    return UsedTemplate(UUID(int=1), "Welcome", 1, declaring(*variables))


def problems(variable: Variable, **fields: Any) -> list[tuple[ErrorCode, tuple[str, ...]]]:
    return [(problem.code, problem.field) for problem in check_values(Draft(**fields), used(variable))]


def test_a_draft_that_says_nothing_takes_everything() -> None:
    applied = apply_template(Draft(), FULL)
    assert {name: getattr(applied, name) for name in FIELDS} == {name: getattr(FULL, name) for name in FIELDS}


@pytest.mark.parametrize("name", TEXT_FIELDS)
@pytest.mark.parametrize("own", ["own", ""])
def test_what_the_draft_has_is_kept_the_empty_text_too(name: str, own: str) -> None:
    applied = apply_template(Draft(**{name: own}), FULL)  # type: ignore[arg-type]
    assert {field for field in FIELDS if getattr(applied, field) != getattr(FULL, field)} == {name}
    assert getattr(applied, name) == own


@pytest.mark.parametrize("name", RECIPIENT_FIELDS)
def test_recipients_of_each_kind_are_the_drafts_or_the_templates(name: str) -> None:
    own = (Mailbox("own@example.com"),)
    applied = apply_template(Draft(**{name: own}), FULL)  # type: ignore[arg-type]
    expected = {kind: getattr(FULL, kind) for kind in RECIPIENT_FIELDS} | {name: own}
    assert {kind: getattr(applied, kind) for kind in RECIPIENT_FIELDS} == expected


@given(DRAFTS, CONTENTS)
def test_no_field_that_the_draft_has_is_changed(draft: Draft, content: TemplateContent) -> None:
    applied = apply_template(draft, content)
    for name in FIELDS:
        own = getattr(draft, name)
        assert getattr(applied, name) == (getattr(content, name) if own in (None, ()) else own)
    given = {name: value for name, value in draft.template_data.items() if value is not None}
    kept = {name: applied.template_data[name] for name in given}
    assert repr(kept) == repr(given)  # NaN is not equal to itself
    left = {name: getattr(draft, name) for name in ("attachments", "headers", "variables", "metadata", "tags")}
    assert all(getattr(applied, name) is value for name, value in left.items())


@pytest.mark.parametrize(
    ("default", "written"),
    [(0, "0"), (False, "false"), ("", ""), (0.0, "0.0"), ("x", "x"), (10**18, "1" + "0" * 18), ("{v}{w}", "{v}{w}")],
)
def test_a_default_counts_however_little_it_is(default: object, written: str) -> None:
    content = declaring(Variable("v", default=default), Variable("w", default="W"), text="<{v}>")
    assert fill(apply_template(Draft(), content)).text == f"<{written}>"


@pytest.mark.parametrize(
    ("fields", "filled"),
    [
        ({}, "&lt;d&gt;"),
        ({"template_data": {"v": "<t>"}}, "&lt;t&gt;"),
        ({"template_data": {"v": ""}}, ""),
        ({"template_data": {"v": 0}}, "0"),
        ({"template_data": {"v": None}}, "&lt;d&gt;"),
        ({"template_data": {"v": []}}, "{v}"),
        ({"variables": {"v": "<r>"}}, "<r>"),
        ({"variables": {"v": None}}, "&lt;d&gt;"),
        ({"template_data": {"v": "<t>"}, "variables": {"v": "<r>"}}, "&lt;t&gt;"),
        ({"template_data": {"v": None}, "variables": {"v": "<r>"}}, "&lt;d&gt;"),
    ],
)
def test_a_default_stands_in_for_nothing_and_for_null_and_is_escaped(fields: dict[str, Any], filled: str) -> None:
    content = declaring(Variable("v", default="<d>"), html="{v}")
    assert fill(apply_template(Draft(**fields), content)).html == filled


def test_css_and_undeclared_placeholders_stay() -> None:
    content = declaring(Variable("v", default="x"), html="<style>b{color:red} p{v}</style>{other}{v}")
    assert fill(apply_template(Draft(), content)).html == "<style>b{color:red} px</style>{other}x"


@pytest.mark.parametrize(
    ("kind", "fitting", "other"),
    [
        (VariableType.STRING, ["", "x", 0, 1.5, 10**30], [True, False, [], {}, ["x"], float("nan"), float("inf")]),
        (NUMBER, [0, -1, 1.5, 10**30], ["1", "", True, False, [], {"a": 1}, float("nan"), float("-inf")]),
        (BOOLEAN, [True, False], [0, 1, "true", "", [], {}, 1.0]),
    ],
)
def test_a_value_is_of_its_variables_type(kind: VariableType, fitting: list[object], other: list[object]) -> None:
    variable = Variable("v", kind)
    assert [value for value in (*fitting, *other) if variable.takes(value)] == fitting
    for value in fitting:
        assert problems(variable, template_data={"v": value}) == []
    for value in other:
        assert problems(variable, template_data={"v": value}) == [(ErrorCode.INVALID_INPUT, ("template_data", "v"))]


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        ({}, True),
        ({"template_data": {"v": None}}, True),
        ({"template_data": {"v": None}, "variables": {"v": "x"}}, True),  # so the placeholder would stay
        ({"template_data": {"v": ""}}, False),
        ({"template_data": {"v": 0}}, False),
        ({"variables": {"v": "x"}}, False),
        ({"template_data": {"V": "x"}}, True),
    ],
)
def test_a_required_variable_without_a_value_is_missing(fields: dict[str, Any], missing: bool) -> None:
    expected = [(ErrorCode.MISSING_VARIABLE, ("template_data", "v"))] if missing else []
    assert problems(Variable("v", required=True), **fields) == expected


def test_a_variable_that_is_not_required_may_be_left_out() -> None:
    assert problems(Variable("v", NUMBER)) == problems(Variable("v", NUMBER), template_data={"v": None}) == []


@given(DATA, DATA)
def test_what_is_not_missing_and_fits_is_filled(data: dict[str, Any], variables: dict[str, Any]) -> None:
    draft = Draft(text="{a}", template_data=data, variables=variables)
    if not check_values(draft, used(Variable("a", required=True))):
        value = data["a"] if "a" in data else variables["a"]
        assert fill(draft).text == str(value)


@given(DATA, st.text())
def test_a_default_is_filled_as_template_data_is(data: dict[str, Any], default: str) -> None:
    given = {name: value for name, value in data.items() if name != "a"}
    content = declaring(Variable("a", default=default), text="{a}", html="{a}")
    filled = fill(apply_template(Draft(template_data=given), content))
    assert (filled.text, filled.html) == (default, html.escape(default))


def test_empty_texts_say_nothing_and_empty_defaults_stay() -> None:
    empty = replace(FULL, **dict.fromkeys(TEXT_FIELDS, ""), variables=(Variable("v", default=""),))  # type: ignore[arg-type]
    cleared = without_empty_texts(empty)
    assert {getattr(cleared, name) for name in TEXT_FIELDS} == {None}
    assert (cleared.variables, cleared.to) == (empty.variables, FULL.to)


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (0, 0.0), (1, "1"), ("", None)])
def test_defaults_that_are_written_differently_are_not_the_same(one: object, other: object) -> None:
    assert is_same(declaring(Variable("v", default=one)), declaring(Variable("v", default=one)))
    assert not is_same(declaring(Variable("v", default=one)), declaring(Variable("v", default=other)))
