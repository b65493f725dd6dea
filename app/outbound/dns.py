"""Look-ups in the DNS, with what kept an answer away told apart."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import dns.asyncresolver
import dns.exception
import dns.name
import dns.resolver
from dns.rdata import Rdata
from dns.rdtypes.ANY.TXT import TXT

RecordType = Literal["A", "AAAA", "MX", "TXT"]


class DnsStatus(StrEnum):
    """FOUND: there are records. NO_RECORD: the name is there, and has none of this type. NO_NAME: NXDOMAIN. FAILED:
    the resolver could not tell (SERVFAIL, REFUSED). TIMED_OUT: no answer in time."""

    FOUND = "FOUND"
    NO_RECORD = "NO_RECORD"
    NO_NAME = "NO_NAME"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"


@dataclass(frozen=True, slots=True)
class Answer:
    """The records as text, in the order of the answer: addresses; `10 mx.example`; the strings of a TXT joined."""

    status: DnsStatus
    records: tuple[str, ...] = ()

    @property
    def is_sure(self) -> bool:
        """Whether the DNS has said what there is, if only that there is nothing."""
        return self.status not in (DnsStatus.FAILED, DnsStatus.TIMED_OUT)


LookUp = Callable[[str, RecordType], Awaitable[Answer]]
"""From a name and a type to the answer; never raises."""


def dns_look_up(servers: Sequence[str], port: int, timeout: float) -> LookUp:
    """Ask these servers, or those of the system where there are none; each look-up has `timeout` seconds."""

    async def look_up(name: str, kind: RecordType) -> Answer:
        try:
            resolver = _resolver(servers, port, timeout)
            found = await resolver.resolve(f"{name.rstrip('.')}.", kind, raise_on_no_answer=False, lifetime=timeout)
        except (dns.resolver.NXDOMAIN, dns.name.LabelTooLong, dns.name.NameTooLong, dns.name.EmptyLabel):
            return Answer(DnsStatus.NO_NAME)
        except dns.exception.Timeout:
            return Answer(DnsStatus.TIMED_OUT)
        except (dns.exception.DNSException, OSError, UnicodeError):
            return Answer(DnsStatus.FAILED)
        records = tuple(_text(record) for record in found.rrset or ())
        return Answer(DnsStatus.FOUND if records else DnsStatus.NO_RECORD, records)

    return look_up


def bounded(look_up: LookUp, seconds: float) -> LookUp:
    """The same, each answer asked for once, and all look-ups together at an end `seconds` from now: what is not
    answered by then has timed out. Call it in the event loop."""
    ends_at = asyncio.get_running_loop().time() + seconds
    asked: dict[tuple[str, RecordType], asyncio.Task[Answer]] = {}

    async def ask(name: str, kind: RecordType) -> Answer:
        try:
            async with asyncio.timeout_at(ends_at):
                return await look_up(name, kind)
        except TimeoutError:
            return Answer(DnsStatus.TIMED_OUT)

    async def look_up_once(name: str, kind: RecordType) -> Answer:
        place = (name.lower().rstrip("."), kind)
        if place not in asked:
            asked[place] = asyncio.create_task(ask(name, kind))
        return await asyncio.shield(asked[place])

    return look_up_once


def _resolver(servers: Sequence[str], port: int, timeout: float) -> dns.asyncresolver.Resolver:
    resolver = dns.asyncresolver.Resolver(configure=not servers)
    if servers:
        resolver.nameservers = list(servers)
        resolver.port = port
    resolver.timeout = timeout
    return resolver


def _text(record: Rdata) -> str:
    if isinstance(record, TXT):
        return b"".join(record.strings).decode(errors="backslashreplace")
    return record.to_text().rstrip(".")
