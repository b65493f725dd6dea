"""What the log says of trouble in the background."""

import logging

import pytest

from app.database.trouble import log_trouble

logger = logging.getLogger(__name__)


def test_what_passes_by_itself_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    log_trouble(logger, ConnectionRefusedError(), "message %s: not written yet", "msg_1")

    [record] = caplog.records
    assert record.getMessage() == "message msg_1: not written yet (ConnectionRefusedError)"
    assert (record.levelno, record.exc_info, record.name) == (logging.WARNING, None, __name__)


def test_what_should_not_be_has_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    error = ZeroDivisionError()
    log_trouble(logger, error, "housekeeping failed; it will be tried again")

    [record] = caplog.records
    assert record.getMessage() == "housekeeping failed; it will be tried again (ZeroDivisionError)"
    assert (record.levelno, record.exc_info) == (logging.ERROR, (ZeroDivisionError, error, None))
