"""Log lines for people and for programs."""

import asyncio
import contextlib
import contextvars
import io
import json
import logging
import socket
import sys
import threading
from collections.abc import Iterator

import pytest
import uvicorn
import websockets
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from app.log import GatheredLines, HumanFormatter, JsonFormatter, UsualLine, configure_logging, masked
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


class _Stream(io.StringIO):
    """Remembers each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        if self.closed:
            raise ValueError("closed")
        self.writes.append(text)
        return len(text)


def _gathering(root: logging.Logger) -> tuple[_Stream, GatheredLines]:
    stream = _Stream()
    handler = GatheredLines(stream)
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    return stream, handler


async def test_the_lines_of_one_turn_of_the_loop_are_written_in_one_piece(root_logger: logging.Logger) -> None:
    stream, _ = _gathering(root_logger)
    logger = logging.getLogger("app.x")
    for turn in range(2):
        logger.info("first of %d", turn)
        logger.info("second of %d", turn)
        assert len(stream.writes) == turn
        await asyncio.sleep(0)
        assert stream.writes[turn] == f"first of {turn}\nsecond of {turn}\n"


async def test_a_warning_is_written_at_once_behind_what_came_before(root_logger: logging.Logger) -> None:
    stream, _ = _gathering(root_logger)
    logger = logging.getLogger("app.x")
    logger.info("first")
    logger.warning("second")
    logger.info("third")
    elsewhere = threading.Thread(target=logger.info, args=("fourth",))
    elsewhere.start()
    elsewhere.join()  # before this turn ends
    logger.info("fünfth")
    logger.info("x" * 4000)
    logger.info("y" * 4000)
    await asyncio.sleep(0)
    long = ["x" * 4000 + "\n", "y" * 4000 + "\n"]
    assert stream.writes == ["first\nsecond\n", "third\nfourth\n", "fünfth\n", *long]


def test_no_line_waits_where_no_loop_runs_nor_for_a_loop_that_ended(root_logger: logging.Logger) -> None:
    stream, handler = _gathering(root_logger)
    logger = logging.getLogger("app.x")

    async def tell(text: str) -> None:
        logger.info(text)

    for number in range(2):
        with contextlib.closing(asyncio.new_event_loop()) as loop:
            loop.run_until_complete(tell(f"inside {number}"))
    logger.info("outside")
    assert "".join(stream.writes) == "inside 0\ninside 1\noutside\n"
    asyncio.run(tell("once more"))
    assert stream.writes[-1] == "once more\n"
    handler.close()


async def test_what_waits_is_written_when_the_log_is_closed(root_logger: logging.Logger) -> None:
    stream, handler = _gathering(root_logger)
    logging.getLogger("app.x").info("last words")
    logging.shutdown([lambda: handler])  # as at the end of the process
    assert stream.writes == ["last words\n"]


async def test_a_line_that_cannot_be_written_is_no_failure_of_who_tells_it(
    root_logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    stream, _ = _gathering(root_logger)
    stream.close()
    logging.getLogger("app.x").info("gone")
    await asyncio.sleep(0)
    logging.getLogger("app.x").warning("gone as well")
    UsualLine(logging.getLogger("app.x"), "gone %s").write("too")
    await asyncio.sleep(0)
    assert capsys.readouterr().err.count("--- Logging error ---") == 3


def _fields(name: str, status: int) -> dict[str, int]:
    return {"status": status}


@pytest.mark.parametrize("formatter", [HumanFormatter("domain"), JsonFormatter("domain")])
def test_a_usual_line_is_the_one_that_logging_would_write(
    formatter: logging.Formatter, root_logger: logging.Logger
) -> None:
    stream, handler = _gathering(root_logger)
    handler.setFormatter(formatter)
    logger = logging.getLogger("app.x")
    usual, told, fields = UsualLine(logger, "%s of %d", _fields), ("a@b.example", 7), {"status": 7}

    def write_both() -> None:
        begin_request("abc123")
        usual.write(*told)
        logger.info("%s of %d", *told, extra={"fields": fields})

    for _ in range(20):  # until both are of one millisecond
        stream.writes.clear()
        contextvars.Context().run(write_both)
        if stream.writes[0] == stream.writes[1]:
            break
    assert "abc123" in stream.writes[0]
    assert stream.writes[0] == stream.writes[1]
    stream.writes.clear()
    root_logger.setLevel(logging.WARNING)
    usual.write(*told)
    assert stream.writes == []


@pytest.mark.parametrize("exc_info", [False, True])
def test_a_line_for_people_is_the_one_of_logging_with_a_time_of_its_own(exc_info: bool) -> None:
    plain = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    try:
        raise ValueError("broken")
    except ValueError:
        told = sys.exc_info() if exc_info else None
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.CRITICAL):
        record = logging.LogRecord("app.x", level, "x.py", 1, "two\nlines of %s", ("ü",), told, sinfo="Stack:")
        assert HumanFormatter().format(record) == plain.format(record)


@pytest.mark.parametrize("where", ["root", "above", "logger"])
def test_a_usual_line_comes_to_whoever_listens(where: str, root_logger: logging.Logger) -> None:
    stream, _ = _gathering(root_logger)
    records: list[logging.LogRecord] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger = logging.getLogger("listened.x")
    listening = {"root": root_logger, "above": logging.getLogger("listened"), "logger": logger}[where]
    usual, kept = UsualLine(logger, "%s of %d", _fields), Kept()
    listening.addHandler(kept)
    try:
        usual.write("one", 7)
    finally:
        listening.removeHandler(kept)
    assert stream.writes == ["one of 7\n"]
    [record] = records
    assert (record.getMessage(), record.levelname, vars(record)["fields"]) == ("one of 7", "INFO", {"status": 7})


async def test_who_begins_to_listen_within_a_turn_hears_the_next_usual_line_of_it(root_logger: logging.Logger) -> None:
    stream, handler = _gathering(root_logger)
    other = _Stream()
    usual = UsualLine(logging.getLogger("app.x"), "%s of %d", _fields)
    usual.write("one", 7)
    root_logger.addHandler(logging.StreamHandler(other))
    usual.write("two", 7)
    root_logger.handlers[:] = [GatheredLines(other)]
    usual.write("three", 7)
    assert stream.writes == []
    handler.flush()
    await asyncio.sleep(0)
    assert "".join(stream.writes) == "one of 7\ntwo of 7\n"
    assert "".join(other.writes) == "two of 7\nthree of 7\n"


async def test_a_usual_line_that_cannot_be_filled_is_no_failure_of_others(
    root_logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    stream, _ = _gathering(root_logger)
    usual = UsualLine(logging.getLogger("app.x"), "%s of %d")
    for count in (1, "two", 3):
        usual.write("one", count)
    await asyncio.sleep(0)
    assert stream.writes == ["one of 1\none of 3\n"]
    assert capsys.readouterr().err.count("--- Logging error ---") == 1


async def test_after_a_usual_line_that_cannot_be_filled_who_listens_is_asked_again(root_logger: logging.Logger) -> None:
    stream, _ = _gathering(root_logger)
    logger = logging.getLogger("app.x")
    usual = UsualLine(logger, "%s of %d")
    usual.write("one", "two")
    await asyncio.sleep(0)
    logger.setLevel(logging.WARNING)
    try:
        usual.write("one", 1)
        await asyncio.sleep(0)
        assert stream.writes == []
    finally:
        logger.setLevel(logging.NOTSET)


@pytest.mark.parametrize("request_id", [None, "req_1"])
def test_a_line_is_as_the_long_way_would_make_it(request_id: str | None) -> None:
    formatter = HumanFormatter()
    record = logging.makeLogRecord(
        {"name": "app.x", "levelname": "INFO", "msg": "to %s, %d%%", "args": ("ada@example.com", 5)}
    )
    record.request_id = request_id
    short = formatter.format(record)
    assert short == masked(logging.Formatter.format(formatter, record), "domain")
