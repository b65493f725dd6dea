"""Sealing of secrets at rest: AES-256-GCM, bound to the row that holds the secret.

A sealed text is `v1.<fingerprint of the key>.<base64url of nonce and ciphertext>`. The 16 bytes of the row's id
are the associated data, so a sealed text that was copied into another row does not open there.

Each configured key text becomes 36 bytes by HKDF-SHA256 (RFC 5869, no salt, info `heliograph v1`): 32 bytes of key
and 4 bytes of fingerprint, which tells which key a text was sealed with. HKDF adds no strength to a weak text,
so a key text has to be random: `openssl rand -base64 48`.
"""

import base64
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.database.configuration import is_sqlite, sqlite_path
from app.errors import HeliographError
from app.services.key_file import make_key_file, read_key_file
from app.settings import Settings, SettingsError

MIN_KEY_CHARS = 32
_NONCE_BYTES = 12


class SealError(HeliographError):
    """A sealed text cannot be opened: its key is not configured, it is damaged, or it belongs to another row."""


class Sealer:
    """Seals with the first key, opens with any. Raises ValueError for no key, or one under 32 characters."""

    def __init__(self, key_texts: Sequence[str]) -> None:
        if not key_texts or any(len(text) < MIN_KEY_CHARS for text in key_texts):
            raise ValueError(f"a secret key has at least {MIN_KEY_CHARS} characters")
        derived = [_derive(text) for text in key_texts]
        self._first = derived[0][0]
        self._ciphers = dict(reversed(derived))

    def seal(self, text: str, row_id: UUID) -> str:
        """`text`, sealed for the row with this id."""
        nonce = os.urandom(_NONCE_BYTES)
        ciphertext = self._ciphers[self._first].encrypt(nonce, text.encode(), row_id.bytes)
        return f"v1.{self._first}.{base64.urlsafe_b64encode(nonce + ciphertext).decode()}"

    def is_first(self, fingerprint: str) -> bool:
        """Whether this is the key that seals from now on."""
        return fingerprint == self._first

    def knows(self, fingerprint: str) -> bool:
        """Whether this key is configured."""
        return fingerprint in self._ciphers

    def open(self, sealed: str, row_id: UUID) -> str:
        """What was sealed for the row with this id. Raises SealError."""
        fingerprint, octets = _parse(sealed)
        cipher = self._ciphers.get(fingerprint)
        if cipher is None:
            raise SealError(f"The secret was sealed with the key {fingerprint}, which is not configured.")
        try:
            return cipher.decrypt(octets[:_NONCE_BYTES], octets[_NONCE_BYTES:], row_id.bytes).decode()
        except (InvalidTag, ValueError):
            raise SealError("The sealed secret is damaged, or belongs to another row.") from None


def fingerprint_of(sealed: str) -> str:
    """Which key it was sealed with. Raises SealError for what is no sealed text."""
    return _parse(sealed)[0]


def sealer_from(settings: Settings, *, make_file: bool = True) -> Sealer:
    """The sealer with the keys of HELIOGRAPH_SECRET_KEYS, else those of the key file, one on each line.

    On SQLite the key file is made if it is missing (HELIOGRAPH_SECRET_KEY_FILE, or `heliograph.key` beside the
    database file), unless `make_file` says no. On PostgreSQL several machines share the rows, so none is made: keys
    have to be given. Raises SettingsError, which names the variable or the file and shows no key.
    """
    return _sealer(*_key_texts(settings, make_file))


def address_secret(settings: Settings) -> bytes:
    """The secret with which client addresses are hashed: HKDF of the first key, for this purpose alone. All processes
    have the same one, and it is stored nowhere beside the hashes. With a new first key the counts begin anew.
    Raises SettingsError."""
    texts, _ = _key_texts(settings, make_file=False)
    secret = texts[0].encode(errors="surrogateescape")
    return HKDF(SHA256(), length=32, salt=None, info=b"heliograph client addresses v1").derive(secret)


def _key_texts(settings: Settings, make_file: bool) -> tuple[list[str], str]:
    """The key texts, and where they are from."""
    if settings.secret_keys:
        return [key.get_secret_value() for key in settings.secret_keys], "HELIOGRAPH_SECRET_KEYS"
    on_sqlite = is_sqlite(settings.database_url)
    path = settings.secret_key_file
    if path is None and on_sqlite:
        path = Path(sqlite_path(settings.database_url)).with_name("heliograph.key")
    if path is None:
        raise SettingsError(
            "HELIOGRAPH_SECRET_KEYS: a key is needed to seal stored passwords, and on PostgreSQL none is made by "
            "itself. Set a random text (openssl rand -base64 48), the same for every process."
        )
    if on_sqlite and make_file:
        make_key_file(path)
    return read_key_file(path), str(path)


def _sealer(texts: Sequence[str], source: str) -> Sealer:
    try:
        return Sealer(texts)
    except ValueError as error:
        raise SettingsError(f"{source}: {error}") from None


def _derive(text: str) -> tuple[str, AESGCM]:
    octets = HKDF(SHA256(), length=36, salt=None, info=b"heliograph v1").derive(text.encode(errors="surrogateescape"))
    return octets[32:].hex(), AESGCM(octets[:32])


def _parse(sealed: str) -> tuple[str, bytes]:
    match sealed.split("."):
        case ["v1", fingerprint, encoded]:
            with suppress(ValueError):
                return fingerprint, base64.b64decode(encoded, altchars=b"-_", validate=True)
    raise SealError("The sealed secret is damaged: it does not have the form v1.<key>.<ciphertext>.")
