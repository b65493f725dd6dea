"""The page on which people read captured mail, every byte of it from this server.

It holds no mail: its script asks /graphql with the API key that the reader types in.
"""

import html
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app.assets import HEADERS, MEDIA_TYPES, asset_route

PATH = "/inbox"

FOLDER = Path(__file__).parent / "static"
PAGE = "inbox.html"

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
    text = (FOLDER / PAGE).read_text(encoding="utf-8")
    assets = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.suffix in MEDIA_TYPES}

    async def page(request: Request) -> Response:
        root = html.escape(request.scope.get("root_path", "").rstrip("/"))
        return Response(text.replace("{{root}}", root), headers=PAGE_HEADERS)

    pages = (Route(path, page, methods=["GET"]) for path in (PATH, f"{PATH}/"))
    return [*pages, asset_route(f"{PATH}/assets", assets)]
