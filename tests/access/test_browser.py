"""What a browser key is bound to: how origins are read, what is wrong with rules, and what is left of a grant."""

import json
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.browser import (
    BrowserLimits,
    BrowserRules,
    browser_columns,
    browser_rules_of,
    canonical,
    check_browser,
)
from app.access.client_address import client_subject
from app.access.principal import Action, GrantRule, for_browsers
from app.access.restrictions import Restrictions
from app.access.web_origin import canonical_origin
from app.limits.recipients import RecipientLimits

ONE, TWO, THREE = (UUID(int=number) for number in (1, 2, 3))
TEMPLATES = {ONE: True, TWO: False}
RULES = BrowserRules(
    ("https://example.com",), (ONE,), ("desk@owner.example",), True, RecipientLimits(per_minute=3, per_day=20)
)
SECRET = b"a secret of the test's own"

CANONICAL = {
    "https://example.com": "https://example.com",
    "HTTPS://Example.COM:443": "https://example.com",
    "https://example.com:8443": "https://example.com:8443",
    "https://bücher.example": "https://xn--bcher-kva.example",
    "https://[2001:DB8:0::1]:443": "https://[2001:db8::1]",
    "https://192.0.2.1": "https://192.0.2.1",
    "http://localhost:8080": "http://localhost:8080",
    "http://shop.localhost": "http://shop.localhost",
    "http://127.0.0.1:80": "http://127.0.0.1",
    "http://[::1]:3000": "http://[::1]:3000",
}
NONE = (
    "",
    "*",
    "null",
    "example.com",
    "https://",
    "https://*.example.com",
    "https://example.com/",
    "https://example.com/form",
    "https://example.com?x",
    "https://example.com#x",
    "https://user@example.com",
    "https://example.com:0",
    "https://example.com:65536",
    "https://example.com:",
    "https://example.com, https://other.example",
    "https://example.com\n",
    " https://example.com",
    "https://ex ample.com",
    "https://-a.example",
    "https://a..example",
    "https://example.com.",
    "https://256.1.1.1",
    "https://0x7f.1",
    "https://1.2.3",
    "https://[::g]",
    "https://[fe80::1%25eth0]",
    "http://example.com",
    "http://localhost.example.com",
    "http://192.168.1.1",
    "ftp://example.com",
    "file://",
    "chrome-extension://abc",
)


@pytest.mark.parametrize(("text", "origin"), CANONICAL.items())
def test_an_origin_is_stored_as_browsers_send_it(text: str, origin: str) -> None:
    assert canonical_origin(text) == origin
    assert canonical_origin(origin) == origin


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_origin_of_a_page(text: str) -> None:
    assert canonical_origin(text) is None


@given(st.text(max_size=40), st.sampled_from(["https://", "http://localhost", ""]))
def test_whatever_text_is_an_origin_or_none_and_stays_what_it_is(text: str, before: str) -> None:
    origin = canonical_origin(before + text)
    assert origin is None or (canonical_origin(origin) == origin and origin.isascii() and origin == origin.lower())


def wrong(rules: BrowserRules, most: BrowserLimits | None = None) -> Sequence[tuple[str, str]]:
    found = check_browser(rules, TEMPLATES, most or BrowserLimits())
    return [(".".join(problem.field), problem.code.value) for problem in found]


