"""How log lines look: for people, or as one JSON object per line; with the request's id, and no more of an email
address than is wished."""

import json
import logging
import re
import sys
import time
from asyncio import AbstractEventLoop
from asyncio import _get_running_loop as running_loop
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

from app.request import current_request
from app.settings import Settings

# Anything that may be an email address: its local part, quoted or not, and its domain.
_SEPARATORS = r"""\s<>@"`,;:()\[\]\\"""
_ADDRESS = re.compile(rf"""(?:"[^"\n]{{0,64}}"|(?<![^{_SEPARATORS}])[^{_SEPARATORS}]++)@([^'{_SEPARATORS}]+)""")
_MASKS = {"full": None, "domain": r"…@\1", "none": "…@…"}

# A pipe takes so many octets in one piece, also where others write into it (POSIX's PIPE_BUF, on Linux).
_WHOLE = 4096


def configure_logging(settings: Settings) -> None:
    """Write to stderr, in the format and from the level that the settings say; no API key that uvicorn would log."""
    # No line tells from where in the code it comes, nor on which thread: looking that up takes longer than the rest.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = GatheredLines(sys.stderr)
    handler.setFormatter((JsonFormatter if settings.log_format == "json" else HumanFormatter)(settings.log_addresses))
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


class GatheredLines(logging.StreamHandler[TextIO]):
    """Writes the lines of one turn of the event loop in one piece, in their order: a system call for each takes longer
    than the rest. Where no loop runs, and from WARNING on, nothing waits. Each record gets its request's id."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        assert self.lock is not None, "logging made it"
        self._held = self.lock
        self._gathered: list[str] = []
        self._turn_of: AbstractEventLoop | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Take one line."""
        try:
            note_request(record)
            line = self.format(record) + self.terminator
            self._gather(line)
            if record.levelno >= logging.WARNING or not line.isascii():
                self.flush()
        except Exception:
            self.handleError(record)

    def take(self, line: "UsualLine", told: tuple[object, ...]) -> None:
        """Take one line, which `told` fills."""
        request, formatter = current_request(), self.formatter
        request_id = request.id if request else None
        with self._held:
            try:
                if isinstance(formatter, HumanFormatter):
                    text = formatter.usual(line, told, request_id)
                else:
                    text = self.format(UsualRecord(line, told, request_id))
                self._gather(text + self.terminator)
            except Exception:
                _sole.clear()  # nothing is there to be flushed
                self.handleError(UsualRecord(line, told, request_id))

    def _gather(self, line: str) -> None:
        self._gathered.append(line)
        loop = running_loop()
        if loop is None:
            self.flush()
        elif loop is not self._turn_of:
            loop.call_soon(self.flush)
            self._turn_of = loop

    def flush(self) -> None:
        """Write what there is."""
        with self._held:
            _sole.clear()
            gathered = self._gathered
            if not gathered:
                return
            self._gathered, self._turn_of = [], None
            for piece in _pieces(gathered):
                self._write(piece)

    def close(self) -> None:
        """Write what there is; nothing comes behind it."""
        self.flush()
        super().close()

    def _write(self, lines: str) -> None:
        try:
            self.stream.write(lines)
            self.stream.flush()
        except Exception:
            self.handleError(logging.makeLogRecord({"msg": lines}))


def _pieces(lines: Sequence[str]) -> Iterator[str]:
    """Together as many as a pipe takes in one piece."""
    piece = "".join(lines)
    if len(piece) <= _WHOLE and piece.isascii():
        yield piece
        return
    begin, size = 0, 0
    for position, line in enumerate(lines):
        octets = len(line.encode(errors="replace"))
        if position > begin and size + octets > _WHOLE:
            yield "".join(lines[begin:position])
            begin, size = position, 0
        size += octets
    yield "".join(lines[begin:])


def write_gathered() -> None:
    """Write what waits for the end of this turn."""
    for handler in logging.root.handlers:
        if isinstance(handler, GatheredLines):
            handler.flush()


Fields = Callable[..., Mapping[str, Any]]


