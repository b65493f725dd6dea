"""What the DNS says of a DKIM key."""

import re
from dataclasses import dataclass

from app.domains.key_pair import key_name
from app.domains.models import DkimKey
from app.domains.status import CheckStatus, trouble
from app.domains.tags import parse_tags
from app.outbound.dns import Answer, DnsStatus, LookUp


@dataclass(frozen=True, slots=True)
class Published:
    """How what is published compares with our key, in one sentence."""

    status: CheckStatus
    sentence: str
    answer: Answer

    @property
    def matches(self) -> bool:
        return self.status is CheckStatus.OK


async def published_key(key: DkimKey, look_up: LookUp) -> Published:
    """Compare the key with what is published under its name. Never raises."""
    name = key_name(key.domain, key.selector)
    answer = await look_up(name, "TXT")
    if not answer.is_sure:
        return Published(CheckStatus.UNKNOWN, trouble(answer.status, name), answer)
    return Published(*_compared(key, name, answer), answer)


def _compared(key: DkimKey, name: str, answer: Answer) -> tuple[CheckStatus, str]:
    if answer.status is not DnsStatus.FOUND:
        return CheckStatus.MISSING, f"There is no TXT record at {name}."
    if len(answer.records) > 1:
        return CheckStatus.BROKEN, f"There are {len(answer.records)} TXT records at {name}; there has to be one."
    tags = parse_tags(answer.records[0])
    if tags is None or "p" not in tags or tags.get("v", "DKIM1") != "DKIM1":
        return CheckStatus.BROKEN, f"The record at {name} is no DKIM key."
    if not tags["p"]:
        return CheckStatus.MISMATCH, f"The record at {name} says that the key is revoked: its p= is empty."
    if problem := _unusable(tags):
        return CheckStatus.MISMATCH, f"The record at {name} {problem}."
    if tags.get("k", "rsa").lower() != key.algorithm.lower() or re.sub(r"\s", "", tags["p"]) != key.public_key:
        return CheckStatus.MISMATCH, f"The record at {name} has another public key than ours."
    return CheckStatus.OK, f"The record at {name} has our public key."


def _unusable(tags: dict[str, str]) -> str | None:
    """What in the record keeps our signatures from being verified with it (RFC 6376 section 3.6.1)."""
    if "sha256" not in _listed(tags.get("h", "sha256")):
        return "does not allow sha256 (h=)"
    if not {"*", "email"} & _listed(tags.get("s", "*")):
        return "is not for mail (s=)"
    return None


def _listed(value: str) -> set[str]:
    return {part.strip().lower() for part in value.split(":")}
