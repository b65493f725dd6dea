"""GraphiQL for browsers, every byte of it from this server.

GraphiQL, React and graphql-ws come out of the wheel graphene-django-graphiql-static, which is never imported: its files
are read, and served only if their SHA-256 is that of the release they were checked against. The page, its script and
its style sheet are ours.
"""

import html
import logging
import re
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from app.assets import HEADERS, asset_route

logger = logging.getLogger(__name__)

PACKAGE = "graphene_django_graphiql_static"
DISTRIBUTION = "graphene-django-graphiql-static==0.8"

CHECKED_ASSETS = {
    "graphiql.min.css": "c6cd4b83f01c5e1ff4975d77bc957184dce6dec0155fbf9cc4d9190eba8a7b9d",
    "graphiql.min.js": "c564de05b95d184e2c5ba5ceaf2635821f6bf92f2d5777b74d91004ff6b591d1",
    "graphql-ws.min.js": "11986f83a00d26b06c80bbcb01ad2eb8734b7a92c95421584bec656f953f6eac",
    "react-dom.production.min.js": "9db33292007ab6c38527b39d5663e976a305564e19b2a5a8713ea2b2c00f505d",
    "react.production.min.js": "229bbf4d0e7488209564152c6723497f1ac3934136ca1684233d2fa88fa4146f",
}
"""File name to SHA-256: GraphiQL 2.4.7, React 17.0.2, graphql-ws 5.12.1."""

OWN_ASSETS = ("boot.js", "page.css")
OWN_FOLDER = Path(__file__).parent / "static"

_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]+")


class AssetsError(Exception):
    """GraphiQL cannot be served; the message says which file is wrong and what to do."""


class GraphiQL:
    """The page and its assets, read once and kept in memory.

    `assets` is a folder with the files CHECKED_ASSETS names, trusted as it is; None takes those of the wheel and checks
    them. If they are missing or differ, a warning is logged and the page is a 404 that says what to do. Without
    `introspection` the page does not ask for the schema, and has no manual and no completion.
    """

    def __init__(self, assets: Path | None = None, *, introspection: bool = True) -> None:
        page = (OWN_FOLDER / "graphiql.html").read_text(encoding="utf-8")
        self._page = page.replace("{{introspection}}", "on" if introspection else "off")
        self._assets: dict[str, bytes] = {}
        self._problem: str | None = None
        try:
            self._assets = read_assets(assets)
        except AssetsError as error:
            self._problem = str(error)
            logger.warning("GraphiQL is not served: %s", error)

    def page(self, request: Request) -> Response:
        """The HTML page for the endpoint that `request` asked for."""
        if self._problem:
            text = f"<!doctype html><title>GraphiQL</title><p>GraphiQL is not served. {html.escape(self._problem)}</p>"
            return Response(text, 404, {**_page_headers(request), "Content-Type": "text/html; charset=utf-8"})
        endpoint = html.escape(request.url.path.rstrip("/"))
        text = self._page.replace("{{endpoint}}", endpoint)
        return Response(text, headers={**_page_headers(request), "Content-Type": "text/html; charset=utf-8"})

    def routes(self, path: str) -> list[BaseRoute]:
        """The routes of the assets of the page at `path`."""
        return [asset_route(f"{path}/assets", self._assets)]


def read_assets(folder: Path | None = None) -> dict[str, bytes]:
    """Every asset by file name, from `folder` or, checked, from the installed wheel. Raises AssetsError."""
    assets = {name: (OWN_FOLDER / name).read_bytes() for name in OWN_ASSETS}
    source = folder or _installed_folder()
    for name, expected in CHECKED_ASSETS.items():
        try:
            content = (source / name).read_bytes()
        except OSError as error:
            raise AssetsError(f"{name} cannot be read from {source}: {error.strerror}.") from error
        if folder is None and sha256(content).hexdigest() != expected:
            raise AssetsError(f"{name} is not the file Heliograph was checked with. {_remedy()}")
        assets[name] = content
    return assets


def _installed_folder() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise AssetsError(f"The package with its files is not installed. {_remedy()}")
    return Path(spec.submodule_search_locations[0]) / "static" / PACKAGE


def _remedy() -> str:
    return f"Install {DISTRIBUTION}, or name a folder with the files in HELIOGRAPH_GRAPHIQL_ASSETS."


def _page_headers(request: Request) -> dict[str, str]:
    host = request.headers.get("host", "")
    # Not every browser counts ws: to the same host as 'self'. The host is the client's word, so it is checked.
    socket = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        f"font-src 'self' data:; connect-src 'self'{socket}; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return {**HEADERS, "Content-Security-Policy": policy, "Cache-Control": "no-store", "Vary": "Accept"}
