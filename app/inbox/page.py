"""The page on which people read captured mail, every byte of it from this server.

It holds no mail: its script asks /graphql with the API key that the reader types in.
"""

import html
from hashlib import sha256
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

PATH = "/inbox"

FOLDER = Path(__file__).parent / "static"
PAGE = "inbox.html"

MEDIA_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

# The frame that shows a mail's html inherits this policy and adds a stricter one of its own. Inline styles are allowed
# for its sake; with images from here and data: alone, and no fonts, a style has nothing to leak through.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

PAGE_HEADERS = {
    **HEADERS,
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    # Browsers look up the hosts of links ahead of a click, which tells those hosts that the mail was opened.
    "X-DNS-Prefetch-Control": "off",
}


def inbox_routes() -> list[BaseRoute]:
    """GET /inbox, with and without a slash at its end, and the page's assets below it."""
    page = _Page()
    return [
        *(Route(path, page.show, methods=["GET"]) for path in (PATH, f"{PATH}/")),
        Route(f"{PATH}/assets/{{name}}", page.asset, methods=["GET"]),
    ]


class _Page:
    """The page and its assets, read once and kept in memory."""

    def __init__(self) -> None:
        self._page = (FOLDER / PAGE).read_text(encoding="utf-8")
        self._assets = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.suffix in MEDIA_TYPES}

    async def show(self, request: Request) -> Response:
        root = html.escape(request.scope.get("root_path", "").rstrip("/"))
        return Response(self._page.replace("{{root}}", root), headers=PAGE_HEADERS)

    async def asset(self, request: Request) -> Response:
        name = request.path_params["name"]
        content = self._assets.get(name)
        if content is None:
            raise HTTPException(404, "No such file.", HEADERS)
        tag = f'"{sha256(content).hexdigest()[:32]}"'
        headers = {**HEADERS, "Cache-Control": "no-cache", "ETag": tag, "Content-Type": MEDIA_TYPES[Path(name).suffix]}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers)
