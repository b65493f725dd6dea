"""The browser plugin itself: a watcher that sees nothing would let every page pass."""

from collections.abc import Callable

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from tests.browser import Visit

PAGE = """<!doctype html><link rel="icon" href="data:,"><img src="https://outside.example/pixel.png">
<script>{script}</script>"""


def page_with(script: str, policy: str) -> Starlette:
    async def page(request: Request) -> Response:
        headers = {"Content-Security-Policy": policy}
        return Response(PAGE.replace("{script}", script), media_type="text/html", headers=headers)

    return Starlette(routes=[Route("/", page)])


async def test_a_request_to_another_host_is_blocked_and_recorded(serve: Callable[[ASGIApp], str], visit: Visit) -> None:
    await visit.page.goto(serve(page_with("", "default-src *")))
    assert visit.outside == ["https://outside.example/pixel.png"]
    with pytest.raises(AssertionError):
        visit.assert_clean()


async def test_a_violation_of_the_policy_is_a_complaint(serve: Callable[[ASGIApp], str], visit: Visit) -> None:
    await visit.page.goto(serve(page_with("", "default-src 'self'")))
    assert visit.outside == []
    assert any("Content Security Policy" in complaint for complaint in visit.complaints)


async def test_an_uncaught_exception_and_a_console_error_are_complaints(
    serve: Callable[[ASGIApp], str], visit: Visit
) -> None:
    script = "console.error('said aloud'); throw new Error('thrown')"
    await visit.page.goto(serve(page_with(script, "script-src 'unsafe-inline'; img-src 'none'")))
    assert "said aloud" in visit.complaints
    assert "thrown" in visit.complaints


async def test_a_socket_to_another_host_is_recorded(serve: Callable[[ASGIApp], str], visit: Visit) -> None:
    script = "new WebSocket('ws://outside.example/')"
    async with visit.page.expect_websocket():
        await visit.page.goto(serve(page_with(script, "script-src 'unsafe-inline'; connect-src *; img-src 'none'")))
    assert visit.outside == ["ws://outside.example/"]
