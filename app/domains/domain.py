"""Names of sender domains and selectors. Pure."""

import re

from app.errors import InvalidInput
from app.mail.address import check_email, wire_address

_LABEL = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_SELECTOR = re.compile(rf"(?=.{{1,63}}\Z){_LABEL}(?:\.{_LABEL})*")
_LONGEST_NAME = 253


def sender_domain(text: str) -> str:
    """The domain of a mail address, or a domain given by itself, in lower-case A-labels.

    Raises InvalidInput for what is neither, and for an address literal.
    """
    address = text.strip() if "@" in text else f"postmaster@{text.strip().rstrip('.')}"
    if check_email(address) is not None or address.endswith("]"):
        raise InvalidInput("This is no domain, such as example.com.", field=("domain",))
    return wire_address(address).rpartition("@")[2]


def key_selector(text: str, domain: str) -> str:
    """The selector in lower case. Raises InvalidInput."""
    selector = text.strip().lower()
    if not _SELECTOR.fullmatch(selector):
        message = "A selector has 1 to 63 letters, digits and hyphens; dots may stand between parts of it."
        raise InvalidInput(message, field=("selector",))
    if len(f"{selector}._domainkey.{domain}") > _LONGEST_NAME:
        raise InvalidInput(f"Selector and domain make a name over {_LONGEST_NAME} characters.", field=("selector",))
    return selector


def with_parents(domain: str) -> list[str]:
    """The domain, then each domain above it that has a dot."""
    labels = domain.split(".")
    return [domain, *(".".join(labels[start:]) for start in range(1, len(labels) - 1))]
