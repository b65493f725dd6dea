"""What a template has to be like: its own rules, and those of the mail that it becomes part of."""

from dataclasses import replace
from typing import Any

import pytest

from app.errors import ErrorCode
from app.mail.address import Mailbox
from app.mail.check import check_draft
from app.mail.draft import Draft, DraftLimits
from app.templates.check import TemplateLimits, TemplateValues, check_template
from app.templates.content import TemplateContent, Variable, VariableType

LIMITS = TemplateLimits(
    DraftLimits(max_recipients=3, max_subject_chars=5, max_body_chars=6, max_name_chars=4), max_variables=3
)
INVALID, TOO_LARGE = ErrorCode.INVALID_INPUT, ErrorCode.TOO_LARGE
HEX = "01a20440c507751f9930f7fdeeecb569"


def found(name: str = "n", *, limits: TemplateLimits = LIMITS, **fields: Any) -> list[tuple[str, ErrorCode]]:
    own = {field: fields.pop(field) for field in ("description", "number") if field in fields}
    content = TemplateContent(**{"text": "x", **fields})
    problems = check_template(TemplateValues(name, **own, content=content), limits)
    assert all(problem.message.endswith(".") for problem in problems)
    return [(".".join(problem.field), problem.code) for problem in problems]


def default(value: object, kind: VariableType = VariableType.STRING) -> list[tuple[str, ErrorCode]]:
    return found(variables=(Variable("v", kind, default=value),))


@pytest.mark.parametrize(
    "name", ["x", "n" * 128, " " + "n" * 128 + "\t", "42", "-1", "Größe", "İ", "ẞ" * 128, "a b", "tmpl_", "{x}", "a/b"]
)
def test_a_name_may_be(name: str) -> None:
    assert found(name) == []


@pytest.mark.parametrize(
    "name",
    ["", " ", "n" * 129, "a\nb", "a\x00", "\ud800", "\u202e", f"tmpl_{HEX}", f" TMPL_{HEX.upper()} ", f"svc_{HEX}"],
)
def test_a_name_may_not_be(name: str) -> None:
    assert found(name) == [("name", INVALID)]


@pytest.mark.parametrize(("number", "fits"), [(1, True), (2**31 - 1, True), (0, False), (-1, False), (2**31, False)])
def test_a_number_fits_its_column(number: int, fits: bool) -> None:
    assert found(number=number) == ([] if fits else [("number", INVALID)])


@pytest.mark.parametrize("description", ["d" * 2001, "\x00", "\ud800"])
def test_a_description_is_limited_and_stored(description: str) -> None:
    assert found(description=description) == [("description", INVALID)]
    assert found(description="d\n" * 1000) == []


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_template_needs_something_to_say(nothing: str | None) -> None:
    assert found(text=nothing, subject=nothing, html=nothing, to=(Mailbox("a@x"),)) == [("text", INVALID)]
    for part in ("subject", "text", "html"):
        fields: dict[str, Any] = {"text": None, part: "x"}
        assert found(**fields) == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"subject": "a\nb"}, [("subject", INVALID)]),
        ({"subject": "123456"}, [("subject", TOO_LARGE)]),
        ({"text": "1234567"}, [("text", TOO_LARGE)]),
        ({"html": "1234567"}, [("html", TOO_LARGE)]),
        ({"text": "\x00"}, [("text", INVALID)]),
        ({"html": "\udc00"}, [("html", INVALID)]),
        ({"from_email": "desk"}, [("from_email", ErrorCode.INVALID_EMAIL)]),
        ({"from_name": "a\rb"}, [("from_name", INVALID)]),
        ({"reply_to_email": "a@x, b@x"}, [("reply_to_email", ErrorCode.INVALID_EMAIL)]),
        ({"reply_to_name": "12345"}, [("reply_to_name", TOO_LARGE)]),
        ({"to": (Mailbox("a@x"), Mailbox("", "12345"))}, [("to.1.email", ErrorCode.INVALID_EMAIL)]),
        ({"cc": (Mailbox("a@x", "\x00"),)}, [("cc.0.name", INVALID)]),
        ({"bcc": (Mailbox("{email}@x y"),)}, [("bcc.0.email", ErrorCode.INVALID_EMAIL)]),
        ({"to": (Mailbox("a@x"),) * 2, "cc": (Mailbox("a@x"),) * 2}, [("to", TOO_LARGE)]),
    ],
)
def test_its_parts_keep_the_rules_of_a_mail(fields: dict[str, Any], expected: list[tuple[str, ErrorCode]]) -> None:
    mail = Draft(**{"to": (Mailbox("a@x"),), "text": "x", **fields})
    of_a_mail = [(".".join(problem.field), problem.code) for problem in check_draft(mail, LIMITS.draft)]
    assert found(**fields)[: len(expected)] == expected
    assert found(**fields) == of_a_mail


