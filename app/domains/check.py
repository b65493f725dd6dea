"""What the DNS says of a sender domain, held to what a service sends for it."""

import asyncio
from dataclasses import dataclass

from app.domains.check_dmarc import DmarcFinding, check_dmarc
from app.domains.check_spf import SpfServer, check_spf
from app.domains.domain import with_parents
from app.domains.key_pair import dkim_record
from app.domains.models import DkimKey, DkimKeyState
from app.domains.published import published_key
from app.domains.status import CheckStatus, Finding, unknown
from app.outbound.dns import DnsStatus, LookUp


@dataclass(frozen=True, slots=True)
class KeyFinding:
    """One of our keys, and how it is published."""

    key: DkimKey
    finding: Finding


@dataclass(frozen=True, slots=True)
class DomainCheck:
    """Everything that was checked of `domain`, in A-labels. `dkim`: each key that is to sign its mail, or did."""

    domain: str
    spf: Finding
    dkim: tuple[KeyFinding, ...]
    dmarc: DmarcFinding
    mx: Finding


async def check_domain(domain: str, server: SpfServer, look_up: LookUp) -> DomainCheck:
    """Check a domain in A-labels for mail from it through the server. Never raises for what the DNS does."""
    keys = await _keys_of(domain)
    spf, mx, *findings = await asyncio.gather(
        check_spf(domain, server, look_up), check_mx(domain, look_up), *(_check_key(key, look_up) for key in keys)
    )
    dkim = tuple(KeyFinding(key, finding) for key, finding in zip(keys, findings, strict=True))
    signing = [
        found.key.domain
        for found in dkim
        if found.key.state == DkimKeyState.ACTIVE and found.finding.status is CheckStatus.OK
    ]
    return DomainCheck(domain, spf, dkim, await check_dmarc(domain, spf.status, signing, look_up), mx)


async def _keys_of(domain: str) -> list[DkimKey]:
    """Those of the domain; and where none of them is active, those above it that sign its mail."""
    domains = with_parents(domain)
    found = await DkimKey.filter(domain__in=domains).order_by("id")
    own = [key for key in found if key.domain == domain]
    if any(key.state == DkimKeyState.ACTIVE for key in own):
        return own
    for parent in domains[1:]:
        for_all = [key for key in found if key.domain == parent and key.subdomains and key.state == DkimKeyState.ACTIVE]
        if for_all:
            return own + for_all
    return own


async def _check_key(key: DkimKey, look_up: LookUp) -> Finding:
    found = await published_key(key, look_up)
    record = dkim_record(key.domain, key.selector, key.algorithm, key.public_key)
    evidence = tuple(found.answer.records)
    if key.state == DkimKeyState.RETIRED:
        sentence = f"{found.sentence} The key signs no more: the record may go once the last mail has arrived."
        return Finding(found.status, sentence, evidence, found.answer.status)
    sentence = found.sentence if found.matches else f"{found.sentence} Publish the record of this key."
    wanted = None if found.matches or found.status is CheckStatus.UNKNOWN else record
    return Finding(found.status, sentence, evidence, found.answer.status, wanted)


async def check_mx(domain: str, look_up: LookUp) -> Finding:
    """Whether replies to the domain, and reports of what could not be delivered, have somewhere to go."""
    answer = await look_up(domain, "MX")
    if not answer.is_sure:
        return unknown(answer.status, domain)
    if answer.status is DnsStatus.NO_NAME:
        sentence = f"There is no domain {domain}: many receivers refuse mail from it."
        return Finding(CheckStatus.MISSING, sentence, dns=answer.status)
    if not answer.records:
        sentence = f"{domain} has no MX record, so replies and bounces go to the host itself, if at all."
        return Finding(CheckStatus.MISSING, sentence, dns=answer.status)
    if [record.split()[1:] for record in answer.records] == [[]]:
        sentence = f"{domain} takes no mail (a null MX, RFC 7505): many receivers refuse mail from such a domain."
        return Finding(CheckStatus.MISMATCH, sentence, answer.records, answer.status)
    return Finding(CheckStatus.OK, f"{domain} takes mail.", answer.records, answer.status)
