"""The page on which people read captured mail, every byte of it from this server.

It holds no mail: its script asks /graphql with the API key that the reader types in.
"""

from pathlib import Path

from starlette.routing import BaseRoute

from app.assets import page_routes

PATH = "/inbox"

PAGE = Path(__file__).parent / "static" / "inbox.html"

# The frame that shows a mail's html inherits this policy and adds a stricter one of its own. Inline styles are allowed
# for its sake; with images from here and data: alone, and no fonts, a style has nothing to leak through.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def inbox_routes() -> list[BaseRoute]:
    """GET /inbox, with and without a slash at its end, and the page's assets below it."""
    return page_routes(PATH, PAGE, CONTENT_SECURITY_POLICY)
