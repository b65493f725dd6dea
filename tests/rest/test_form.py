"""Forms and queries as PHP reads them."""

from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidInput, TooLarge
from app.rest.form import nest, read_pairs


def read(form: str | bytes, max_fields: int = 50, max_depth: int = 5) -> dict[str, Any]:
    octets = form.encode() if isinstance(form, str) else form
    return nest(read_pairs(octets, "form", max_fields), max_depth, 20_000)


@pytest.mark.parametrize(
    ("form", "fields"),
    [
        ("", {}),
        ("&&", {}),
        ("a", {"a": ""}),
        ("a=", {"a": ""}),
        ("a=b=c", {"a": "b=c"}),
        ("a=1+1&b=1%2B1", {"a": "1 1", "b": "1+1"}),
        ("a=Gr%C3%BC%C3%9Fe", {"a": "Grüße"}),
        ("a=Grüße&ü=1", {"a": "Grüße", "ü": "1"}),
        ("a=%", {"a": "%"}),
        ("a=%zz", {"a": "%zz"}),
        ("a=1;b=2", {"a": "1;b=2"}),
        ("a=1&a=2", {"a": "2"}),
        ("a.b=1&a b=2&a-b=3", {"a.b": "1", "a b": "2", "a-b": "3"}),
        ("a[]=1", {"a": ["1"]}),
        ("a[]=1&a[]=2", {"a": ["1", "2"]}),
        ("a%5B%5D=1&a%5B%5D=2", {"a": ["1", "2"]}),
        ("a[0]=1&a[1]=2", {"a": ["1", "2"]}),
        ("a[1]=2&a[0]=1", {"a": ["1", "2"]}),
        ("a[0]=1&a[]=2", {"a": ["1", "2"]}),
        ("a[1]=1&a[3]=2", {"a": {"1": "1", "3": "2"}}),
        ("a[01]=1", {"a": {"01": "1"}}),
        ("a[9999999999999999999999]=1&a[]=2", {"a": {"9999999999999999999999": "1", "0": "2"}}),
        ("a[b]=1&a[c]=2", {"a": {"b": "1", "c": "2"}}),
        ("a[b]=1&a[]=2", {"a": {"b": "1", "0": "2"}}),
        ("a[b]=1&a[b]=2", {"a": {"b": "2"}}),
        ("a[b][c][]=1", {"a": {"b": {"c": ["1"]}}}),
        ("a[][b]=1&a[][b]=2", {"a": [{"b": "1"}, {"b": "2"}]}),
        ("a[0][b]=1&a[0][c]=2&a[1][b]=3", {"a": [{"b": "1", "c": "2"}, {"b": "3"}]}),
        ("a=1&a[b]=2", {"a": {"b": "2"}}),
        ("a[b]=1&a=2", {"a": "2"}),
        ("a[b]=1&a[b][c]=2", {"a": {"b": {"c": "2"}}}),
        ("a[b=1&[c]=2&a]=3&a[b]c=4", {"a[b": "1", "[c]": "2", "a]": "3", "a[b]c": "4"}),
        ("a[[b]=1", {"a": {"[b": "1"}}),
        ("=1", {"": "1"}),
        ("template_data[name]=Ann&template_data[n]=1", {"template_data": {"name": "Ann", "n": "1"}}),
    ],
)
def test_names_nest_as_php_reads_them(form: str, fields: dict[str, Any]) -> None:
    assert read(form) == fields


@pytest.mark.parametrize("field", ["to", "cc", "bcc", "attachment", "attachments"])
@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("to=a", "a"),
        ("to=a&to=b&to=c", ["a", "b", "c"]),
        ("to=a&to[]=b&to=c", ["a", "b", "c"]),
        ("to[]=a&to=b", ["a", "b"]),
        ("to[2]=a&to[7]=b", ["a", "b"]),
        ("to[email]=a&to[name]=Ann", {"email": "a", "name": "Ann"}),
        ("to[0][email]=a&to[0][name]=Ann&to[1]=b", [{"email": "a", "name": "Ann"}, "b"]),
        ('to={"email":"a"}', {"email": "a"}),
        ('to= ["a",{"email":"b"}]', ["a", {"email": "b"}]),
        ('to[]={"email":"a"}&to[]=b', [{"email": "a"}, "b"]),
        ('to=["a","b"]&to=c', ["a", "b", "c"]),
        ("to=[]", []),
        ("to={a}@x", "{a}@x"),
        ("to=[a@x", "[a@x"),
        ("to=[1]@x", "[1]@x"),
    ],
)
def test_a_list_comes_repeated_in_brackets_or_as_json(field: str, form: str, value: Any) -> None:
    assert read(form.replace("to", field)) == {field: value}


