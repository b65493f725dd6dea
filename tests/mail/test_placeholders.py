import html
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import ErrorCode, TooLarge
from app.mail.draft import Draft, DraftLimits
from app.mail.placeholders import fill, is_placeholder, unfilled_placeholders

NAMES = st.sampled_from(["a", "b", "name", "_x", "Größe"])
JSON_VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text(), max_size=2)


def test_placeholders_are_filled_in_subject_text_and_html() -> None:
    draft = Draft(subject="Hi {name}", text="{name}!", html="<b>{name}</b>", template_data={"name": "Jane"})
    filled = fill(draft)
    assert (filled.subject, filled.text, filled.html) == ("Hi Jane", "Jane!", "<b>Jane</b>")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("x", "x"),
        ("", ""),
        (True, "true"),
        (False, "false"),
        (7, "7"),
        (-3, "-3"),
        (1.5, "1.5"),
        (10**20, "1" + "0" * 20),
    ],
)
def test_strings_numbers_and_booleans_substitute(value: object, written: str) -> None:
    assert fill(Draft(text="<{v}>", template_data={"v": value})).text == f"<{written}>"


@pytest.mark.parametrize("value", [None, [], ["a"], {"a": 1}])
def test_null_lists_and_objects_leave_the_placeholder(value: object) -> None:
    assert fill(Draft(text="{v}", template_data={"v": value}, variables={"v": "raw"})).text == "{v}"


@pytest.mark.parametrize(
    "text",
    ["body {color:red}", "p{margin:0}", "{ name }", "{1a}", "{}", "{name", "name}", "{na-me}", "{Name}", "{{name"],
)
def test_what_is_no_known_placeholder_survives(text: str) -> None:
    assert fill(Draft(html=text, template_data={"name": "X", "color": "blue"})).html == text


def test_template_data_is_escaped_in_html_and_variables_are_raw() -> None:
    draft = Draft(
        subject="{safe}{raw}",
        text="{safe}{raw}",
        html="{safe}{raw}",
        template_data={"safe": "<a href='x'>&\""},
        variables={"raw": "<br>"},
    )
    filled = fill(draft)
    assert filled.html == "&lt;a href=&#x27;x&#x27;&gt;&amp;&quot;<br>"
    assert filled.text == filled.subject == "<a href='x'>&\"<br>"


def test_template_data_wins_over_a_variable_of_the_same_name() -> None:
    filled = fill(Draft(html="{v}", template_data={"v": "<1>"}, variables={"v": "<2>"}))
    assert filled.html == "&lt;1&gt;"


def test_doubled_braces_keep_the_outer_pair() -> None:
    assert fill(Draft(text="{{name}}", variables={"name": "x"})).text == "{x}"


def test_absent_parts_stay_absent() -> None:
    filled = fill(Draft(template_data={"v": "x"}))
    assert (filled.subject, filled.text, filled.html) == (None, None, None)


def test_a_filled_part_over_the_limit_is_refused_before_it_is_built() -> None:
    draft = Draft(text="{v}" * 1000, template_data={"v": "x" * 1_000_000})
    with pytest.raises(TooLarge) as refusal:
        fill(draft, DraftLimits(max_body_chars=5000))
    (problem,) = refusal.value.problems
    assert (problem.code, problem.field) == (ErrorCode.TOO_LARGE, ("text",))
    assert "1000000000 characters" in problem.message
    assert "5000" in problem.message


def test_a_filled_part_of_exactly_the_limit_passes() -> None:
    assert fill(Draft(text="{v}", variables={"v": "x" * 50}), DraftLimits(max_body_chars=50)).text == "x" * 50


@given(st.lists(NAMES | st.sampled_from(["{", "}", "unknown"])), st.sets(NAMES))
def test_values_are_never_expanded_again(parts: list[str], values: set[str]) -> None:
    braced = {name: f"{{{name}}}{{a}}{{b}}" for name in values}
    text = "".join(f"{{{part}}}" if part.isidentifier() else part for part in parts)
    expected = "".join(braced.get(part, f"{{{part}}}") if part.isidentifier() else part for part in parts)
    assert fill(Draft(text=text, variables=braced)).text == expected


