"""The files that web pages are made of, served from memory."""

import html
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

MEDIA_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""For every page and every asset."""

_PAGE_HEADERS = {
    **HEADERS,
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    # Browsers look up the hosts of links ahead of a click, which tells those hosts that a mail was opened.
    "X-DNS-Prefetch-Control": "off",
}


def page_routes(path: str, page_file: Path, policy: str) -> list[BaseRoute]:
    """GET `path`, with and without a slash at its end, is `page_file` with the application's own path for {{root}}, and
    `policy` as its Content-Security-Policy; the assets of its folder are below `path`/assets."""
    headers = {**_PAGE_HEADERS, "Content-Security-Policy": policy}
    text = page_file.read_text(encoding="utf-8")
    assets = {file.name: file.read_bytes() for file in page_file.parent.iterdir() if file.suffix in MEDIA_TYPES}

    async def page(request: Request) -> Response:
        root = html.escape(request.scope.get("root_path", "").rstrip("/"))
        return Response(text.replace("{{root}}", root), headers=headers)

    pages = (Route(address, page, methods=["GET"]) for address in (path, f"{path}/"))
    return [*pages, asset_route(f"{path}/assets", assets)]


def asset_route(path: str, assets: Mapping[str, bytes]) -> Route:
    """GET `path`/{name} for each of `assets` (their suffixes in MEDIA_TYPES), revalidated by ETag at every use."""
    tags = {name: f'"{sha256(content).hexdigest()[:32]}"' for name, content in assets.items()}

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in assets:
            raise HTTPException(404, "No such file.", HEADERS)
        described = {"Content-Type": MEDIA_TYPES[Path(name).suffix], "Cache-Control": "no-cache", "ETag": tags[name]}
        if request.headers.get("if-none-match") == tags[name]:
            return Response(status_code=304, headers={**HEADERS, **described})
        return Response(assets[name], headers={**HEADERS, **described})

    return Route(f"{path}/{{name}}", asset, methods=["GET"])
