"""Where a request carries its API key."""

from collections.abc import Mapping


def offered_key(headers: Mapping[str, str]) -> str | None:
    """The first that is present: X-DreamFactory-API-Key, X-API-Key, `Authorization: Bearer`.

    `headers` is looked up by lower-case names.
    """
    for name in _OWN_NAMES:
        if key := headers.get(name):
            return key
    return _bearer(headers.get("authorization", ""))


def key_among(fields: Mapping[bytes, bytes], query_key: str | None = None) -> str | None:
    """The same of the first header field of each name, as `first_fields` has them; then `query_key`."""
    for name in _OWN_FIELDS:
        if key := fields.get(name):
            return key.decode("latin-1")
    return _bearer(fields.get(b"authorization", b"").decode("latin-1")) or query_key or None


def _bearer(authorization: str) -> str | None:
    scheme, _, token = authorization.partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


_OWN_NAMES = ("x-dreamfactory-api-key", "x-api-key")
_OWN_FIELDS = tuple(name.encode() for name in _OWN_NAMES)
