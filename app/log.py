"""How log lines look: for people, or as one JSON object per line; with the request's id, and no more of an email
address than is wished."""

import json
import logging
import re
import sys
import time
from datetime import UTC, datetime

from app.request import current_request
from app.settings import Settings

# Anything that may be an email address: its local part, quoted or not, and its domain.
_SEPARATORS = r"""\s<>@"`,;:()\[\]\\"""
_ADDRESS = re.compile(rf"""(?:"[^"\n]{{0,64}}"|(?<![^{_SEPARATORS}])[^{_SEPARATORS}]++)@([^'{_SEPARATORS}]+)""")
_MASKS = {"full": None, "domain": r"…@\1", "none": "…@…"}


def configure_logging(settings: Settings) -> None:
    """Write to stderr, in the format and from the level that the settings say; no API key that uvicorn would log."""
    # No line tells from where in the code it comes, nor on which thread: looking that up takes longer than the rest.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter((JsonFormatter if settings.log_format == "json" else HumanFormatter)(settings.log_addresses))
    handler.addFilter(note_request)
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    uvicorn = logging.getLogger("uvicorn.error")
    # At DEBUG it logs every header and frame of a WebSocket, from INFO on its path with the query: both hold API keys.
    uvicorn.setLevel(max(logging.INFO, logging.getLogger().level))
    uvicorn.addFilter(_tells_no_path)
    # Of a malformed body the client is told; it is no trouble of the server's.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    # While PostgreSQL is down, asyncpg's pool would log the same traceback every few seconds.
    logging.getLogger("asyncpg.pool").addFilter(_without_traceback)


def note_request(record: logging.LogRecord) -> bool:
    """Write the id of the request that is being answered, if one is, into the record."""
    request = current_request()
    record.request_id = request.id if request else None
    return True


def masked(text: str, addresses: str) -> str:
    """The text with its email addresses in `full`, of each the `domain`, or `none` of it."""
    mask = _MASKS[addresses]
    return text if mask is None or "@" not in text else _ADDRESS.sub(mask, text)


class HumanFormatter(logging.Formatter):
    """Time, level, logger, message, request id, and the traceback where there is one."""

    def __init__(self, addresses: str = "domain") -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
        self._addresses = addresses
        self._second, self._shown = -1, ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's
        """As logging's own, worked out once per second."""
        second = int(record.created)
        if second != self._second:
            self._second, self._shown = second, time.strftime(self.default_time_format, self.converter(second))
        return f"{self._shown},{record.msecs:03.0f}"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's
        """The line, without traceback."""
        request_id = getattr(record, "request_id", None)
        return super().formatMessage(record) + (f" [{request_id}]" if request_id else "")

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line, and what belongs to it below."""
        if not (record.exc_info or record.exc_text or record.stack_info):
            shown = f"{self.formatTime(record)} {record.levelname:<7} {record.name}: {record.getMessage()}"
            request_id = getattr(record, "request_id", None)
            return masked(f"{shown} [{request_id}]" if request_id else shown, self._addresses)
        return masked(super().format(record), self._addresses)


class JsonFormatter(logging.Formatter):
    """One object: time (UTC), level, logger, message, the request's id and what is told of it in fields of their own,
    and the traceback where there is one."""

    def __init__(self, addresses: str = "domain") -> None:
        super().__init__()
        self._addresses = addresses

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": masked(record.getMessage(), self._addresses),
        }
        if request_id := getattr(record, "request_id", None):
            line["request_id"] = request_id
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = masked(self.formatException(record.exc_info), self._addresses)
        return json.dumps(line)


def _without_traceback(record: logging.LogRecord) -> bool:
    record.exc_info = None
    return True


def _tells_no_path(record: logging.LogRecord) -> bool:
    return '"WebSocket ' not in record.getMessage()
