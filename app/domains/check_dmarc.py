"""Whether DMARC passes for mail of a domain. Pure: the DNS is a function passed in."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domains.dmarc import DmarcRecord, Walk, dmarc_record, dmarc_texts, walk_tree
from app.domains.key_pair import DnsRecord
from app.domains.status import CheckStatus, Finding, unknown
from app.outbound.dns import LookUp


@dataclass(frozen=True, slots=True)
class DmarcFinding:
    """`policy`: what is asked for with mail that fails; None without a record. `*_aligned`: it passes, and for a
    domain that is aligned with From."""

    finding: Finding
    organisational_domain: str
    policy: str | None
    spf_aligned: bool
    dkim_aligned: bool


async def check_dmarc(domain: str, spf: CheckStatus, signing: Sequence[str], look_up: LookUp) -> DmarcFinding:
    """The finding for mail from this domain, of which the reverse-path is From itself. `signing`: the domains of its
    signatures that can be verified. Never raises."""
    walk = await walk_tree(domain, look_up)
    record = walk.applies
    strict = record is not None and record.is_strict("adkim")
    aligned = any([await _is_aligned(walk, other, strict, look_up) for other in signing])
    policy = record.policy(domain) if record else None
    finding = _finding(walk, record, spf, aligned)
    return DmarcFinding(finding, walk.organisational, policy, spf is CheckStatus.OK, aligned)


async def _is_aligned(walk: Walk, other: str, strict: bool, look_up: LookUp) -> bool:
    """Section 4.4: the same domain, or one of the same organisational domain."""
    if other == walk.domain:
        return True
    return not strict and (await walk_tree(other, look_up)).organisational == walk.organisational


def _finding(walk: Walk, record: DmarcRecord | None, spf: CheckStatus, dkim_aligned: bool) -> Finding:
    name = f"_dmarc.{walk.domain}"
    texts = dmarc_texts(walk.at_domain)
    if len(texts) > 1:
        sentence = f"There are {len(texts)} DMARC records at {name}, so none of them counts. Keep one."
        return Finding(CheckStatus.BROKEN, sentence, tuple(texts), walk.at_domain.status)
    if texts and dmarc_record(walk.domain, walk.at_domain) is None:
        sentence = f"The record at {name} is no valid DMARC record, and is ignored. It begins with v=DMARC1; p=none"
        return Finding(CheckStatus.BROKEN, f"{sentence} at least.", tuple(texts), walk.at_domain.status)
    if walk.unsure is not None and (record is None or record.domain != walk.domain):
        return unknown(walk.unsure[1].status, walk.unsure[0])
    if record is None:
        wanted = DnsRecord(name, "TXT", "v=DMARC1; p=none")
        sentence = f"Neither {walk.domain} nor a domain above it has a DMARC record. Publish one."
        return Finding(CheckStatus.MISSING, sentence, dns=walk.at_domain.status, record=wanted)
    return _judged(walk.domain, record, spf, dkim_aligned)


def _judged(domain: str, record: DmarcRecord, spf: CheckStatus, dkim_aligned: bool) -> Finding:
    asks = f"DMARC of {record.domain} asks for {record.policy(domain)}"
    spf_passes = spf is CheckStatus.OK
    if spf is CheckStatus.UNKNOWN and not dkim_aligned:
        sentence = f"{asks}; whether mail from {domain} passes is not known, because that of SPF is not."
        return Finding(CheckStatus.UNKNOWN, sentence, (record.text,))
    if not (spf_passes or dkim_aligned):
        sentence = f"{asks}, and mail from {domain} fails it: neither SPF nor DKIM passes for an aligned domain."
        return Finding(CheckStatus.MISMATCH, sentence, (record.text,))
    by = " and ".join([*(["SPF"] if spf_passes else []), *(["DKIM"] if dkim_aligned else [])])
    return Finding(CheckStatus.OK, f"{asks}, and mail from {domain} passes it by {by}.", (record.text,))
