"""Log lines for people and for programs."""

import json
import logging
import sys
from collections.abc import Iterator

import pytest

from app.log import JsonFormatter, configure_logging
from app.settings import Settings


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[logging.Logger]:
    """The root logger, given back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


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
