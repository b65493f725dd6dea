"""Mail signed for the domain of its From, on its way out."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import UUID

from app.database.connection import as_key, rows
from app.database.revision import Kept
from app.database.where import Where
from app.domains.domain import with_parents
from app.domains.key_pair import key_name, read_key
from app.domains.models import DkimKeyState
from app.errors import HeliographError, InvalidInput
from app.mail.content import Content, Topped
from app.mail.dkim import BodyDigest, PrivateKey, Signer, header_value, sign, signature_fields
from app.services.secret import Sealer, SealError

_LARGE = 64 * 1024
_MOST_KEYS = 1000

_AMAZON = ".amazonaws.com"
REWRITES = {
    _AMAZON: frozenset({"date", "message-id"}),
    "smtp.office365.com": frozenset({"message-id"}),
    "smtp-mail.outlook.com": frozenset({"message-id"}),
}
"""What the servers of these hosts write anew, so that a signature must leave it out: Amazon SES by "Manual DKIM signing
in Amazon SES", its manual; Microsoft by git-send-email(1), --outlook-id-fix."""


class CannotSign(HeliographError):
    """The domain has an active key, and the key cannot be used."""


class ContentSigner:
    """Signs content with the active keys of its author's domain; keys that were opened once stay in memory for as long
    as what is stored of them stays the same. Of at most `most` domains it knows the keys at one revision; and whether
    there was none at all, so that nobody's domain is looked for."""

    def __init__(self, sealer: Sealer, most: int = 0) -> None:
        self._sealer = sealer
        self._known: Kept[str, list[Signer]] = Kept(most)
        self._keyless: int | None = None
        self._opened: OrderedDict[tuple[UUID, str], PrivateKey] = OrderedDict()

    def is_idle(self, revision: int) -> bool:
        """Whether content leaves as it is, whatever its author: as of this revision there are no active keys."""
        return revision == self._keyless

    async def sign(self, content: bytes, host: str | None = None, revision: int | None = None) -> bytes:
        """The content as it leaves for a server at `host`: signed with each active key of the domain, or else of the
        closest domain above it that has one for subdomains; as it is, where there is none. Amazon SES takes one
        signature: by RSA, where there is such a key. The same at each try. The keys are those of this revision, or
        newer; None: those that are stored now.

        Call it outside of transactions. Raises CannotSign.
        """
        if revision is not None and self.is_idle(revision):
            return content
        signers = await self._signers_of(content, host, revision)
        if not signers:
            return content
        arguments, unsigned = (content, signers, _dated(content)), rewritten(host)
        if len(content) < _LARGE:
            return sign(*arguments, unsigned=unsigned)
        return await asyncio.to_thread(sign, *arguments, unsigned=unsigned)

    async def _known_signers(self, domain: str, revision: int | None) -> list[Signer]:
        if revision is None:
            return await self._signers(domain)
        known = self._known.get(domain, revision)
        if known is None:
            known = await self._signers(domain)
            self._known.keep(domain, known, revision)
            if not known and not await _is_any_active():
                self._keyless = revision
        return known

    async def sign_large(self, content: Content, host: str | None = None, revision: int | None = None) -> Content:
        """As `sign`, of content that is read piece by piece: once here, and once more when it leaves. Raises what
        reading it raises, too."""
        head = content.head
        signers, unsigned = await self._signers_of(head, host, revision), rewritten(host)
        if not signers:
            return content
        body = await _body_digest(content)
        fields = await asyncio.to_thread(signature_fields, head, body, signers, _dated(head), unsigned=unsigned)
        return Topped(fields, content)

    async def _signers_of(self, content: bytes, host: str | None, revision: int | None) -> Sequence[Signer]:
        domain = author_domain(content)
        return (await self._known_signers(domain, revision))[: _most_signatures(host)] if domain else ()

    async def _signers(self, domain: str) -> list[Signer]:
        found = await _active_keys(domains := with_parents(domain))
        for candidate in domains:
            own = [row for row in found if row["domain"] == candidate and (candidate == domain or row["subdomains"])]
            if own:
                return [Signer(candidate, row["selector"], await self._key(row)) for row in own]
        return []

    async def _key(self, row: Mapping[str, Any]) -> PrivateKey:
        place = as_key(row["id"]), row["sealed_private_key"]
        if place not in self._opened:
            try:
                self._opened[place] = await asyncio.to_thread(self._open, *place)
            except (SealError, InvalidInput) as error:
                name = key_name(row["domain"], row["selector"])
                raise CannotSign(f"The mail cannot be signed: the DKIM key {name} cannot be unsealed.") from error
            while len(self._opened) > _MOST_KEYS:
                self._opened.popitem(last=False)
        return self._opened[place]

    def _open(self, key_id: UUID, sealed: str) -> PrivateKey:
        return read_key(self._sealer.open(sealed, key_id))


async def _body_digest(content: Content) -> BodyDigest:
    digest, header = BodyDigest(), len(content.head)
    async for piece in content.pieces():
        body, header = piece[header:], max(header - len(piece), 0)
        await asyncio.to_thread(digest.update, body)
    return digest


async def _active_keys(domains: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    where = Where()
    where.add("state = ?", DkimKeyState.ACTIVE.value)
    where.add_among("domain", domains)
    columns = "id, domain, selector, sealed_private_key, subdomains"
    return await rows(f"SELECT {columns} FROM dkim_key{where.clause} ORDER BY algorithm DESC", *where.arguments)  # noqa: S608 - constants


async def _is_any_active() -> bool:
    return bool(await rows("SELECT 1 FROM dkim_key WHERE state = $1 LIMIT 1", DkimKeyState.ACTIVE.value))


def author_domain(content: bytes) -> str | None:
    """The domain of the one mailbox of From, as it was composed. Pure."""
    value = _plain_from(content)
    if value is None:
        value = header_value(content, b"from") or b""
    domain = value.rpartition(b"@")[2].rstrip(b"> ")
    return domain.decode("ascii", "replace").lower() or None


def _plain_from(content: bytes) -> bytes | None:
    """What From says where it is one line, written as usual; None where only `header_value` can tell."""
    head = content[: content.find(b"\r\n\r\n") + 2].lower()
    start = head.rfind(b"\r\nfrom:")
    if start < 0 or b"\t" in head or b"\r\nfrom " in head:
        return None
    end = head.index(b"\r\n", start + 2)
    value = content[start + len(b"\r\nfrom:") : end].strip(b" ")
    return None if head[end + 2 : end + 3] == b" " or b"  " in value else value


def rewritten(host: str | None) -> frozenset[str]:
    """The fields that the server at this host writes anew. Pure."""
    return next((names for end, names in REWRITES.items() if host and host.lower().endswith(end)), frozenset())


def _most_signatures(host: str | None) -> int | None:
    """How many DKIM-Signature fields the server at this host takes: Amazon SES one ("Amazon SES header fields")."""
    return 1 if host and host.lower().endswith(_AMAZON) else None


def _dated(content: bytes) -> int:
    """The moment of the mail's Date, which stays the same over all attempts."""
    return int(parsedate_to_datetime((header_value(content, b"date") or b"").decode("ascii")).timestamp())
