"""What checkDomain finds, and what it says to publish."""

from typing import Any

import pytest

from app.domains.check import DomainCheck, check_domain
from app.domains.check_spf import SpfServer
from app.domains.key_pair import dkim_record
from app.domains.manage import activate_dkim_key, generate_dkim_key, retire_dkim_key
from app.domains.models import DkimAlgorithm, DkimKey
from app.domains.status import CheckStatus, Finding
from app.outbound.dns import DnsStatus
from app.services.secret import Sealer
from app.settings import Settings
from tests.domains.dns_answers import Zone, answering

SEALER = Sealer(["k" * 32])
SPF, DMARC = ("example.com", "TXT"), ("_dmarc.example.com", "TXT")
HOST: Zone = {("smtp.example.net", "A"): ["192.0.2.7"], ("smtp.example.net", "AAAA"): ["2001:db8::7"]}
GOOD: Zone = {
    **HOST,
    SPF: ["v=spf1 a:smtp.example.net -all"],
    DMARC: ["v=DMARC1; p=reject"],
    ("example.com", "MX"): ["10 mx.example.com"],
}
SERVER = SpfServer("smtp.example.net")


async def checked(zone: Zone, server: SpfServer = SERVER, domain: str = "example.com") -> DomainCheck:
    return await check_domain(domain, server, answering({**HOST, **zone}))


async def make(selector: str, domain: str = "example.com", **more: Any) -> DkimKey:
    key = await generate_dkim_key(domain, selector, DkimAlgorithm.ED25519, None, SEALER, **more)
    return await activate_dkim_key(key.id, None, answering({}), force=True)


def published(key: DkimKey) -> Zone:
    record = dkim_record(key.domain, key.selector, key.algorithm, key.public_key)
    return {(record.name, "TXT"): [record.value]}


def told(finding: Finding) -> tuple[str, str | None]:
    return finding.status.value, finding.record.value if finding.record else None


async def test_what_is_right_is_found_so(sqlite_database: Settings) -> None:
    found = await checked({**GOOD, **published(await make("s1"))})
    findings = [found.spf, found.dkim[0].finding, found.dmarc.finding, found.mx]
    assert [told(finding) for finding in findings] == [("OK", None)] * 4
    assert found.dmarc.finding.sentence.endswith(
        "asks for reject, and mail from example.com passes it by SPF and DKIM."
    )


@pytest.mark.parametrize(
    ("records", "status", "wanted"),
    [
        (None, "MISSING", "v=spf1 a:smtp.example.net ~all"),
        (["v=spf1 ip4:198.51.100.1 -all"], "MISMATCH", "v=spf1 a:smtp.example.net ip4:198.51.100.1 -all"),
        (["v=spf1 ip4:192.0.2.7 -all"], "MISMATCH", "v=spf1 a:smtp.example.net ip4:192.0.2.7 -all"),
        (["v=spf1 ip4:192.0.2.7 ip6:2001:db8::/64 -all"], "OK", None),
        (["v=spf1 -all", "v=spf1 +all"], "BROKEN", None),
        (["v=spf1 ipv4:192.0.2.7 -all"], "BROKEN", None),
        (DnsStatus.FAILED, "UNKNOWN", None),
        (DnsStatus.TIMED_OUT, "UNKNOWN", None),
    ],
)
async def test_spf(sqlite_database: Settings, records: Any, status: str, wanted: str | None) -> None:
    found = await checked({SPF: records} if records else {})
    assert told(found.spf) == (status, wanted), found.spf.sentence
    assert found.spf.dns is (records if isinstance(records, DnsStatus) else found.spf.dns)


async def test_a_providers_include_is_looked_for_instead_of_its_hosts_address(sqlite_database: Settings) -> None:
    server = SpfServer("smtp.example.net", spf_include="spf.example.net")
    zone: Zone = {("spf.example.net", "TXT"): ["v=spf1 ip4:203.0.113.0/24 -all"]}
    statuses = {"v=spf1 include:spf.example.net ~all": "OK", "v=spf1 a:smtp.example.net ~all": "MISMATCH"}
    for record, status in statuses.items():
        assert (await checked({**zone, SPF: [record]}, server)).spf.status == status
    assert told((await checked(zone, server)).spf) == ("MISSING", "v=spf1 include:spf.example.net ~all")