@given(st.text(), st.dictionaries(NAMES, JSON_VALUES, min_size=1))
def test_what_substitutes_does_and_what_does_not_stays(text: str, values: dict[str, object]) -> None:
    name, value = next(iter(values.items()))
    filled = fill(Draft(text=f"{text}\n{{{name}}}", html=f"{{{name}}}", template_data={name: value}))
    written = value if isinstance(value, str) else json.dumps(value)
    known = isinstance(value, str | int | float)
    assert filled.text is not None
    assert filled.text.endswith(f"\n{written}" if known else f"\n{{{name}}}")
    assert filled.html == (html.escape(written) if known else f"{{{name}}}")


@given(st.text(), st.dictionaries(st.text(), st.text()))
def test_a_text_without_placeholders_is_untouched(text: str, values: dict[str, str]) -> None:
    plain = text.replace("{", "(")
    assert fill(Draft(text=plain, template_data=values)).text == plain


SENDER_FIELDS = {"from_email": "shop@x.example", "from_name": "Tom & Co", "reply_to_name": None}


def test_sender_fields_and_the_subject_fill_what_has_no_other_value() -> None:
    draft = Draft(
        subject="Hi {name} {subject}",
        text="{from_name} {reply_to_name} {subject}",
        html="<p>{from_name} {from_email} {subject}</p>",
        template_data={"from_email": "other"},
        variables={"name": "<Ada>"},
    )
    filled = fill(draft, DraftLimits(), SENDER_FIELDS)
    assert filled.subject == "Hi <Ada> {subject}"
    assert filled.text == "Tom & Co {reply_to_name} Hi <Ada> {subject}"
    assert filled.html == "<p>Tom &amp; Co other Hi &lt;Ada&gt; {subject}</p>"
    assert unfilled_placeholders(draft, SENDER_FIELDS) == ("subject", "reply_to_name")


@pytest.mark.parametrize("given", [{"variables": {"subject": "<b>"}}, {"template_data": {"subject": "<b>"}}])
def test_a_variable_named_as_a_field_wins_over_the_field(given: dict[str, dict[str, object]]) -> None:
    filled = fill(Draft(subject="Hi", text="{subject}", **given))  # type: ignore[arg-type]
    assert filled.text == "<b>"


@given(
    st.lists(NAMES | st.sampled_from(["{", "}", "{color:red}", "unknown"])),
    st.dictionaries(NAMES, JSON_VALUES),
    st.dictionaries(NAMES, JSON_VALUES),
)
def test_unfilled_is_what_filling_leaves(parts: list[str], data: dict[str, object], values: dict[str, object]) -> None:
    text = "".join(f"{{{part}}}" if part.isidentifier() else part for part in parts)
    marked = [
        {name: "!" if isinstance(value, str | int | float) else value for name, value in given.items()}
        for given in (data, values)
    ]
    filled = fill(Draft(subject=text, html=text, template_data=marked[0], variables=marked[1]))
    left = re.findall(r"\{([A-Za-z_]\w*)\}", f"{filled.subject}{filled.html}")
    draft = Draft(subject=text, html=text, template_data=data, variables=values)
    assert unfilled_placeholders(draft) == tuple(dict.fromkeys(left))


def test_unfilled_placeholders_come_once_in_the_order_of_the_parts() -> None:
    draft = Draft(subject="{b}", text="{a}{b}", html="{c}{a}", template_data={"c": ""}, variables={"a": None})
    assert unfilled_placeholders(draft) == ("b", "a")


@pytest.mark.parametrize("name", ["", "1a", "a b", "a-b", "a}", "{a", "a\n", "a\x00", "\ud800", "a:b"])
def test_what_is_no_name_of_a_placeholder(name: str) -> None:
    assert not is_placeholder(name)
    assert is_placeholder("_aé9")
