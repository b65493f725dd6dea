"""How log lines look: for people, or as one JSON object per line."""

import json
import logging
import sys
from datetime import UTC, datetime

from app.settings import Settings


def configure_logging(settings: Settings) -> None:
    """Write to stderr, in the format and from the level that the settings say; no API key that uvicorn would log."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter()
        if settings.log_format == "json"
        else logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    )
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    uvicorn = logging.getLogger("uvicorn.error")
    # At DEBUG it logs every header and frame of a WebSocket, from INFO on its path with the query: both hold API keys.
    uvicorn.setLevel(max(logging.INFO, logging.getLogger().level))
    uvicorn.addFilter(_tells_no_path)
    # Of a malformed body the client is told; it is no trouble of the server's.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    # While PostgreSQL is down, asyncpg's pool would log the same traceback every few seconds.
    logging.getLogger("asyncpg.pool").addFilter(_without_traceback)


def _without_traceback(record: logging.LogRecord) -> bool:
    record.exc_info = None
    return True


def _tells_no_path(record: logging.LogRecord) -> bool:
    return '"WebSocket ' not in record.getMessage()


class JsonFormatter(logging.Formatter):
    """One object: time (UTC), level, logger, message, and the traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)