@pytest.mark.parametrize(
    ("form", "fields"),
    [
        ('template_data={"name":"Ann","n":1}', {"template_data": {"name": "Ann", "n": 1}}),
        ('template_data[x]={"a":1}', {"template_data": {"x": '{"a":1}'}}),
        ("template_data={name}", {"template_data": "{name}"}),
        ('subject={"a":1}&other=[1]', {"subject": '{"a":1}', "other": "[1]"}),
        ("import_url=a&import_url=b&subject=1&subject=2", {"import_url": "b", "subject": "2"}),
    ],
)
def test_only_what_json_fits_into_is_read_as_json(form: str, fields: dict[str, Any]) -> None:
    assert read(form) == fields


@pytest.mark.parametrize(
    ("form", "octet"), [(b"a=%ff", "0xFF"), (b"%c3=1", "0xC3"), (b"a=\xfc", "0xFC"), (b"a=%ed%a0%80", "0xED")]
)
def test_what_is_not_utf8_is_refused(form: bytes, octet: str) -> None:
    with pytest.raises(InvalidInput, match=f"The form is not valid UTF-8: the octet {octet}"):
        read(form)


@pytest.mark.parametrize("shift", range(8))
def test_a_large_value_is_read_as_a_small_one(shift: int) -> None:
    text = "x" * shift + "ü+ %&=" * 40_000
    assert read(urlencode({"a": text, "b": "%41"})) == {"a": text, "b": "%41"}


def test_fields_and_levels_are_bounded() -> None:
    assert len(read("&".join(f"{number}=" for number in range(50)))) == 50
    with pytest.raises(TooLarge, match="more than 50 fields"):
        read("&".join(f"{number}=" for number in range(51)))
    assert read("a[b][c][d][e][f]=1")["a"]
    for deep in ("a[b][c][d][e][f][g]=1", "to=" + "[" * 2000 + "]" * 2000, "a" + "[b]" * 10_000):
        with pytest.raises(InvalidInput, match="must be at most 5 levels deep") as refused:
            read(deep)
        assert refused.value.problems[0].field == (deep[: 1 if deep[0] == "a" else 2],)


def encoded(mapping: dict[str, Any]) -> str:
    """As PHP's http_build_query writes it."""
    return urlencode([pair for name, value in mapping.items() for pair in _pairs(name, value)])


def _pairs(name: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, str):
        return [(name, value)]
    below = enumerate(value) if isinstance(value, list) else value.items()
    return [pair for key, inner in below for pair in _pairs(f"{name}[{key}]", inner)]


READ_OTHERWISE = ("to", "cc", "bcc", "attachment", "attachments", "template_data")
NAMES = st.text().filter(lambda name: "[" not in name and name not in READ_OTHERWISE)
KEYS = st.text(min_size=1).filter(lambda key: "]" not in key and not key.isdecimal())
VALUES = st.recursive(
    st.text(),
    lambda inner: st.lists(inner, min_size=1, max_size=4) | st.dictionaries(KEYS, inner, min_size=1, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(NAMES, st.text(), max_size=8))
def test_any_mapping_of_strings_survives(mapping: dict[str, str]) -> None:
    assert read(urlencode(mapping)) == mapping


@given(st.dictionaries(NAMES.filter(bool), VALUES, max_size=4))
def test_any_nested_mapping_of_strings_survives(mapping: dict[str, Any]) -> None:
    assert read(encoded(mapping), max_fields=1000, max_depth=100) == mapping


@given(st.one_of(st.binary(), st.from_regex(rb"((to|a|template_data)?(\[[a0-9]?\]?){0,4}[=&][%\[{}\]\"a]{0,5}){0,6}")))
def test_any_octets_are_read_or_refused(form: bytes) -> None:
    with suppress(InvalidInput, TooLarge):
        assert isinstance(read(form), dict)