@pytest.mark.parametrize("host", [None, "10.0.0.1", "127.0.0.1"])
async def test_where_the_outgoing_address_is_not_known_nothing_is_claimed(
    sqlite_database: Settings, host: str | None
) -> None:
    found = await checked({SPF: ["v=spf1 -all"], DMARC: ["v=DMARC1; p=reject"]}, SpfServer(host))
    assert (found.spf.status, found.dmarc.finding.status) == (CheckStatus.UNKNOWN, CheckStatus.UNKNOWN)
    assert (await checked({SPF: ["v=spf1 foo"]}, SpfServer(host))).spf.status is CheckStatus.BROKEN
    assert told((await checked({}, SpfServer(host))).spf) == ("MISSING", None)


async def test_a_host_without_an_address_is_told(sqlite_database: Settings) -> None:
    found = await checked(GOOD, SpfServer("gone.example.net"))
    assert (found.spf.status, "gone.example.net" in found.spf.sentence) == (CheckStatus.UNKNOWN, True)


async def test_each_key_is_compared_with_what_is_published(sqlite_database: Settings) -> None:
    key, other = await make("s1"), await make("s2", "other.example", subdomains=True)
    mismatch = {("s1._domainkey.example.com", "TXT"): ["v=DKIM1; k=ed25519; p=AAAA"]}
    for zone, status in (({}, "MISSING"), (mismatch, "MISMATCH")):
        (found,) = (await checked({**GOOD, **zone})).dkim
        assert told(found.finding) == (status, published(key)["s1._domainkey.example.com", "TXT"][0])
    (found,) = (await checked({**GOOD, **published(other)}, domain="a.b.other.example")).dkim
    assert (found.key.selector, found.finding.status) == ("s2", CheckStatus.OK)
    await retire_dkim_key(key.id, None)
    (found,) = (await checked({**GOOD, **published(key)})).dkim
    assert "the record may go" in found.finding.sentence
    assert (await checked(GOOD, domain="unsigned.example")).dkim == ()


async def test_a_signature_of_a_domain_above_is_aligned_unless_strictness_is_asked_for(
    sqlite_database: Settings,
) -> None:
    zone = {**HOST, **published(await make("s1", subdomains=True))}
    for policy, aligned, status in (("p=none", True, "OK"), ("p=none; adkim=s", False, "MISMATCH")):
        found = await checked({**zone, DMARC: [f"v=DMARC1; {policy}"]}, domain="news.example.com")
        assert (found.dmarc.dkim_aligned, found.dmarc.organisational_domain) == (aligned, "example.com")
        assert (found.dmarc.finding.status, found.dmarc.policy) == (status, "none")


@pytest.mark.parametrize(
    ("zone", "status", "wanted"),
    [
        ({}, "MISSING", "v=DMARC1; p=none"),
        ({DMARC: ["v=DMARC1; p=none", "v=DMARC1; p=reject"]}, "BROKEN", None),
        ({DMARC: ["v=DMARC1 p=none"]}, "BROKEN", None),
        ({DMARC: DnsStatus.FAILED}, "UNKNOWN", None),
        ({("_dmarc.com", "TXT"): DnsStatus.TIMED_OUT}, "UNKNOWN", None),
        ({DMARC: ["v=DMARC1; p=quarantine"]}, "MISMATCH", None),
    ],
)
async def test_dmarc(sqlite_database: Settings, zone: Zone, status: str, wanted: str | None) -> None:
    found = (await checked({SPF: ["v=spf1 -all"], **zone})).dmarc.finding
    assert told(found) == (status, wanted), found.sentence


@pytest.mark.parametrize(
    ("zone", "status"),
    [
        ({}, "MISSING"),
        ({("example.com", "A"): ["192.0.2.1"]}, "MISSING"),
        ({("example.com", "MX"): ["0 "]}, "MISMATCH"),
        ({("example.com", "MX"): DnsStatus.TIMED_OUT}, "UNKNOWN"),
    ],
)
async def test_mx(sqlite_database: Settings, zone: Zone, status: str) -> None:
    assert (await checked(zone)).mx.status == status
