"""Draft to Envelope: reverse-path and recipients (RFC 5321)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Envelope:
    """What MAIL and RCPT carry. Addresses are in wire form: domains as A-labels (RFC 5890).

    `smtputf8`: the content's header section holds a non-ASCII local part, so the whole transaction needs the
    SMTPUTF8 extension (RFC 6531). A non-ASCII local part among `recipients` or in `reverse_path` needs it too.
    """

    reverse_path: str
    recipients: tuple[str, ...]
    smtputf8: bool = False
