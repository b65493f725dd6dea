"""A pytest plugin: headless Chromium that can reach loopback only, and a real uvicorn server to point it at.

Loaded by `pytest_plugins = ["tests.browser"]` in tests/conftest.py. Chromium is the program that the environment
variable CHROMIUM names, or /usr/bin/chromium. Without it the tests are skipped, or fail: see tests/programs.py.
"""

import os
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
import uvicorn
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Route, async_playwright, expect
from starlette.types import ASGIApp

from tests.programs import without

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]

expect.set_options(timeout=30_000)  # as long as Playwright waits for everything else

REPORT_CSP_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error("CSP violation: " + event.violatedDirective + " " + event.blockedURI));
"""


@dataclass
class Visit:
    """One page in a fresh browser profile, and everything about it that a good page would not do."""

    page: Page
    outside: list[str] = field(default_factory=list)
    """Addresses off loopback that the page asked for; each request was blocked."""
    complaints: list[str] = field(default_factory=list)
    """Console errors, uncaught exceptions and violations of the Content-Security-Policy."""

    def assert_clean(self) -> None:
        """Fail if the page reached for another host or complained."""
        assert self.outside == []
        assert self.complaints == []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that visit run on the loop of the browser."""
    for item in items:
        if isinstance(item, pytest.Function) and "visit" in item.fixturenames:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture
def serve() -> Iterator[Callable[[ASGIApp], str]]:
    """Serve an ASGI application on a free loopback port, in a thread of its own; returns its base URL."""
    served: list[_Served] = []

    def start(app: ASGIApp) -> str:
        served.append(_Served(app))
        return served[-1].url

    yield start
    for server in served:
        server.stop()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Headless Chromium, one for all tests of a worker; yields the address of its debugging port."""
    folder = tmp_path_factory.mktemp("chromium")
    options = [*FLAGS, "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"]
    started = subprocess.Popen([_chromium(), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield _debugging_address(started, folder / "DevToolsActivePort")
    finally:
        started.terminate()
        started.wait(30)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    """Headless Chromium, for all tests of a worker: to start what drives it takes a while. So it has a loop of its own,
    on which the tests that visit run, and the async fixtures that they share it with."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.connect_over_cdp(chromium)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser) -> AsyncIterator[Visit]:
    """A blank page in a fresh profile; end the test with `visit.assert_clean()`."""
    context = await browser.new_context(viewport={"width": 1280, "height": 900})
    await context.add_init_script(REPORT_CSP_VIOLATIONS)
    visit = Visit(await context.new_page())
    await _watch(context, visit)
    yield visit
    await context.close()


def _chromium() -> str:
    executable = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    if Path(executable).exists():
        return executable
    return without("chromium", f"install it, or name another than {executable} in CHROMIUM")


def _debugging_address(started: "subprocess.Popen[bytes]", file: Path) -> str:
    """Chromium writes the port that it took, and a path, into this file."""
    end = time.monotonic() + 60
    while not (file.exists() and file.read_text().count("\n")):
        assert started.poll() is None, "Chromium ended at once"
        assert time.monotonic() < end, "Chromium did not start"
        time.sleep(0.02)
    port, path = file.read_text().split("\n")[:2]
    return f"ws://127.0.0.1:{port}{path}"


async def _watch(context: BrowserContext, visit: Visit) -> None:
    async def gate(route: Route) -> None:
        if _is_outside(route.request.url):
            visit.outside.append(route.request.url)
            await route.abort()
        else:
            await route.continue_()

    def heard(message: ConsoleMessage) -> None:
        if message.type == "error":
            visit.complaints.append(message.text)

    await context.route("**/*", gate)
    visit.page.on("websocket", lambda ws: visit.outside.append(ws.url) if _is_outside(ws.url) else None)
    visit.page.on("console", heard)
    visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))


def _is_outside(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme not in ("data", "blob", "about") and parts.hostname != "127.0.0.1"


class _Served:
    def __init__(self, app: ASGIApp) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = _Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=2))
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))
        self._thread.start()
        assert self._server.ready.wait(30), "the server did not start"
        assert self._server.started, "the application failed to start"

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(30)
        self._socket.close()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.ready.set()