@pytest.mark.parametrize("name", ["", "1a", "a b", "a-b", "{a}", "a}", "a\n", "\x00", "\ud800", "n" * 65])
def test_a_variable_is_named_as_a_placeholder_is(name: str) -> None:
    assert found(variables=(Variable("ok"), Variable(name))) == [("variables.1.name", INVALID)]
    assert found(variables=(Variable("n" * 64), Variable("_1"), Variable("Größe"))) == []


def test_a_variable_is_declared_once_in_one_spelling() -> None:
    assert found(variables=(Variable("a"), Variable("A"), Variable("a"))) == [("variables.2.name", INVALID)]


def test_variables_are_counted_before_they_are_looked_at() -> None:
    assert found(variables=(Variable(""),) * 4) == [("variables", TOO_LARGE)]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("STRING", ""),
        ("STRING", "ÄÖ{x}"),
        ("STRING", 0),
        ("STRING", 1.5),
        ("NUMBER", 0),
        ("NUMBER", -(2**63) + 1),
        ("NUMBER", 2**63 - 1),
        ("NUMBER", 1e308),
        ("BOOLEAN", False),
        ("BOOLEAN", True),
        ("BOOLEAN", None),
    ],
)
def test_a_default_may_be(kind: str, value: object) -> None:
    assert default(value, VariableType(kind)) == []


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("STRING", True),
        ("STRING", {}),
        ("STRING", []),
        ("STRING", ["\ud800"]),
        ("STRING", {"a": {"b": 1}}),
        ("STRING", float("nan")),
        ("NUMBER", "1"),
        ("NUMBER", False),
        ("NUMBER", float("inf")),
        ("NUMBER", float("nan")),
        ("BOOLEAN", 0),
        ("BOOLEAN", "false"),
        ("NUMBER", 2**63),
        pytest.param("STRING", 10**5000, id="STRING-more digits than Python writes"),
        ("STRING", "\x00"),
        ("STRING", "\udfff"),
    ],
)
def test_a_default_may_not_be(kind: str, value: object) -> None:
    assert default(value, VariableType(kind)) == [("variables.0.default", INVALID)]


def test_a_default_is_as_long_as_a_body_at_most() -> None:
    assert default("1234567") == [("variables.0.default", TOO_LARGE)]


@pytest.mark.parametrize("value", [0, False, "", "x"])
def test_what_has_a_default_is_never_missing(value: object) -> None:
    kind = VariableType.BOOLEAN if value is False else VariableType.STRING
    variable = Variable("v", kind, required=True, default=value)
    assert found(variables=(variable,)) == [("variables.0.required", INVALID)]
    assert found(variables=(replace(variable, default=None),)) == []


def test_everything_wrong_is_named_at_once() -> None:
    variables = (Variable("1"), Variable("v", VariableType.NUMBER, default="x"))
    assert found("", number=0, subject="a\n", to=(Mailbox("x"),), variables=variables) == [
        ("name", INVALID),
        ("number", INVALID),
        ("to.0.email", ErrorCode.INVALID_EMAIL),
        ("subject", INVALID),
        ("variables.0.name", INVALID),
        ("variables.1.default", INVALID),
    ]
