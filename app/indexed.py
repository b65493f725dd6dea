"""Requests whose header fields are looked up again and again, most of them in vain."""

from functools import cached_property
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request


class IndexedHeaders(Headers):
    """Header fields in an index."""

    @cached_property
    def _first(self) -> dict[bytes, bytes]:
        return dict(reversed(self._list))

    def __contains__(self, key: Any) -> bool:
        return key.lower().encode("latin-1") in self._first

    def __getitem__(self, key: str) -> str:
        return self._first[key.lower().encode("latin-1")].decode("latin-1")

    def get(self, key: str, default: Any = None) -> Any:
        """The first field of this name, or the default."""
        found = self._first.get(key.lower().encode("latin-1"))
        return default if found is None else found.decode("latin-1")

    def getlist(self, key: str) -> list[str]:
        """Every field of this name."""
        return super().getlist(key) if key in self else []


class HttpRequest(Request):
    """Starlette's request, its header fields in an index."""

    @cached_property
    def headers(self) -> Headers:
        """The header fields."""
        return IndexedHeaders(scope=self.scope)
