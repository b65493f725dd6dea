"""Look-ups, and what keeps an answer away."""

import asyncio

import dns.rcode

from app.outbound.dns import Answer, DnsStatus, RecordType, bounded, dns_look_up
from tests.domains.dns_server import DnsZone, dns_server

LONG = [f'"{"x" * 200}" "{number}"' for number in range(20)]
ZONE: DnsZone = {
    ("a.example", "A"): ["192.0.2.2", "192.0.2.1"],
    ("a.example", "TXT"): ['"v=DKIM1; " "p=\\195\\169"'],
    ("a.example", "MX"): ["10 mx.a.example."],
    ("null.example", "MX"): ["0 ."],
    ("long.example", "TXT"): LONG,
    ("refused.example", "A"): dns.rcode.REFUSED,
    ("broken.example", "A"): dns.rcode.SERVFAIL,
    ("silent.example", "A"): None,
}


async def test_answers_are_text_and_what_keeps_them_away_is_told_apart() -> None:
    async with dns_server(ZONE) as port:
        look_up = dns_look_up(["127.0.0.1"], port, 1)
        asked: list[tuple[str, RecordType]] = [
            ("a.example", "A"),
            ("A.example.", "TXT"),
            ("a.example", "MX"),
            ("null.example", "MX"),
            ("a.example", "AAAA"),
            ("b.example", "A"),
            ("broken.example", "A"),
            ("refused.example", "A"),
            ("silent.example", "A"),
            ("x" * 64, "A"),
            ("a..b", "A"),
        ]
        answers = await asyncio.gather(*(look_up(name, kind) for name, kind in asked))
        long = await look_up("long.example", "TXT")
    statuses = [(answer.status.value, answer.records) for answer in answers]
    assert (statuses[0][0], sorted(statuses[0][1])) == ("FOUND", ["192.0.2.1", "192.0.2.2"])
    assert statuses[1:] == [
        ("FOUND", ("v=DKIM1; p=é",)),
        ("FOUND", ("10 mx.a.example",)),
        ("FOUND", ("0 ",)),
        ("NO_RECORD", ()),
        ("NO_NAME", ()),
        ("FAILED", ()),
        ("FAILED", ()),
        ("TIMED_OUT", ()),
        ("NO_NAME", ()),
        ("NO_NAME", ()),
    ]
    assert (long.status, len(long.records)) == (DnsStatus.FOUND, len(LONG))


async def test_all_look_ups_together_have_an_end_and_none_is_made_twice() -> None:
    asked: list[str] = []

    async def look_up(name: str, kind: RecordType) -> Answer:
        asked.append(name)
        if name == "silent.example":
            await asyncio.Event().wait()
        return Answer(DnsStatus.NO_NAME)

    together = bounded(look_up, 0.05)
    names = ("a.example", "A.example.", "silent.example")
    found = await asyncio.gather(*(together(name, "A") for name in names))
    assert [answer.status.value for answer in found] == ["NO_NAME", "NO_NAME", "TIMED_OUT"]
    assert asked == ["a.example", "silent.example"]
