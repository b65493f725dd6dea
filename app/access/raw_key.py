"""The text of an API key, of which only a digest and a prefix are stored.

A generated key is `hg_` and 43 characters of base64url: 256 random bits. No slow hash is needed for that much.
"""

import hashlib
import re
import secrets

MIN_SUPPLIED_CHARS = 16
MAX_SUPPLIED_CHARS = 200

_SUPPLIED = re.compile(rf"(?! )[ -~]{{{MIN_SUPPLIED_CHARS},{MAX_SUPPLIED_CHARS}}}(?<! )")


def new_raw_key() -> str:
    """A new key, 46 characters."""
    return f"hg_{secrets.token_urlsafe(32)}"


def is_suppliable(raw_key: str) -> bool:
    """Whether an operator may choose this key: 16 to 200 printable ASCII characters, no space at either end."""
    return _SUPPLIED.fullmatch(raw_key) is not None


def prefix_of(raw_key: str) -> str:
    """What people recognise the key by: 11 characters of a generated key, and only 4 of a chosen one, which may be
    short enough that 11 would give it away."""
    return raw_key[:11] if raw_key.startswith("hg_") and len(raw_key) == 46 else raw_key[:4]


def digest_of(raw_key: str) -> str:
    """SHA-256 of the whole key, in hexadecimal. Defined for any text, so that no text needs a check before."""
    return hashlib.sha256(raw_key.encode(errors="surrogatepass")).hexdigest()
