"""The DNS tree walk, and the policy it ends at."""

import pytest

from app.domains.dmarc import walk_tree
from app.outbound.dns import Answer, DnsStatus, RecordType
from tests.domains.dns_answers import Zone, answering

LONG = "a.b.c.d.e.f.g.h.i.j.mail.example.com"


def zone(**records: str) -> Zone:
    return {(f"_dmarc.{domain.replace('_', '.')}", "TXT"): [f"v=DMARC1{tags}"] for domain, tags in records.items()}


@pytest.mark.parametrize(
    ("domain", "records", "organisational", "policy"),
    [
        ("example.com", zone(example_com="; p=reject"), "example.com", "reject"),
        ("a.b.example.com", zone(example_com="; p=reject; sp=quarantine"), "example.com", "quarantine"),
        ("a.b.example.com", zone(example_com=";p=reject"), "example.com", "reject"),
        ("b.example.com", zone(b_example_com="; p=none", example_com="; p=reject"), "example.com", "none"),
        ("a.b.example.com", zone(b_example_com="; p=none; psd=n", example_com="; p=reject"), "b.example.com", "none"),
        ("a.example.gov.x", zone(gov_x="; p=reject; psd=y"), "example.gov.x", "reject"),
        ("gov.x", zone(gov_x="; p=reject; psd=y"), "gov.x", "reject"),
        (LONG, zone(example_com="; p=reject"), "example.com", "reject"),
        ("example.com", zone(example_com=""), "example.com", "none"),
        ("example.com", zone(example_com="; p=nonsense"), "example.com", "none"),
        ("example.com", zone(other_com="; p=reject"), "example.com", None),
        ("example.com", {("_dmarc.example.com", "TXT"): ["v=DMARC1; p=none", "v=DMARC1"]}, "example.com", None),
        ("example.com", {("_dmarc.example.com", "TXT"): ["p=none; v=DMARC1", "v=DMARC12; p=x"]}, "example.com", None),
    ],
)
async def test_the_walk_finds_policy_and_organisational_domain(
    domain: str, records: Zone, organisational: str, policy: str | None
) -> None:
    walk = await walk_tree(domain, answering(records))
    assert walk.organisational == organisational
    assert (walk.applies.policy(domain) if walk.applies else None) == policy


async def test_a_long_name_costs_eight_queries() -> None:
    asked: list[str] = []

    async def look_up(name: str, kind: RecordType) -> Answer:
        asked.append(name)
        return Answer(DnsStatus.TIMED_OUT if name == "_dmarc.com" else DnsStatus.NO_NAME)

    walk = await walk_tree(LONG, look_up)
    assert asked[:2] == [f"_dmarc.{LONG}", "_dmarc.g.h.i.j.mail.example.com"]
    assert (len(asked), asked[-1]) == (8, "_dmarc.com")
    assert walk.unsure == ("_dmarc.com", Answer(DnsStatus.TIMED_OUT))
