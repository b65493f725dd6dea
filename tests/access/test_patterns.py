"""Patterns: which texts are one, and which addresses each of them matches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.patterns import Patterns, is_pattern, pattern_key


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "ada@example.com",
        "*@example.com",
        "*@*.example.com",
        "ada@*.example.com",
        "*@bücher.example",
        '"a b"@example.com',
        "*@[192.0.2.1]",
        "*@*.com",
    ],
)
def test_it_is_a_pattern(text: str) -> None:
    assert is_pattern(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "**",
        "*@",
        "*@*",
        "*@*.",
        "@example.com",
        "example.com",
        "a*b c@example.com",
        "*@*.*.com",
        "*@a.*.com",
        "*@*.[192.0.2.1]",
        "*@example.com\n",
        " *@example.com",
        "Ada <ada@example.com>",
        "ada@example.com,eve@example.com",
        "*@" + "a" * 300,
        "\x00@example.com",
        "\ud800@example.com",
    ],
)
def test_it_is_none(text: str) -> None:
    assert not is_pattern(text)


@pytest.mark.parametrize(
    ("pattern", "email", "allows", "denies"),
    [
        ("*", "ada@[192.0.2.1]", True, True),
        ("ada@example.com", "ada@EXAMPLE.com", True, True),
        ("ada@example.com", "Ada@example.com", False, True),
        ("ada@example.com", '"ada"@example.com', False, True),
        ("ada@example.com", '"a\\da"@example.com', False, True),
        ("ada@example.com", "\uff41da@example.com", False, True),
        ("STRASSE@example.com", "straße@example.com", False, True),
        ("ada@example.com", "ada@sub.example.com", False, False),
        ("ada@example.com", "ada+x@example.com", False, False),
        ("*@example.com", "anyone@example.com", True, True),
        ("*@example.com", "anyone@sub.example.com", False, False),
        ("*@example.com", "anyone@badexample.com", False, False),
        ("*@example.com", "anyone@example.com.evil.example", False, False),
        ("*@*.example.com", "anyone@a.b.example.com", True, True),
        ("*@*.example.com", "anyone@example.com", False, False),
        ("*@*.example.com", "anyone@badexample.com", False, False),
        ("ada@*.example.com", "ada@a.example.com", True, True),
        ("ada@*.example.com", "eve@a.example.com", False, False),
        ("*@BÜCHER.example", "a@xn--bcher-kva.example", True, True),
        ("*@xn--bcher-kva.example", "a@bücher.EXAMPLE", True, True),
        ("*@*.bücher.example", "a@ä.bücher.example", True, True),
        ("*@[IPv6:::1]", "a@[IPv6:0:0:0:0:0:0:0:1]", True, True),
        ("*@[192.0.2.1]", "a@[192.0.2.2]", False, False),
        ('"*"@example.com', "ada@example.com", False, False),
        ('"*"@example.com', "*@example.com", False, True),
    ],
)
def test_an_address_matches_exactly_where_it_is_allowed_and_loosely_where_it_is_denied(
    pattern: str, email: str, allows: bool, denies: bool
) -> None:
    assert is_pattern(pattern)
    assert (Patterns([pattern]).match(email) == pattern) == allows
    assert (Patterns([pattern], loosely=True).match(email) == pattern) == denies


def test_the_closest_pattern_is_named() -> None:
    patterns = ["*", "*@*.com", "*@example.com", "ada@example.com", "*@*.example.com"]
    assert Patterns(patterns).match("ada@example.com") == "ada@example.com"
    assert Patterns(patterns).match("eve@example.com") == "*@example.com"
    assert Patterns(patterns).match("eve@a.example.com") == "*@*.example.com"
    assert Patterns(patterns).match("eve@other.com") == "*@*.com"
    assert Patterns(patterns).match("eve@other.org") == "*"
    assert Patterns([]).match("eve@other.org") is None


labels = st.lists(st.sampled_from(["a", "b", "com", "ä"]), min_size=1, max_size=4)


@given(labels, labels, st.booleans())
def test_a_domain_is_below_exactly_those_it_ends_with(domain: list[str], parent: list[str], loosely: bool) -> None:
    expected = len(domain) > len(parent) and domain[-len(parent) :] == parent
    found = Patterns([f"*@*.{'.'.join(parent)}"], loosely=loosely).match(f"x@{'.'.join(domain)}")
    assert (found is not None) == expected


def test_two_spellings_of_one_pattern_have_one_key() -> None:
    assert pattern_key("*@*.BÜCHER.example") == pattern_key("*@*.xn--bcher-kva.example")
    assert pattern_key("Ada@example.com") != pattern_key("ada@example.com")
    assert pattern_key("Ada@example.com", loosely=True) == pattern_key("ada@example.com", loosely=True)
