"""Whether SPF lets an address send for a domain (RFC 7208). Pure: the DNS is a function passed in."""

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_network

from app.domains.spf_record import SpfRecord, SpfSyntaxError, Term, expand, is_spf, parse_spf
from app.outbound.dns import Answer, DnsStatus, LookUp, RecordType
from app.outbound.guard import Address

MOST_LOOK_UPS = 10
MOST_VOID_LOOK_UPS = 2
MOST_NAMES = 10
"""Section 4.6.4."""


class SpfResult(StrEnum):
    """Section 2.6."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"  # noqa: S105 - a result
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


_RESULTS = {"+": SpfResult.PASS, "-": SpfResult.FAIL, "~": SpfResult.SOFTFAIL, "?": SpfResult.NEUTRAL}


@dataclass(frozen=True, slots=True)
class SpfVerdict:
    """The result and its reason: the term that matched, or what is wrong. `records`: those of the domain itself, and
    `status`: what the DNS said when asked for them, or for what was last asked for before an error."""

    result: SpfResult
    reason: str
    records: tuple[str, ...] = ()
    status: DnsStatus = DnsStatus.FOUND


class _Ended(Exception):
    """The evaluation is over, with this verdict."""

    def __init__(self, result: SpfResult, reason: str, status: DnsStatus = DnsStatus.FOUND) -> None:
        super().__init__(reason)
        self.result = result
        self.status = status


async def check_host(address: Address, sender: str, look_up: LookUp) -> SpfVerdict:
    """The verdict on a mail from this address with this reverse-path; its domain is in A-labels. Never raises."""
    evaluation = _Evaluation(address, sender, look_up)
    domain = sender.rpartition("@")[2]
    try:
        result, reason = await evaluation.evaluate(await evaluation.record_of(domain), domain)
    except _Ended as ended:
        return SpfVerdict(ended.result, str(ended), evaluation.own or (), ended.status)
    return SpfVerdict(result, reason, evaluation.own or ())


@dataclass(slots=True)
class _Evaluation:
    """One check_host with all it includes, which shares its limits. `own`: the records of the domain itself."""

    address: Address
    sender: str
    look_up: LookUp
    terms: int = field(default=0, init=False)
    void: int = field(default=0, init=False)
    own: tuple[str, ...] | None = field(default=None, init=False)

    async def record_of(self, domain: str) -> SpfRecord:
        answer = await self.look_up(domain, "TXT")
        if not answer.is_sure:
            raise _unsure(answer, domain)
        texts = tuple(text for text in answer.records if is_spf(text))
        self.own = texts if self.own is None else self.own
        if not texts:
            raise _Ended(SpfResult.NONE, f"{domain} has no SPF record.", answer.status)
        if len(texts) > 1:
            raise _Ended(SpfResult.PERMERROR, f"{domain} has {len(texts)} SPF records; there may be one.")
        try:
            return parse_spf(texts[0])
        except SpfSyntaxError as error:
            reason = f"The SPF record of {domain} is broken: {error}."
            raise _Ended(SpfResult.PERMERROR, reason) from None

    async def evaluate(self, record: SpfRecord, domain: str) -> tuple[SpfResult, str]:
        for term in record.mechanisms:
            if await self._matches(term, domain):
                return _RESULTS[term.qualifier], f"{term.text} of {domain} matches."
        if record.redirect is None:
            return SpfResult.NEUTRAL, f"Nothing in the SPF record of {domain} matches."
        self._count()
        target = self._expanded(record.redirect, domain)
        try:
            redirected = await self.record_of(target)
        except _Ended as ended:
            raise _included(ended, target) from None
        return await self.evaluate(redirected, target)

    async def _matches(self, term: Term, domain: str) -> bool:
        match term.name:
            case "all":
                return True
            case "ip4" | "ip6":
                return self._is_in(term.value or "", None)
            case "ptr":
                self._count()
                return False  # not to be used (section 5.5), and not evaluated here
        self._count()
        target = self._expanded(term.value, domain) if term.value else domain
        match term.name:
            case "include":
                return await self._includes(target)
            case "exists":
                return bool((await self._ask(target, "A")).records)
            case "mx":
                return await self._has_mx(term, target)
        return await self._has_address(term, target)

    async def _includes(self, target: str) -> bool:
        try:
            record = await self.record_of(target)
        except _Ended as ended:
            raise _included(ended, target) from None
        result, _ = await self.evaluate(record, target)
        return result is SpfResult.PASS

    async def _has_mx(self, term: Term, target: str) -> bool:
        hosts = [record.split()[-1] for record in (await self._ask(target, "MX")).records]
        if len(hosts) > MOST_NAMES:
            raise _Ended(SpfResult.PERMERROR, f"{target} has over {MOST_NAMES} MX records.")
        for host in hosts:
            if await self._has_address(term, host):
                return True
        return False

    async def _has_address(self, term: Term, host: str) -> bool:
        kind: RecordType = "A" if self.address.version == 4 else "AAAA"
        return any(self._is_in(found, term) for found in (await self._ask(host, kind)).records)

    def _is_in(self, network: str, term: Term | None) -> bool:
        if term is not None:
            prefix = term.prefix4 if self.address.version == 4 else term.prefix6
            network = f"{network}/{prefix}"
        return self.address in ip_network(network, strict=False)

    async def _ask(self, name: str, kind: RecordType) -> Answer:
        answer = await self.look_up(name, kind)
        if not answer.is_sure:
            raise _unsure(answer, name)
        self.void += answer.status is not DnsStatus.FOUND
        if self.void > MOST_VOID_LOOK_UPS:
            raise _Ended(SpfResult.PERMERROR, f"Over {MOST_VOID_LOOK_UPS} look-ups find nothing, the last {name}.")
        return answer

    def _count(self) -> None:
        self.terms += 1
        if self.terms > MOST_LOOK_UPS:
            raise _Ended(SpfResult.PERMERROR, f"The SPF record needs over {MOST_LOOK_UPS} look-ups.")

    def _expanded(self, value: str, domain: str) -> str:
        return expand(value, self.address, self.sender, domain)


def _unsure(answer: Answer, name: str) -> _Ended:
    why = "did not answer in time" if answer.status is DnsStatus.TIMED_OUT else "failed"
    return _Ended(SpfResult.TEMPERROR, f"The look-up of {name} {why}.", answer.status)


def _included(ended: _Ended, target: str) -> _Ended:
    """What a domain that is included has no record for breaks the whole (section 5.2, 6.1)."""
    if ended.result is not SpfResult.NONE:
        return ended
    return _Ended(SpfResult.PERMERROR, f"{target}, which it includes, has no SPF record.", ended.status)
