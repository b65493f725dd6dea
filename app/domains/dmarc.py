"""DMARC policy and organisational domains by the DNS tree walk (RFC 9989, which needs no list of public suffixes).

Pure: the DNS is a function passed in.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from app.domains.tags import parse_tags
from app.outbound.dns import Answer, DnsStatus, LookUp

_MOST_QUERIES = 8
_POLICIES = frozenset({"none", "quarantine", "reject"})


@dataclass(frozen=True, slots=True)
class DmarcRecord:
    """One record as published at `_dmarc.<domain>`."""

    domain: str
    text: str
    tags: Mapping[str, str]

    def policy(self, author: str) -> str:
        """What it asks for with mail of the author's domain that fails: none, quarantine or reject."""
        asked = self.tags.get("p", "none").lower()
        if author != self.domain:
            asked = self.tags.get("sp", asked).lower()
        return asked if asked in _POLICIES else "none"

    def is_strict(self, tag: str) -> bool:
        """Whether `adkim` or `aspf` asks for the same domain, and not only for the same organisational domain."""
        return self.tags.get(tag, "r").lower() == "s"


@dataclass(frozen=True, slots=True)
class Walk:
    """What the walk up from a domain found. `organisational`: the organisational domain. `applies`: the record whose
    policy holds for the domain. `at_domain`: what the DNS said at the domain itself; `unsure`: the first answer that
    was none."""

    domain: str
    organisational: str
    applies: DmarcRecord | None
    at_domain: Answer
    unsure: tuple[str, Answer] | None = None


async def walk_tree(domain: str, look_up: LookUp) -> Walk:
    """Walk up from a domain in A-labels (section 4.10). Never raises."""
    records: list[DmarcRecord] = []
    answers: list[Answer] = []
    unsure: tuple[str, Answer] | None = None
    for name in _steps(domain):
        answers.append(answer := await look_up(f"_dmarc.{name}", "TXT"))
        if not answer.is_sure and unsure is None:
            unsure = (f"_dmarc.{name}", answer)
        if (record := dmarc_record(name, answer)) is None:
            continue
        records.append(record)
        if _psd(record) == "n" or (_psd(record) == "y" and name != domain):
            break
    organisational = _organisational(domain, records)
    applies = next((record for record in records if record.domain in (domain, organisational)), None)
    if applies is None and records and _psd(records[-1]) == "y":
        applies = records[-1]
    return Walk(domain, organisational, applies, answers[0], unsure)


def dmarc_texts(answer: Answer) -> list[str]:
    """Those TXT records that are meant as DMARC."""
    return [text for text in answer.records if text.replace(" ", "").lower().startswith("v=dmarc1")]


def dmarc_record(domain: str, answer: Answer) -> DmarcRecord | None:
    """The one valid record of the answer; several are as good as none."""
    texts = dmarc_texts(answer) if answer.status is DnsStatus.FOUND else []
    if len(texts) != 1:
        return None
    tags = parse_tags(texts[0])
    if tags is None or next(iter(tags.items()))[0] != "v" or tags["v"] != "DMARC1":
        return None
    return DmarcRecord(domain, texts[0], tags)


def _steps(domain: str) -> Iterator[str]:
    """The domain, and then one label less each time, at most eight names: a longer one loses many labels at once."""
    labels = domain.split(".")
    yield domain
    labels = labels[1:] if len(labels) <= _MOST_QUERIES else labels[-(_MOST_QUERIES - 1) :]
    while labels:
        yield ".".join(labels)
        labels = labels[1:]


def _organisational(domain: str, records: list[DmarcRecord]) -> str:
    for record in records:
        if _psd(record) == "n":
            return record.domain
        if _psd(record) == "y" and record.domain != domain:
            above = record.domain.count(".") + 1
            return ".".join(domain.split(".")[-above - 1 :])
    return min((record.domain for record in records), key=lambda name: name.count("."), default=domain)


def _psd(record: DmarcRecord) -> str:
    return record.tags.get("psd", "u").lower()
