"""How a check of a domain came out. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from app.domains.key_pair import DnsRecord
from app.outbound.dns import DnsStatus


class CheckStatus(StrEnum):
    """OK. MISSING: nothing is published. BROKEN: what is published is no valid record, or there are several where one
    may be. MISMATCH: it is valid, and says something else than is needed. UNKNOWN: the DNS could not tell,
    or it is not known from where the mail leaves."""

    OK = "OK"
    MISSING = "MISSING"
    BROKEN = "BROKEN"
    MISMATCH = "MISMATCH"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked: how it came out, in one sentence that says what to do; what the DNS has; what it said
    when asked; and the record to publish, where one is to be."""

    status: CheckStatus
    sentence: str
    evidence: tuple[str, ...] = ()
    dns: DnsStatus | None = None
    record: DnsRecord | None = None


def unknown(status: DnsStatus, name: str) -> Finding:
    """What cannot be known, because the answer is not sure."""
    return Finding(CheckStatus.UNKNOWN, trouble(status, name), dns=status)


def trouble(status: DnsStatus, name: str) -> str:
    """The sentence for an answer that is not sure."""
    if status is DnsStatus.TIMED_OUT:
        return f"The DNS did not answer in time about {name}."
    return f"The DNS could not tell about {name} (SERVFAIL, or no resolver)."
