"""Output types of sender domains: DKIM keys, and what the DNS says."""

from datetime import datetime
from typing import Self

import strawberry

from app.database.key import public_id
from app.domains import check, models
from app.domains.key_pair import DnsRecord as Record
from app.domains.key_pair import dkim_record
from app.domains.models import DkimAlgorithm, DkimKeyState
from app.domains.status import CheckStatus
from app.domains.status import Finding as Found
from app.graphql.types import Node
from app.outbound.dns import DnsStatus

strawberry.enum(
    DkimAlgorithm,
    description="RSA: rsa-sha256 with 2048 bits or more, which every receiver verifies. ED25519: ed25519-sha256"
    " (RFC 8463), short, which some do; use it beside an RSA key.",
)
strawberry.enum(
    DkimKeyState,
    description="NEW: signs nothing yet. ACTIVE: signs. RETIRED: signs no more; its record stays published until the"
    " mail it signed has arrived.",
)
strawberry.enum(
    CheckStatus,
    description="OK: as it should be. MISSING: nothing is published. BROKEN: what is published is no valid record, or"
    " there are several where one may be. MISMATCH: it is valid, and says something else than is needed. UNKNOWN: the"
    " DNS could not tell, or it is not known from where the mail leaves.",
)
strawberry.enum(
    DnsStatus,
    description="FOUND: there are records. NO_RECORD: the name is there, without a record of the type. NO_NAME: there"
    " is no such name (NXDOMAIN). FAILED: the resolver could not tell (SERVFAIL). TIMED_OUT: no answer in time.",
)


@strawberry.type(description="A record to publish in the DNS.")
class DnsRecord:
    name: str = strawberry.field(description="Its whole name, without a dot at the end.")
    type: str = strawberry.field(description="Its type, for example TXT.")
    value: str = strawberry.field(description="Its value, as the forms of DNS providers take it.")
    strings: list[str] = strawberry.field(description="The value in parts of at most 255 octets, for zone files.")

    @classmethod
    def of(cls, record: Record) -> Self:
        return cls(name=record.name, type=record.type, value=record.value, strings=record.strings)


@strawberry.type(description="A key that signs mail of a domain (DKIM, RFC 6376). Its private half is never readable.")
class DkimKey(Node):
    domain: str = strawberry.field(description="The domain of From whose mail it signs, in A-labels.")
    selector: str = strawberry.field(description="Its name within the domain.")
    algorithm: DkimAlgorithm = strawberry.field(description="How it signs.")
    state: DkimKeyState = strawberry.field(description="Whether it signs.")
    subdomains: bool = strawberry.field(
        description="Whether it also signs mail of subdomains that have no active key of their own."
    )
    dns_record: DnsRecord = strawberry.field(description="The record to publish before it is activated.")
    created_at: datetime = strawberry.field(description="When it was made.")
    activated_at: datetime | None = strawberry.field(description="When it was last activated.")
    retired_at: datetime | None = strawberry.field(description="When it was retired.")

    @classmethod
    def of(cls, row: models.DkimKey) -> Self:
        return cls(
            id=strawberry.ID(public_id("dkim", row.id)),
            domain=row.domain,
            selector=row.selector,
            algorithm=DkimAlgorithm(row.algorithm),
            state=DkimKeyState(row.state),
            subdomains=row.subdomains,
            dns_record=DnsRecord.of(dkim_record(row.domain, row.selector, row.algorithm, row.public_key)),
            created_at=row.created_at,
            activated_at=row.activated_at,
            retired_at=row.retired_at,
        )


@strawberry.type(description="One thing that was checked in the DNS.")
class DnsFinding:
    status: CheckStatus = strawberry.field(description="How it came out.")
    sentence: str = strawberry.field(description="What is so, and what to do about it.")
    evidence: list[str] = strawberry.field(description="The records that were found.")
    dns: DnsStatus | None = strawberry.field(description="What the DNS said when it was asked last.")
    record: DnsRecord | None = strawberry.field(description="The record to publish, in place of what is there.")

    @classmethod
    def of(cls, found: Found) -> Self:
        return cls(
            status=found.status,
            sentence=found.sentence,
            evidence=list(found.evidence),
            dns=found.dns,
            record=DnsRecord.of(found.record) if found.record else None,
        )


@strawberry.type(description="How one of our keys is published.")
class DkimCheck:
    domain: str = strawberry.field(description="The key's domain.")
    selector: str = strawberry.field(description="The key's selector.")
    algorithm: DkimAlgorithm = strawberry.field(description="How the key signs.")
    state: DkimKeyState = strawberry.field(description="Whether the key signs.")
    finding: DnsFinding = strawberry.field(description="Whether what is published is our key.")

    @classmethod
    def of(cls, found: check.KeyFinding) -> Self:
        key = found.key
        return cls(
            domain=key.domain,
            selector=key.selector,
            algorithm=DkimAlgorithm(key.algorithm),
            state=DkimKeyState(key.state),
            finding=DnsFinding.of(found.finding),
        )


@strawberry.type(description="The DMARC policy of a domain, and whether its mail passes (RFC 9989).")
class DmarcCheck:
    finding: DnsFinding = strawberry.field(description="Whether there is a policy, and mail passes it.")
    organisational_domain: str = strawberry.field(description="The domain at the root of it, by the DNS tree walk.")
    policy: str | None = strawberry.field(
        description="What is asked for with mail that fails: none, quarantine, reject."
    )
    spf_aligned: bool = strawberry.field(
        description="Whether SPF passes for From: the reverse-path that leaves here is From itself."
    )
    dkim_aligned: bool = strawberry.field(description="Whether an active key that is published is aligned with From.")


@strawberry.type(description="What the DNS says of a sender domain, held to what a service sends for it.")
class DomainCheck:
    domain: str = strawberry.field(description="The domain, in A-labels.")
    spf: DnsFinding = strawberry.field(description="Whether SPF lets the service's server send.")
    dkim: list[DkimCheck] = strawberry.field(
        description="Each key of ours for the domain; none: its mail leaves here unsigned."
    )
    dmarc: DmarcCheck = strawberry.field(description="The policy, and whether mail passes it.")
    mx: DnsFinding = strawberry.field(description="Whether replies and bounces have somewhere to go.")

    @classmethod
    def of(cls, found: check.DomainCheck) -> Self:
        dmarc = found.dmarc
        return cls(
            domain=found.domain,
            spf=DnsFinding.of(found.spf),
            dkim=[DkimCheck.of(key) for key in found.dkim],
            dmarc=DmarcCheck(
                finding=DnsFinding.of(dmarc.finding),
                organisational_domain=dmarc.organisational_domain,
                policy=dmarc.policy,
                spf_aligned=dmarc.spf_aligned,
                dkim_aligned=dmarc.dkim_aligned,
            ),
            mx=DnsFinding.of(found.mx),
        )
