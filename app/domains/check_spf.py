"""Whether SPF of a domain lets a service's server send for it. Pure: the DNS is a function passed in."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from app.domains.key_pair import DnsRecord
from app.domains.spf import SpfResult, SpfVerdict, check_host
from app.domains.spf_record import SpfSyntaxError, parse_spf
from app.domains.status import CheckStatus, Finding, unknown
from app.outbound.dns import DnsStatus, LookUp
from app.outbound.guard import LOOPBACK, PRIVATE, Address, is_among

_OTHER_ADDRESS = (
    "The address a provider sends from may be another than that of its host: if in doubt, add the include it names."
)


@dataclass(frozen=True, slots=True)
class SpfServer:
    """Where a service sends: its host, None for a sandbox; and the name that the provider tells its customers to
    include, where it is known."""

    host: str | None
    spf_include: str | None = None


async def check_spf(domain: str, server: SpfServer, look_up: LookUp) -> Finding:
    """The finding for mail whose reverse-path is of this domain. Never raises."""
    if server.spf_include is not None:
        return await _check_include(domain, server.spf_include, look_up)
    addresses, dns = await _addresses(server.host, look_up) if server.host else ([], None)
    if server.host and dns is not None:
        return unknown(dns, server.host)
    public = [address for address in addresses if not is_among((*PRIVATE, *LOOPBACK), address)]
    if not public:
        return await _check_record(domain, server, look_up)
    verdicts = [await check_host(address, f"postmaster@{domain}", look_up) for address in public]
    worst = next((verdict for verdict in verdicts if verdict.result is not SpfResult.PASS), verdicts[0])
    return _finding(domain, _term(server.host or "", public), worst, ", ".join(map(str, public)))


async def _addresses(host: str, look_up: LookUp) -> tuple[list[Address], DnsStatus | None]:
    """The addresses of the host, or what kept them away."""
    try:
        return [ip_address(host)], None
    except ValueError:
        answers = [await look_up(host, "A"), await look_up(host, "AAAA")]
    found = [ip_address(record) for answer in answers for record in answer.records]
    return found, None if found else answers[0].status


async def _check_record(domain: str, server: SpfServer, look_up: LookUp) -> Finding:
    """Without a public address of the server: whether there is a record at all, and a valid one."""
    verdict = await check_host(ip_address("192.0.2.0"), f"postmaster@{domain}", look_up)
    if verdict.result in (SpfResult.NONE, SpfResult.PERMERROR, SpfResult.TEMPERROR):
        return _finding(domain, None, verdict, "")
    sentence = "There is an SPF record, but whom it should let send is not known: "
    where = f"{server.host} has no public address." if server.host else "nothing leaves a sandbox."
    return Finding(CheckStatus.UNKNOWN, sentence + where, verdict.records, verdict.status)


async def _check_include(domain: str, include: str, look_up: LookUp) -> Finding:
    """Where the provider says what to include: whether the record does, itself or the one that it redirects to."""
    verdict = await check_host(ip_address("192.0.2.0"), f"postmaster@{domain}", look_up)
    if not verdict.records or verdict.result in (SpfResult.PERMERROR, SpfResult.TEMPERROR):
        return _finding(domain, f"include:{include}", verdict, include)
    if include.lower() in _named(verdict.records[0]):
        sentence = f"SPF of {domain} lets the provider send: it includes {include}."
        return Finding(CheckStatus.OK, sentence, verdict.records, verdict.status)
    sentence = f"SPF of {domain} does not include {include}, as the provider asks. Add it to the record."
    return _mismatch(domain, f"include:{include}", verdict, sentence)


def _named(record: str) -> set[str]:
    try:
        parsed = parse_spf(record)
    except SpfSyntaxError:
        return set()
    included = {term.value.lower() for term in parsed.mechanisms if term.name == "include" and term.value}
    return included | ({parsed.redirect.lower()} if parsed.redirect else set())


def _finding(domain: str, term: str | None, verdict: SpfVerdict, sender: str) -> Finding:
    match verdict.result:
        case SpfResult.PASS:
            sentence = f"SPF of {domain} lets {sender} send: {verdict.reason}"
            return Finding(CheckStatus.OK, sentence, verdict.records, verdict.status)
        case SpfResult.NONE:
            record = DnsRecord(domain, "TXT", " ".join(filter(None, ("v=spf1", term, "~all"))))
            sentence = f"{verdict.reason} Publish one."
            return Finding(CheckStatus.MISSING, sentence, dns=verdict.status, record=record if term else None)
        case SpfResult.TEMPERROR:
            return Finding(CheckStatus.UNKNOWN, verdict.reason, verdict.records, verdict.status)
        case SpfResult.PERMERROR:
            sentence = f"{verdict.reason} Receivers ignore SPF of {domain} until that is mended."
            return Finding(CheckStatus.BROKEN, sentence, verdict.records, verdict.status)
    sentence = f"SPF of {domain} does not let {sender} send ({verdict.result}: {verdict.reason}) {_OTHER_ADDRESS}"
    return _mismatch(domain, term, verdict, sentence)


def _mismatch(domain: str, term: str | None, verdict: SpfVerdict, sentence: str) -> Finding:
    begin, _, rest = verdict.records[0].partition(" ")
    record = DnsRecord(domain, "TXT", " ".join(filter(None, (begin, term, rest))))
    return Finding(CheckStatus.MISMATCH, sentence, verdict.records, verdict.status, record)


def _term(host: str, addresses: Sequence[Address]) -> str:
    """The mechanism that names the server."""
    if host == str(addresses[0]):
        return f"ip{addresses[0].version}:{host}"
    return f"a:{host}"
