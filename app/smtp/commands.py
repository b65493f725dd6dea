"""MAIL and RCPT for one envelope, and who is ruled out before they are said."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from app.mail.envelope import Envelope
from app.mail.reply import Reply
from app.smtp.content import Content

_PLAIN_PATH = re.compile(r"[!#-;=?-~]*")  # what most are: no blank, no quote, no angle bracket
_PATH = re.compile(
    r'(?:"(?:[^"\\\x00-\x1f\x7f\ud800-\udfff]|\\[^\x00-\x1f\x7f\ud800-\udfff])*"|[^\s<>"\x00-\x1f\x7f\ud800-\udfff])*'
)


def mail_command(extensions: Mapping[str, str], envelope: Envelope, due: Iterable[str], content: Content) -> bytes:
    """MAIL with the parameters that these extensions allow, without CRLF."""
    parameters = ""
    if "size" in extensions:
        parameters = f" SIZE={content.size()}"
    if "8bitmime" in extensions and not content.is_ascii():
        parameters += " BODY=8BITMIME"
    if needs_smtputf8(envelope, due):
        parameters += " SMTPUTF8"
    return f"MAIL FROM:<{envelope.reverse_path}>{parameters}".encode()


def rcpt_command(address: str) -> bytes:
    """RCPT, without CRLF."""
    return f"RCPT TO:<{address}>".encode()


def needs_smtputf8(envelope: Envelope, due: Iterable[str]) -> bool:
    """Whether the transaction for the `due` recipients has to be one of SMTPUTF8 (RFC 6531)."""
    return envelope.smtputf8 or not (envelope.reverse_path.isascii() and "".join(due).isascii())


def ruled_out(extensions: Mapping[str, str], envelope: Envelope, content: Content) -> dict[str, Reply]:
    """Our own replies, for recipients of whom nothing must go over the wire."""
    problem = _content_problem(extensions, content)
    if problem is None and not envelope.smtputf8 and _are_plain(envelope):
        return {}
    problem = problem or _address_problem(extensions, envelope.reverse_path)
    if problem is None and envelope.smtputf8 and "smtputf8" not in extensions:
        problem = _NO_SMTPUTF8
    if problem is not None:
        return dict.fromkeys(envelope.recipients, problem)
    return {
        address: problem
        for address in envelope.recipients
        if (problem := _address_problem(extensions, address)) is not None
    }


_NO_SMTPUTF8 = Reply(550, "The server does not offer SMTPUTF8, which this address needs.", "5.6.7")


def _content_problem(extensions: Mapping[str, str], content: Content) -> Reply | None:
    limit = _limit(extensions.get("size", ""))
    if limit and limit < content.size():
        return Reply(552, f"The message has {content.size()} octets; the server takes at most {limit}.", "5.3.4")
    if not content.is_well_formed:
        return Reply(554, "The content has a line that does not end in CRLF.", "5.6.0")
    return None


@lru_cache
def _limit(size: str) -> int:
    """What is said behind SIZE (RFC 1870), in octets; 0: no limit that is known."""
    limit = size.partition(" ")[0]
    return int(limit[:20]) if limit.isdecimal() else 0


def _are_plain(envelope: Envelope) -> bool:
    """Whether none of its addresses has a problem, as nearly always."""
    return _PLAIN_PATH.fullmatch("".join((envelope.reverse_path, *envelope.recipients))) is not None


def _address_problem(extensions: Mapping[str, str], address: str) -> Reply | None:
    if _PATH.fullmatch(address) is None:
        return Reply(553, "The address cannot be written in an SMTP command.", "5.1.3")
    return None if address.isascii() or "smtputf8" in extensions else _NO_SMTPUTF8
