"""The documentation of the REST route: for programs at /openapi.json, for people at /docs, which renders the former.

The page is served from here to the last byte. An API key that is typed in stays in the page's memory.
"""

from hashlib import sha256
from pathlib import Path

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app.assets import HEADERS, page_routes
from app.rest.openapi import openapi_document
from app.settings import Settings

PATH = "/docs"
DOCUMENT_PATH = "/openapi.json"

PAGE = Path(__file__).parent / "static" / "docs.html"

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def docs_routes(settings: Settings) -> list[BaseRoute]:
    """GET /openapi.json, made once, revalidated by ETag; GET /docs and the page's assets below it."""
    octets = orjson.dumps(openapi_document(settings))
    described = {**HEADERS, "Cache-Control": "no-cache", "ETag": f'"{sha256(octets).hexdigest()[:32]}"'}

    async def document(request: Request) -> Response:
        if request.headers.get("if-none-match") == described["ETag"]:
            return Response(status_code=304, headers=described)
        return Response(octets, headers=described, media_type="application/json")

    return [Route(DOCUMENT_PATH, document, methods=["GET"]), *page_routes(PATH, PAGE, CONTENT_SECURITY_POLICY)]
