"""Content to signed content (RFC 6376, RFC 8463): relaxed/relaxed, without `l=` and `x=`."""

import re
from base64 import b64encode
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

PrivateKey = RSAPrivateKey | Ed25519PrivateKey

OVERSIGNED = ("from", "to", "cc", "subject", "reply-to", "date")
"""Named in `h=` once more than they are there, so that none can be added."""

SIGNED = (
    *OVERSIGNED,
    "message-id",
    "in-reply-to",
    "references",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "list-id",
    "list-help",
    "list-post",
    "list-subscribe",
    "list-unsubscribe",
    "list-unsubscribe-post",
)
"""Named in `h=` as often as they are there."""

MOST_BYTES = 8 * 1024
"""What two signatures add to a mail, at most."""

_LINE = 78
_SLICE = 256 * 1024
_NEXT_FIELD = re.compile(rb"\r\n(?![ \t])")
_WHITESPACE = re.compile(rb"[ \t]+")
_BLANK = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class Signer:
    """One key of a domain, in A-labels; its public half is published at `<selector>._domainkey.<domain>`."""

    domain: str
    selector: str
    key: PrivateKey = field(repr=False)

    @property
    def algorithm(self) -> str:
        """As `a=` names it."""
        return "rsa-sha256" if isinstance(self.key, RSAPrivateKey) else "ed25519-sha256"


def sign(content: bytes, signers: Sequence[Signer], timestamp: int, *, unsigned: Collection[str] = ()) -> bytes:
    """The content, of which every line ends in CRLF, with one DKIM-Signature for each signer on top.

    `timestamp`, in seconds since 1970, becomes `t=`. `unsigned` names, in lower case, fields that are left out because
    somebody on the way writes them anew. The same arguments give the same bytes.
    """
    header, body = _parted(content)
    body_hash = b64encode(_body_digest(content, body)).decode()
    fields = [canonical_field(line) for line in _NEXT_FIELD.split(header)]
    names, covered = _covered(fields, unsigned)
    signatures = (_signature(signer, timestamp, names, body_hash, covered) for signer in signers)
    return b"".join((*signatures, content))


def header_value(content: bytes, name: bytes) -> bytes | None:
    """The value of the last field of this name, in lower case, as `relaxed` has it."""
    fields = map(canonical_field, reversed(_NEXT_FIELD.split(_parted(content)[0])))
    return next((value for found, _, value in (field.partition(b":") for field in fields) if found == name), None)


def _parted(content: bytes) -> tuple[bytes, int]:
    """The header section, and where the body begins."""
    end = content.find(b"\r\n\r\n")
    return (content, len(content)) if end < 0 else (content[:end], end + 4)


def canonical_field(line: bytes) -> bytes:
    """One header field, without its last CRLF, as `relaxed` has it (section 3.4.2)."""
    name, _, value = line.partition(b":")
    return name.strip(_BLANK).lower() + b":" + _WHITESPACE.sub(b" ", value.replace(b"\r\n", b"")).strip(b" ")


def _covered(fields: Sequence[bytes], unsigned: Collection[str]) -> tuple[list[str], bytes]:
    """What `h=` names, and the fields it selects: of each name the last one first (section 5.4.2)."""
    named = [(field.partition(b":")[0].decode("latin-1"), field) for field in reversed(fields)]
    count = Counter(name for name, _ in named)
    names, lines = [], []
    for name in SIGNED:
        if name not in unsigned:
            names += [name] * (count[name] + (name in OVERSIGNED))
            lines += [field + b"\r\n" for other, field in named if other == name]
    return names, b"".join(lines)


def _body_digest(content: bytes, start: int) -> bytes:
    digest = sha256()
    end = _end_of_text(content, start)
    for part in _slices(content, start, end):
        digest.update(_canonical_lines(part))
    if end > start:
        digest.update(b"\r\n")
    return digest.digest()


def _end_of_text(content: bytes, start: int) -> int:
    """Where the last line that is not empty ends, without the white space at its end and its CRLF."""
    end = len(content)
    while end > start:
        begin = max(start, end - _SLICE)
        if text := content[begin:end].rstrip(_BLANK):
            return begin + len(text)
        end = begin
    return start


def _slices(content: bytes, start: int, end: int) -> Iterator[bytes]:
    """Whole lines at a time, so that the interpreter's lock is free between two slices."""
    while start < end:
        cut = content.rfind(b"\n", start, start + _SLICE) + 1 or content.find(b"\n", start + _SLICE) + 1
        cut = min(cut, end) if cut else end
        yield content[start:cut]
        start = cut


def _canonical_lines(lines: bytes) -> bytes:
    """Lines as `relaxed` has them (section 3.4.4). Most are so already, and finding that out is quick."""
    if b"\t" in lines:
        lines = lines.replace(b"\t", b" ")
    elif b" " not in lines:
        return lines
    while b"  " in lines:
        lines = lines.replace(b"  ", b" ")
    return lines.replace(b" \r\n", b"\r\n") if b" \r\n" in lines else lines


def _signature(signer: Signer, timestamp: int, names: Sequence[str], body_hash: str, covered: bytes) -> bytes:
    """The DKIM-Signature field with its CRLF."""
    unsigned = _unsigned_field(signer, timestamp, names, body_hash)
    data = covered + canonical_field(unsigned.encode())
    if isinstance(signer.key, RSAPrivateKey):
        octets = signer.key.sign(data, PKCS1v15(), SHA256())
    else:
        octets = signer.key.sign(sha256(data).digest())
    encoded = b64encode(octets).decode()
    room = _LINE - 3  # the first line of the value has ` b=` before it
    pieces = [encoded[begin : begin + room] for begin in range(0, len(encoded), room)]
    return (unsigned + "\r\n ".join(pieces) + "\r\n").encode()


def _unsigned_field(signer: Signer, timestamp: int, names: Sequence[str], body_hash: str) -> str:
    """The field up to its `b=`, folded after semicolons, and between the names of `h=`."""
    tags = (
        f"v=1; a={signer.algorithm}; c=relaxed/relaxed;\r\n d={signer.domain};\r\n s={signer.selector}; t={timestamp};"
    )
    lines, line = [f"DKIM-Signature: {tags}"], " h="
    for number, name in enumerate(names):
        token = name + (";" if number == len(names) - 1 else ":")
        if len(line) + len(token) > _LINE:
            lines.append(line)
            line = " "
        line += token
    return "\r\n".join((*lines, line, f" bh={body_hash};", " b="))
