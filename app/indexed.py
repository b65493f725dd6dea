"""Requests whose header fields are looked up again and again, most of them in vain."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request, empty_send
from starlette.types import Receive, Scope, Send

FIRST_FIELDS = "heliograph.first_fields"
"""In a scope: what `first_fields` made of its header; who replaces the header takes it out, or sets it to None."""


def first_fields(scope: Scope) -> dict[bytes, bytes]:
    """The first header field of each name, worked out once per request."""
    found: dict[bytes, bytes] | None = scope.get(FIRST_FIELDS)
    if found is None:
        fields = scope["headers"] = list(scope["headers"])
        found = scope[FIRST_FIELDS] = dict(reversed(fields))
    return found


@lru_cache(maxsize=256)
def _octets(name: str) -> bytes:
    return name.lower().encode("latin-1")


class IndexedHeaders(Headers):
    """Header fields in an index."""

    def __init__(
        self,
        headers: Mapping[str, str] | None = None,
        raw: list[tuple[bytes, bytes]] | None = None,
        scope: Scope | None = None,
    ) -> None:
        if scope is None:
            super().__init__(headers, raw)
            self._first = first_fields({"headers": self._list})
        else:
            self._first = first_fields(scope)
            self._list = scope["headers"]

    def __contains__(self, key: Any) -> bool:
        return _octets(key) in self._first

    def __getitem__(self, key: str) -> str:
        return self._first[_octets(key)].decode("latin-1")

    def get(self, key: str, default: Any = None) -> Any:
        """The first field of this name, or the default."""
        found = self._first.get(_octets(key))
        return default if found is None else found.decode("latin-1")

    def getlist(self, key: str) -> list[str]:
        """Every field of this name."""
        found = self._first.get(_octets(key))
        if found is None:
            return []
        return [found.decode("latin-1")] if len(self._first) == len(self._list) else super().getlist(key)


class HttpRequest(Request):
    """Starlette's request, its header fields in an index."""

    headers: Headers = Headers()  # in place of Starlette's property

    def __init__(self, scope: Scope, receive: Receive, send: Send = empty_send) -> None:
        super().__init__(scope, receive, send)
        self.headers = IndexedHeaders(scope=scope)
