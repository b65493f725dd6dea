"""Where a request carries its API key."""

from collections.abc import Mapping


def offered_key(headers: Mapping[str, str], query_key: str | None = None) -> str | None:
    """The first that is present: X-DreamFactory-API-Key, X-API-Key, `Authorization: Bearer`, then `query_key`.

    `headers` is looked up by lower-case names.
    """
    for name in _OWN_NAMES:
        if key := headers.get(name):
            return key
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else None
    return bearer or query_key or None


def key_among(fields: Mapping[bytes, bytes], query_key: str | None = None) -> str | None:
    """The same of the first header field of each name, as `first_fields` has them."""
    headers = {name: fields[octets].decode("latin-1") for name, octets in _OCTETS.items() if octets in fields}
    return offered_key(headers, query_key)


_OWN_NAMES = ("x-dreamfactory-api-key", "x-api-key")
_OCTETS = {name: name.encode() for name in (*_OWN_NAMES, "authorization")}