WRONG = {
    "nothing": (
        BrowserRules(()),
        [
            ("origins", "INVALID_INPUT"),
            ("templates", "INVALID_INPUT"),
            ("limitsPerClientAddress", "INVALID_INPUT"),
        ],
    ),
    "origins": (
        replace(RULES, origins=("https://a.example", "*", "HTTPS://A.EXAMPLE:443")),
        [("origins.1", "INVALID_INPUT"), ("origins.2", "INVALID_INPUT")],
    ),
    "templates": (
        replace(RULES, templates=(ONE, THREE, ONE)),
        [("templates.1", "TEMPLATE_NOT_FOUND"), ("templates.2", "INVALID_INPUT")],
    ),
    "recipients": (
        replace(RULES, recipients=("desk", "desk@owner.example", "desk@OWNER.example")),
        [("recipients.0", "INVALID_EMAIL"), ("recipients.2", "INVALID_INPUT")],
    ),
    "nobody to send to": (replace(RULES, recipients=(), templates=(ONE, TWO)), [("recipients", "NO_RECIPIENTS")]),
    "limits": (
        replace(RULES, limits=RecipientLimits(per_hour=0)),
        [("limitsPerClientAddress.perHour", "INVALID_INPUT")],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_everything_that_is_wrong_is_told_with_its_field(name: str) -> None:
    rules, problems = WRONG[name]
    assert wrong(rules) == problems


def test_what_is_right_and_what_is_too_much() -> None:
    assert wrong(RULES) == []
    assert wrong(replace(RULES, recipients=())) == []
    assert wrong(replace(RULES, recipients=("a@a.example", "b@a.example")), BrowserLimits(1, 1, 1)) == [
        ("recipients", "TOO_LARGE")
    ]


def test_the_columns_hold_the_rules() -> None:
    given = replace(RULES, origins=("HTTPS://Example.com:443",))
    columns = json.loads(json.dumps(browser_columns(canonical(given))))
    assert browser_rules_of(columns) == RULES
    assert browser_rules_of(browser_columns(None)) is None


@pytest.mark.parametrize(
    "damage",
    [
        {"restrictions": None},
        {"restrictions": {"templates": [], "recipients": [], "visitor_reply_to": True, "newer": 1}},
        {"restrictions": {"templates": []}},
        {"origins": None},
        {f"client_recipients_per_{span}": None for span in ("minute", "hour", "day")},
    ],
)
def test_rules_that_are_not_whole_leave_no_origin(damage: dict[str, object]) -> None:
    rules = browser_rules_of({**browser_columns(RULES), **damage})
    assert rules is not None
    assert rules.origins == ()


def test_of_a_grant_sending_is_left_from_templates_that_both_allow() -> None:
    everything = GrantRule(None, frozenset(Action), Restrictions(denied_senders=("*",)))
    assert for_browsers(everything, RULES) == GrantRule(
        None, frozenset({Action.SEND}), Restrictions(denied_senders=("*",), templates=(ONE,))
    )
    both = for_browsers(replace(everything, restrictions=Restrictions(templates=(TWO, ONE))), RULES)
    assert (both.actions, both.restrictions.templates) == (frozenset({Action.SEND}), (ONE,))
    neither = for_browsers(replace(everything, restrictions=Restrictions(templates=(TWO,))), RULES)
    assert neither.actions == frozenset()
    assert for_browsers(GrantRule(None, frozenset({Action.MANAGE_ACCESS})), RULES).actions == frozenset()


@given(st.ip_addresses(v=4), st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_a_client_is_an_ipv4_address_or_an_ipv6_network(v4: IPv4Address, v6: IPv6Address, host: int) -> None:
    def subject(address: object, key: UUID = ONE, secret: bytes = SECRET, prefix: int = 64) -> UUID:
        return client_subject(secret, key, str(address), prefix)

    neighbour = IPv6Address((int(v6) >> 64 << 64) | host)
    if v6.ipv4_mapped is None and neighbour.ipv4_mapped is None:
        assert subject(v6) == subject(neighbour)
        assert (subject(v6, prefix=128) == subject(neighbour, prefix=128)) is (v6 == neighbour)
        assert subject(v6) != subject(IPv6Address(int(v6) ^ 1 << 64))
    assert subject(v4) == subject(f"::ffff:{v4}")
    assert len({subject(v4), subject(IPv4Address(int(v4) ^ 1)), subject(v4, key=TWO), subject(v4, secret=b"x")}) == 4
    assert subject("testclient") == client_subject(SECRET, ONE, None, 64) != subject(v4)
