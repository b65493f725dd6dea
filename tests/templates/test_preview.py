"""What mail made from a template would hold; refused is what sending would refuse."""

from typing import Any
from uuid import UUID

import pytest

from app.errors import ErrorCode, Refusal
from app.mail.address import Mailbox
from app.mail.draft import Draft, DraftLimits
from app.templates.content import TemplateContent, UsedTemplate, Variable, VariableType
from app.templates.preview import Preview, preview_template

VARIABLES = (
    Variable("name", required=True),
    Variable("count", VariableType.NUMBER, default=0),
    Variable("late", VariableType.BOOLEAN, default=False),
)
CONTENT = TemplateContent(
    subject="Hi {name}",
    text="{count} {late} {other}",
    html="<style>b{color:red}</style><b>{name}</b>{count}{deep}",
    to=(Mailbox("a@example.com"),),
    variables=VARIABLES,
)
LIMITS = DraftLimits(max_subject_chars=10, max_body_chars=100)


def preview(content: TemplateContent = CONTENT, **data: Any) -> Preview:
    return preview_template(Draft(template_data=data), UsedTemplate(UUID(int=1), "n", 3, content), LIMITS)


def test_placeholders_are_filled_with_values_and_defaults() -> None:
    html = "<style>b{color:red}</style><b>&lt;A&gt;</b>0{deep}"
    assert preview(name="<A>") == Preview("Hi <A>", "0 false {other}", html, (), ("other", "deep"))


def test_what_is_missing_is_told_and_stays() -> None:
    html = "<style>b{color:red}</style><b>{name}</b>0{deep}"
    expected = Preview("Hi {name}", "0 false {other}", html, ("name",), ("name", "other", "deep"))
    assert preview() == preview(name=None) == expected


def test_values_are_not_expanded_again() -> None:
    assert preview(name="{count}", other="{late}").text == "0 false {late}"


def test_a_template_may_lack_what_the_mail_adds() -> None:
    assert preview(TemplateContent(subject="s")) == Preview("s", None, None, (), ())


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            {"name": True, "count": "1"},
            [("template_data.name", "INVALID_INPUT"), ("template_data.count", "INVALID_INPUT")],
        ),
        ({"name": [], "late": 0}, [("template_data.name", "INVALID_INPUT"), ("template_data.late", "INVALID_INPUT")]),
        ({"name": "a\r\nBcc: b@x"}, [("subject", "INVALID_INPUT"), ("subject", "TOO_LARGE")]),
        (
            {"name": "\x00", "other": "x"},
            [("subject", "INVALID_INPUT"), ("html", "INVALID_INPUT"), ("template_data", "INVALID_INPUT")],
        ),
        ({"other": "\ud800"}, [("text", "INVALID_INPUT"), ("template_data", "INVALID_INPUT")]),
        ({"unused": {"\ud800": 1}}, [("template_data", "INVALID_INPUT")]),
        ({"other": "x" * 101}, [("text", "TOO_LARGE")]),
    ],
)
def test_what_sending_would_refuse_is_refused(data: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    with pytest.raises(Refusal) as refused:
        preview(**data)
    found = [(".".join(problem.field), problem.code) for problem in refused.value.problems]
    assert found == [(path, ErrorCode(code)) for path, code in expected]


def test_the_senders_fields_are_filled_or_left_to_the_mail() -> None:
    text = "{from_name} {reply_to_email} {unknown}"
    shown = preview(TemplateContent(text=text, from_name="Shop"))
    assert (shown.text, shown.unfilled) == ("Shop {reply_to_email} {unknown}", ("unknown",))
