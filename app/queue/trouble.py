"""Trouble of the engines, told in the log: one line for what passes by itself, a traceback for what should not be."""

import logging
from uuid import UUID

from app.database.connection import is_transient

logger = logging.getLogger(__name__)


def log_trouble(error: BaseException) -> None:
    """An engine could not look for due mail."""
    _log(error, "the database is in trouble (%s); looking for due mail again soon", type(error).__name__)


def log_broken_off(message_id: UUID, error: BaseException) -> None:
    """A call of the engine ended with an exception; the message stays due, or leased until the lease ends."""
    _log(error, "message %s: the attempt broke off (%s)", message_id, type(error).__name__)


def _log(error: BaseException, text: str, *values: object) -> None:
    if is_transient(error):
        logger.warning(text, *values)
    else:
        logger.error(text, *values, exc_info=error)