def _no_fields(*told: object) -> Mapping[str, Any]:
    return {}


class UsualLine:
    """A line that is written again and again, at INFO: where nobody but our handler listens, without all that logging
    does for anybody who might. `fields`: what is told in fields of their own, of what fills the text."""

    def __init__(self, logger: logging.Logger, text: str, fields: Fields = _no_fields) -> None:
        self._logger = logger
        self.name = logger.name
        self.text = text
        self.fields = fields

    def write(self, *told: object) -> None:
        """`told`: what fills the text."""
        logger = self._logger
        handler = _sole.get(logger)
        if handler is None or logging.root.handlers != [handler]:
            handler = _note_sole(logger)
        if handler is not None:
            handler.take(self, told)
        elif logger.isEnabledFor(logging.INFO):
            logger.info(self.text, *told, extra={"fields": self.fields(*told)})


class UsualRecord(logging.LogRecord):
    """What handlers and formatters look at, and no more: making all of a record takes longer than the line."""

    levelno, levelname = logging.INFO, logging.getLevelName(logging.INFO)
    exc_info = exc_text = stack_info = None
    filename, lineno = "(unknown file)", 0

    def __init__(self, line: UsualLine, told: tuple[object, ...], request_id: str | None) -> None:
        self.created = time.time()
        self.name, self.msg, self.args, self.request_id = line.name, line.text, told, request_id
        self._line, self._told = line, told

    def getMessage(self) -> str:  # noqa: N802 - logging's
        """The text, filled."""
        return self.msg % self.args

    @property
    def fields(self) -> Mapping[str, Any]:
        """What is told in fields of their own."""
        return self._line.fields(*self._told)


_sole: dict[logging.Logger, GatheredLines] = {}
"""Who alone listens to a logger, at INFO; found out once per turn, since that takes longer than the line. So of root's
handlers a change counts at once, of anything else from the next turn on."""


def _note_sole(logger: logging.Logger) -> GatheredLines | None:
    """Who that is, noted in `_sole`; None where it is not alone, or does not listen."""
    root = logging.root
    if not logger.isEnabledFor(logging.INFO):
        return None
    if logger.parent is not root or logger.handlers or logger.filters or logger.disabled or not logger.propagate:
        return None
    only = root.handlers[0] if len(root.handlers) == 1 else None
    if not isinstance(only, GatheredLines) or only.level or only.filters:
        return None
    _sole[logger] = only
    return only


class HumanFormatter(logging.Formatter):
    """Time, level, logger, message, request id, and the traceback where there is one."""

    def __init__(self, addresses: str = "domain") -> None:
        super().__init__()
        self._addresses = addresses
        self._shows_all = _MASKS[addresses] is None
        self._second, self._shown = -1, ""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's
        """The line, without traceback."""
        level, request_id = record.levelname.ljust(len(_INFO)), getattr(record, "request_id", None)
        return self._line(record.created, level, record.name, record.getMessage(), request_id)

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line, and what belongs to it below."""
        has_more = record.exc_info or record.exc_text or record.stack_info
        line = super().format(record) if has_more else self.formatMessage(record)
        return line if "@" not in line or self._shows_all else masked(line, self._addresses)

    def usual(self, line: UsualLine, told: tuple[object, ...], request_id: str | None) -> str:
        """The same of a usual line, as of now."""
        shown = self._line(time.time(), _INFO, line.name, line.text % told, request_id)
        return shown if "@" not in shown or self._shows_all else masked(shown, self._addresses)

    def _line(self, created: float, level: str, name: str, message: str, request_id: str | None) -> str:
        second = int(created)
        if second != self._second:
            self._second, self._shown = second, time.strftime(self.default_time_format, self.converter(second))
        # What a format specification is, instead of this, is worked out anew for each line.
        thousandths = _THOUSANDTHS[int((created - second) * 1000)]
        line = f"{self._shown},{thousandths} {level} {name}: {message}"
        return f"{line} [{request_id}]" if request_id else line


_INFO = "INFO".ljust(7)
_THOUSANDTHS = [f"{number:03}" for number in range(1000)]


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
