"""How a check of a domain came out. Pure."""

from enum import StrEnum

from app.outbound.dns import DnsStatus


class CheckStatus(StrEnum):
    """OK. MISSING: nothing is published. BROKEN: what is published is no valid record, or there are several where one
    may be. MISMATCH: it is valid, and says something else than is needed. UNAVAILABLE: the DNS could not tell."""

    OK = "OK"
    MISSING = "MISSING"
    BROKEN = "BROKEN"
    MISMATCH = "MISMATCH"
    UNAVAILABLE = "UNAVAILABLE"


def trouble(status: DnsStatus, name: str) -> str:
    """The sentence for an answer that is not sure."""
    if status is DnsStatus.TIMED_OUT:
        return f"The DNS did not answer in time about {name}."
    return f"The DNS could not tell about {name} (SERVFAIL, or no resolver)."
