"""Content to signed content (RFC 6376, RFC 8463): relaxed/relaxed, without `l=` and `x=`."""

import re
from base64 import b64encode
from collections import Counter
from collections.abc import Collection, Sequence
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
    digest = BodyDigest()
    for begin in range(body, len(content), _SLICE):
        digest.update(content[begin : begin + _SLICE])
    return b"".join((signature_fields(header, digest, signers, timestamp, unsigned=unsigned), content))


def signature_fields(
    header: bytes,
    body: "BodyDigest",
    signers: Sequence[Signer],
    timestamp: int,
    *,
    unsigned: Collection[str] = (),
) -> bytes:
    """What `sign` puts on top of content with this header section and this body."""
    body_hash = b64encode(body.digest()).decode()
    fields = [canonical_field(line) for line in _NEXT_FIELD.split(header.removesuffix(b"\r\n\r\n"))]
    names, covered = _covered(fields, unsigned)
    return b"".join(_signature(signer, timestamp, names, body_hash, covered) for signer in signers)


class BodyDigest:
    """The digest of a body that comes in pieces, as `relaxed` has it: between two of them the interpreter's lock is
    free."""

    def __init__(self) -> None:
        self._sha256 = sha256()
        self._rest = b""
        self._empty_lines = 0
        self._any = False

    def update(self, piece: bytes) -> None:
        """The next octets of the body."""
        lines = self._rest + piece if self._rest else piece
        end = lines.rfind(b"\n") + 1
        self._rest = lines[end:]
        self._add(_canonical_lines(lines[:end]))

    def digest(self) -> bytes:
        """Of all that came; nothing comes after it."""
        self._add(_canonical_lines(self._rest.rstrip(_BLANK)))
        if self._any:
            self._sha256.update(b"\r\n")
        return self._sha256.digest()

    def _add(self, lines: bytes) -> None:
        """Empty lines count only where text follows."""
        text = lines.rstrip(_BLANK)
        if text:
            while self._empty_lines:
                some = min(self._empty_lines, _SLICE)
                self._sha256.update(b"\r\n" * some)
                self._empty_lines -= some
            self._sha256.update(text)
            self._any = True
        self._empty_lines += lines.count(b"\n", len(text))


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
