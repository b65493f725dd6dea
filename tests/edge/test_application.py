"""Around every request: who it is from, its id, its line in the log, and the header of its answer."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from io import StringIO
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from app.answer import WHOLE, answer
from app.edge.application import _SECURE, at_the_edge
from app.log import GatheredLines, JsonFormatter, note_request
from app.request import current_request, note_key
from app.settings import Settings

Lines = Callable[[], list[dict[str, Any]]]

logger = logging.getLogger("app.test")


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What was logged, as JSON."""
    written: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(self.format(record))

    handler, root = Kept(), logging.getLogger()
    handler.setFormatter(JsonFormatter())
    handler.addFilter(note_request)
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield lambda: [line for line in map(json.loads, written) if line["logger"].startswith("app.")]
    root.removeHandler(handler)
    root.setLevel(level)


class Left:
    """Tasks that a request leaves behind."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []

    async def later(self) -> None:
        await self.go_on.wait()
        logger.info("after the request")


@asynccontextmanager
async def client(peer: str = "127.0.0.1", left: Left | None = None, **given: Any) -> AsyncIterator[httpx2.AsyncClient]:
    async def show(request: Request) -> JSONResponse:
        assert request.client is not None
        seen = {name: request.headers[name] for name in request.headers if name.startswith(("x-f", "forw", "x-req"))}
        return JSONResponse({"client": request.client.host, "scheme": request.url.scheme, "headers": seen})

    async def work(request: Request) -> Response:
        note_key("key_1")
        logger.info("working for someone@x.example")
        if left is not None:
            left.tasks.append(asyncio.create_task(left.later()))
        await asyncio.create_task(asyncio.sleep(0))
        return PlainTextResponse("done", headers={"Cache-Control": "no-cache"})

    async def fail(request: Request) -> Response:
        raise RuntimeError("broken")

    app = Starlette(routes=[Route("/", show), Route("/work", work), Route("/fail", fail)])
    settings = Settings.model_validate(given)
    transport = httpx2.ASGITransport(at_the_edge(app, settings), client=(peer, 5000), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://heliograph.test") as http:
        yield http


CLAIMS = {
    "X-Forwarded-For": "8.8.8.8",
    "X-Forwarded-Proto": "https",
    "Forwarded": "for=9.9.9.9;proto=https",
    "X-Request-Id": "from-the-proxy",
}


async def test_of_anybody_but_a_trusted_proxy_no_claim_is_heard() -> None:
    for trusted in ("", "10.0.0.0/8"):
        async with client(trusted_proxies=trusted) as http:
            answer = await http.get("/", headers=CLAIMS)
            assert answer.json() == {"client": "127.0.0.1", "scheme": "http", "headers": {}}
            assert answer.headers["x-request-id"] != "from-the-proxy"


@pytest.mark.parametrize(("header", "seen"), [("X-Forwarded-For", "8.8.8.8"), ("forwarded", "9.9.9.9")])
async def test_a_trusted_proxy_is_heard_in_the_one_header_that_is_set(header: str, seen: str) -> None:
    async with client(trusted_proxies="127.0.0.0/8, ::1/128", forwarded_header=header) as http:
        answer = await http.get("/", headers=CLAIMS)
        told = answer.json()
        assert (told["client"], told["scheme"]) == (seen, "https")
        assert told["headers"] == {"x-request-id": "from-the-proxy"}
        assert answer.headers["x-request-id"] == "from-the-proxy"


async def test_what_a_proxy_says_is_heard_of_each_request_by_itself() -> None:
    async with client(trusted_proxies="127.0.0.0/8, 10.0.0.0/8") as http:
        hops = ", 10.0.0.1" * 100
        for said, seen in (("8.8.8.8", "8.8.8.8"), ("8.8.4.4", "8.8.4.4"), ("unknown", "127.0.0.1")):
            for scheme in ("http", "https", "ftp"):
                for way in ("", hops):
                    claims = {"X-Forwarded-For": said + way, "X-Forwarded-Proto": scheme}
                    told = (await http.get("/", headers=claims)).json()
                    address = "10.0.0.1" if said == "unknown" and way else seen
                    known = scheme if said != "unknown" or way else "http"
                    assert told == {"client": address, "scheme": "http" if scheme == "ftp" else known, "headers": {}}
        assert (await http.get("/", headers={"X-Request-Id": "given"})).json()["client"] == "127.0.0.1"


async def test_a_proxy_on_a_socket_of_both_families_is_known_by_its_ipv4_address() -> None:
    async with client("::ffff:10.0.0.9", trusted_proxies="10.0.0.0/8") as http:
        assert (await http.get("/", headers=CLAIMS)).json()["client"] == "8.8.8.8"


@pytest.mark.parametrize("given", ["", "-x", "a b", "a\x7f", "x" * 129, "ünicode", "a;b", 'a"b'])
async def test_an_id_that_is_not_well_formed_is_replaced(given: str) -> None:
    async with client(trusted_proxies="127.0.0.1/32") as http:
        answer = await http.get("/", headers={b"X-Request-Id": given.encode()})
        assert answer.headers["x-request-id"] not in ("", given)
        assert len(answer.headers["x-request-id"]) == 16


async def test_each_request_has_an_id_of_its_own_in_its_answer_and_its_lines(lines: Lines) -> None:
    async with client() as http:
        secret = http.get("/work?api_key=canary", headers={"X-Api-Key": "canary"})
        answers = await asyncio.gather(secret, http.get("/work"), http.get("/work"))
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == 3
    for request_id in ids:
        said, told = [line for line in lines() if line["request_id"] == request_id]
        assert said["message"] == "working for …@x.example"
        assert told["logger"] == "app.requests"
        assert (told["method"], told["path"], told["status"], told["key_id"]) == ("GET", "/work", 200, "key_1")
        assert told["milliseconds"] >= 0
        assert told["message"].startswith("GET /work 200 ")
        assert told["message"].endswith(" ms key_1")
    assert "canary" not in json.dumps(lines())
    assert current_request() is None


async def test_a_task_that_outlives_its_request_does_not_carry_its_id(lines: Lines) -> None:
    left = Left()
    async with client(left=left) as http:
        await http.get("/work")
        left.go_on.set()
        await asyncio.gather(*left.tasks)
    [after] = [line for line in lines() if line["message"] == "after the request"]
    assert "request_id" not in after


async def test_a_path_cannot_break_out_of_its_line(lines: Lines) -> None:
    async with client() as http:
        await http.get("/x%0d%0aINFO%20forged%1b[31m" + "y" * 500)
    [line] = lines()
    assert line["status"] == 404
    assert line["message"].endswith(" ms -")
    assert line["path"].startswith("/x%0D%0AINFO%20forged%1B")
    assert len(line["path"]) == 200


async def test_the_lines_about_requests_can_be_turned_off(lines: Lines) -> None:
    async with client(log_requests=False) as http:
        assert (await http.get("/work")).headers["x-request-id"]
    assert [line["logger"] for line in lines()] == ["app.test"]


async def test_what_is_unexpected_has_an_id_and_a_header_as_well(lines: Lines) -> None:
    async with client() as http:
        answer = await http.get("/fail")
    assert answer.status_code == 500
    assert [line["status"] for line in lines()] == [500]
    assert answer.headers["x-request-id"] == lines()[0]["request_id"]
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_every_answer_has_the_header_that_browsers_heed() -> None:
    async with client(hsts_max_age=3600) as http:
        for path, caching in (("/", "no-store"), ("/work", "no-cache"), ("/nowhere", "no-store")):
            header = (await http.get(path)).headers
            assert (header["x-content-type-options"], header["referrer-policy"]) == ("nosniff", "no-referrer")
            assert header["cache-control"] == caching
            assert "strict-transport-security" not in header, "not over http"


async def test_strict_transport_security_is_said_over_https_where_it_is_set() -> None:
    for seconds, said in ((3600, "max-age=3600"), (0, None)):
        async with client(trusted_proxies="127.0.0.1/32", hsts_max_age=seconds) as http:
            answer = await http.get("/", headers=CLAIMS)
            assert answer.headers.get("strict-transport-security") == said


@pytest.mark.parametrize("origin", [None, "https://shop.example"])
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("path", ["/", "/graphql", "/api/v2/relay", "/api/v2/" + "x" * 300])
@pytest.mark.parametrize("names", [(b"x-a",), (b"cache-control", b"referrer-policy"), tuple(dict(_SECURE)), ()])
async def test_a_whole_response_is_what_its_two_messages_are(
    origin: str | None, scheme: str, path: str, names: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch, lines: Lines
) -> None:
    async def unknown(self: object, origin: str | None) -> bool:
        return False

    monkeypatch.setattr("app.edge.cors.CrossOrigin._is_known", unknown)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(b"{}", 202, names, [b"own"] * len(names))(scope, receive, send)

    async def receive() -> Message:
        return {}

    async def sent(extensions: dict[str, Any]) -> list[Message]:
        scope = {"type": "http", "method": "POST", "path": path, "scheme": scheme, "extensions": extensions}
        messages: list[Message] = []

        async def send(message: Message) -> None:
            messages.append(message)

        fields = [(b"origin", origin.encode())] if origin else []
        await at_the_edge(app, Settings(hsts_max_age=9))({**scope, "headers": fields}, receive, send)
        return messages

    start, body = await sent({})
    at_once = await sent({WHOLE: {}})
    if origin is None or path == "/":
        [whole] = at_once
        header = [*whole["header"]]
    else:
        header = at_once[0]["headers"]
    told = start["headers"]
    assert (header[:-1], header[-1][0], len(header[-1][1])) == (told[:-1], b"x-request-id", 16)
    assert (at_once[0]["status"], at_once[-1]["body"]) == (start["status"], body["body"]) == (202, b"{}")
    assert [line["status"] for line in lines()] == [202, 202]


async def test_lines_wait_for_those_of_others_only_while_others_are_under_way() -> None:
    written, root = StringIO(), logging.getLogger()
    before, level, root.handlers[:] = root.handlers[:], root.level, [GatheredLines(written)]
    root.setLevel(logging.INFO)
    go_on = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            await go_on.wait()
        logger.info("working")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def count() -> int:
        return len(written.getvalue().splitlines())

    async def receive() -> Message:
        return {}

    edge = at_the_edge(app, Settings())

    async def ask(path: str) -> tuple[int, int]:
        """How many lines are there when the answer goes out, and when all is done."""
        scope = {"type": "http", "method": "GET", "path": path, "scheme": "http", "headers": []}
        there = 0

        async def send(message: Message) -> None:
            nonlocal there
            there = count()

        await edge(scope, receive, send)  # no turn of the loop ends meanwhile
        return there, count()

    try:
        assert await ask("/") == (2, 2)
        slow = asyncio.create_task(ask("/slow"))
        await asyncio.sleep(0)
        assert await ask("/") == (2, 2)
        await asyncio.sleep(0)
        assert await ask("/") == (4, 4)
        go_on.set()
        assert await slow == (8, 8)
    finally:
        root.handlers[:] = before
        root.setLevel(level)
