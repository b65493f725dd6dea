"""Where a request carries its API key."""

from collections.abc import Mapping


def offered_key(headers: Mapping[str, str], query_key: str | None = None) -> str | None:
    """The first that is present: X-DreamFactory-API-Key, X-API-Key, `Authorization: Bearer`, then `query_key`.

    `headers` is looked up by lower-case names.
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else None
    offered = (headers.get("x-dreamfactory-api-key"), headers.get("x-api-key"), bearer, query_key)
    return next((key for key in offered if key), None)
