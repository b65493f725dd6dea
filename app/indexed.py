"""Header fields of a request, which are looked up again and again, most of them in vain."""

from starlette.types import Scope

FIRST_FIELDS = "heliograph.first_fields"
"""In a scope: what `first_fields` made of its header; who replaces the header takes it out, or sets it to None."""


def first_fields(scope: Scope) -> dict[bytes, bytes]:
    """The first header field of each name, worked out once per request."""
    found: dict[bytes, bytes] | None = scope.get(FIRST_FIELDS)
    if found is None:
        fields = scope["headers"] = list(scope["headers"])
        found = scope[FIRST_FIELDS] = dict(reversed(fields))
    return found
