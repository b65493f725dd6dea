"""Log lines for people and for programs."""

import asyncio
import contextvars
import json
import logging
import socket
import sys
from collections.abc import Iterator

import pytest
import uvicorn
import websockets
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from app.log import HumanFormatter, JsonFormatter, configure_logging, masked
from app.request import begin_request
from app.settings import LogLevel, Settings


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[logging.Logger]:
    """The root logger, given back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("uvicorn.error").setLevel(logging.NOTSET)


def test_a_record_is_one_line_of_json() -> None:
    record = logging.LogRecord("app.x", logging.WARNING, "x.py", 1, "two\nlines of %s", ("ü",), None)
    record.created = 1763812800.5
    line = JsonFormatter().format(record)

    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2025-11-22T12:00:00.500+00:00",
        "level": "warning",
        "logger": "app.x",
        "message": "two\nlines of ü",
    }


def test_a_record_of_an_exception_holds_its_traceback() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        record = logging.LogRecord("app.x", logging.ERROR, "x.py", 1, "message", (), sys.exc_info())
    line = JsonFormatter().format(record)

    assert "\n" not in line
    assert json.loads(line)["traceback"].endswith("ValueError: broken")


def test_lines_go_to_stderr_in_the_format_and_from_the_level_that_are_set(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("app.x")
    configure_logging(Settings(log_format="json", log_level="WARNING"))
    logger.info("quiet")
    logger.warning("loud")
    configure_logging(Settings(log_level="INFO"))
    logger.info("for people")

    captured = capsys.readouterr()
    first, second = captured.err.splitlines()
    assert captured.out == ""
    assert json.loads(first)["message"] == "loud"
    assert second.endswith("INFO    app.x: for people")


@pytest.mark.parametrize("level", ["DEBUG", "INFO"])
async def test_a_key_in_the_query_the_headers_or_a_frame_of_a_websocket_is_not_logged(
    level: LogLevel, capsys: pytest.CaptureFixture[str]
) -> None:
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.close()

    configure_logging(Settings(log_level=level))
    routes = [WebSocketRoute("/graphql", echo)]
    config = uvicorn.Config(Starlette(routes=routes), access_log=False, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        address = f"ws://127.0.0.1:{listening.getsockname()[1]}"
        async with websockets.connect(
            f"{address}/graphql?api_key=canary", additional_headers={"X-API-Key": "canary"}, logger=_SILENT
        ) as client:
            await client.send("canary")
            assert await client.recv() == "canary"
        with pytest.raises(websockets.InvalidStatus):
            await websockets.connect(f"{address}/elsewhere?api_key=canary", logger=_SILENT)
        server.should_exit = True
        await serving

    logged = capsys.readouterr().err
    assert "Started server process" in logged, "uvicorn does log"
    assert "canary" not in logged


def test_uvicorn_is_no_louder_than_the_level_that_is_set(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_level="WARNING"))
    logging.getLogger("uvicorn.error").info("quiet")
    logging.getLogger("uvicorn.error").warning("loud")

    assert "quiet" not in (logged := capsys.readouterr().err)
    assert "loud" in logged


_SILENT = logging.Logger("the client's own", logging.CRITICAL)


def test_the_pool_s_warning_while_the_database_is_down_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings())
    try:
        raise ConnectionRefusedError
    except ConnectionRefusedError:
        logging.getLogger("asyncpg.pool").warning("Failed to connect; retrying", exc_info=True)

    assert capsys.readouterr().err.splitlines()[1:] == []


@pytest.mark.parametrize(
    ("addresses", "shown"),
    [
        ("full", '550 <bob+tag@x.example> no "a b"@y.example, mailto:jürgen@bücher.example. pg://u:pw@db/x'),
        ("domain", "550 <…@x.example> no …@y.example, mailto:…@bücher.example. pg://u:…@db/x"),
        ("none", "550 <…@…> no …@…, mailto:…@… pg://u:…@…"),
    ],
)
def test_addresses_are_logged_as_they_are_set(addresses: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = '550 <bob+tag@x.example> no "a b"@y.example, mailto:jürgen@bücher.example. pg://u:pw@db/x'
    for log_format in ("human", "json"):
        configure_logging(Settings.model_validate({"log_addresses": addresses, "log_format": log_format}))
        logger = logging.getLogger("app.x")
        try:
            raise ValueError(said)
        except ValueError:
            logger.warning("server: %s", said, exc_info=True)
        line = capsys.readouterr().err
        assert line.count(shown if log_format == "human" else json.dumps(shown)[1:-1]) == 2


def test_a_long_text_is_looked_through_in_a_time_that_grows_with_it() -> None:
    long = "x" * 2_000_000
    assert masked(long, "none") == long
    assert masked(f"{long}@x.example", "none") == "…@…"


def test_the_id_of_the_request_ends_a_line_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings())

    def work() -> None:
        begin_request("abc123")
        logging.getLogger("app.x").warning("inside")

    contextvars.Context().run(work)
    logging.getLogger("app.x").warning("outside")
    inside, outside = capsys.readouterr().err.splitlines()
    assert inside.endswith("app.x: inside [abc123]")
    assert outside.endswith("app.x: outside")


@pytest.mark.parametrize("request_id", [None, "req_1"])
def test_a_line_is_as_the_long_way_would_make_it(request_id: str | None) -> None:
    formatter = HumanFormatter()
    record = logging.makeLogRecord(
        {"name": "app.x", "levelname": "INFO", "msg": "to %s, %d%%", "args": ("ada@example.com", 5)}
    )
    record.request_id = request_id
    short = formatter.format(record)
    assert short == masked(logging.Formatter.format(formatter, record), "domain")
