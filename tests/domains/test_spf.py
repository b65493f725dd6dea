"""check_host on records of every kind."""

from ipaddress import ip_address

import pytest

from app.domains.spf import SpfResult, check_host
from app.domains.spf_record import expand
from app.outbound.dns import DnsStatus
from tests.domains.dns_answers import Zone, answering

OTHERS: Zone = {
    ("inc.example", "TXT"): ["v=spf1 ip4:192.0.2.0/24 -all"],
    ("soft.example", "TXT"): ["v=spf1 ~all"],
    ("none.example", "TXT"): ["other"],
    ("twice.example", "TXT"): ["v=spf1 -all", "v=spf1 +all"],
    ("loop.example", "TXT"): ["v=spf1 include:loop.example -all"],
    ("slow.example", "TXT"): DnsStatus.TIMED_OUT,
    ("host.example", "A"): ["192.0.2.7"],
    ("host.example", "AAAA"): ["2001:db8::7"],
    ("host.example", "MX"): ["10 mx.example", "20 host.example"],
    ("mx.example", "A"): ["198.51.100.1"],
    ("many.example", "MX"): [f"10 mx{number}.example" for number in range(11)],
    ("7.2.0.192.in-addr.me.d.example", "A"): ["127.0.0.2"],
    ("down.example", "A"): DnsStatus.FAILED,
}
RESULTS = {
    "v=spf1": "neutral",
    "v=spf1 all": "pass",
    "V=SPF1  -ALL": "fail",
    "v=spf1 ip4:192.0.2.7 -all": "pass",
    "v=spf1 ip4:192.0.2.128/25 ~all": "softfail",
    "v=spf1 ip6:2001:db8::/32 ?all": "neutral",
    "v=spf1 include:inc.example -all": "pass",
    "v=spf1 include:soft.example -all": "fail",
    "v=spf1 include:none.example -all": "permerror",
    "v=spf1 include:absent.example -all": "permerror",
    "v=spf1 include:twice.example -all": "permerror",
    "v=spf1 include:slow.example -all": "temperror",
    "v=spf1 include:loop.example -all": "permerror",
    "v=spf1 redirect=inc.example": "pass",
    "v=spf1 redirect=soft.example": "softfail",
    "v=spf1 redirect=none.example": "permerror",
    "v=spf1 redirect=soft.example +all": "pass",
    "v=spf1 a:host.example -all": "pass",
    "v=spf1 a:mx.example -all": "fail",
    "v=spf1 a:mx.example/1 -all": "pass",
    "v=spf1 a:mx.example//32 -all": "fail",
    "v=spf1 mx:host.example -all": "pass",
    "v=spf1 mx:many.example -all": "permerror",
    "v=spf1 a:down.example -all": "temperror",
    "v=spf1 exists:%{ir}.%{v}.%{l}.%{d1}.example -all": "fail",
    "v=spf1 exists:%{ir}.%{v}.%{l}.%{o1r}.example -all": "pass",
    "v=spf1 exists:%{ir}.%{v}.%{l}.d.example -all": "pass",
    "v=spf1 ptr -all": "fail",
    "v=spf1 unknown=x exp=explain.example -all": "fail",
    "v=spf1 a:one.example a:two.example -all": "fail",
    "v=spf1 a:one.example a:two.example a:three.example -all": "permerror",
    f"v=spf1 {' '.join(['a:host6.example'] * 11)} -all": "permerror",
    "v=spf1 ip4:192.0.2.300 -all": "permerror",
    "v=spf1 ip4:2001:db8::1 -all": "permerror",
    "v=spf1 ip4 -all": "permerror",
    "v=spf1 include -all": "permerror",
    "v=spf1 include:%{x}.example -all": "permerror",
    "v=spf1 a/33 -all": "permerror",
    "v=spf1 -all redirect=a.example redirect=b.example": "permerror",
    "v=spf1 all:x": "permerror",
    "v=spf1 foo -all": "permerror",
    "v=spf10 -all": "none",
}


@pytest.mark.parametrize("record", RESULTS)
async def test_the_result_of_a_record(record: str) -> None:
    zone = {**OTHERS, ("d.example", "TXT"): ["unrelated", record], ("host6.example", "AAAA"): ["2001:db8::9"]}
    zone |= {("host6.example", "A"): ["198.51.100.9"]}
    verdict = await check_host(ip_address("192.0.2.7"), "me@d.example", answering(zone))
    assert (verdict.result, bool(verdict.reason)) == (RESULTS[record], True), verdict.reason
    assert verdict.records == (() if verdict.result is SpfResult.NONE else (record,))


@pytest.mark.parametrize(
    ("zone", "result", "status"),
    [
        ({}, "none", DnsStatus.NO_NAME),
        ({("d.example", "A"): ["192.0.2.1"]}, "none", DnsStatus.NO_RECORD),
        ({("d.example", "TXT"): DnsStatus.FAILED}, "temperror", DnsStatus.FAILED),
        ({("d.example", "TXT"): DnsStatus.TIMED_OUT}, "temperror", DnsStatus.TIMED_OUT),
        ({("d.example", "TXT"): ["v=spf1 -all", "v=spf1 all"]}, "permerror", DnsStatus.FOUND),
    ],
)
async def test_what_keeps_a_record_away_is_told_apart(zone: Zone, result: str, status: DnsStatus) -> None:
    verdict = await check_host(ip_address("192.0.2.7"), "me@d.example", answering(zone))
    assert (verdict.result, verdict.status) == (result, status)
    assert len(verdict.records) == (2 if result == "permerror" else 0)


async def test_an_ipv6_address_is_looked_for_among_its_own() -> None:
    zone = {**OTHERS, ("d.example", "TXT"): ["v=spf1 ip4:192.0.2.0/24 a:host.example//120 -all"]}
    assert (await check_host(ip_address("2001:db8::8"), "me@d.example", answering(zone))).result == "pass"
    assert (await check_host(ip_address("2001:db8::1:8"), "me@d.example", answering(zone))).result == "fail"


@pytest.mark.parametrize(
    ("macro", "expanded"),
    [
        ("%{s}", "strong-bad@email.example.com"),
        ("%{o}.%{d}", "email.example.com.email.example.com"),
        ("%{d2}", "example.com"),
        ("%{dr}", "com.example.email"),
        ("%{d2r}", "example.email"),
        ("%{l-}", "strong.bad"),
        ("%{l1r-}.x", "strong.x"),
        ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
        ("a%%b", "a%b"),
        ("%{l1r+-}." + "x" * 60 + "." + "y" * 60 + "." + "z" * 60 + "." + "w" * 80, None),
    ],
)
def test_macros_are_expanded(macro: str, expanded: str | None) -> None:
    found = expand(macro, ip_address("192.0.2.3"), "strong-bad@email.example.com", "email.example.com")
    assert found == (expanded or ".".join((60 * "y", 60 * "z", 80 * "w")))
