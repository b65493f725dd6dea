"""Trouble that is met in the background, told in the log: one line for what passes by itself, a traceback for what
should not be."""

import logging

from app.database.transient import is_transient


def log_trouble(logger: logging.Logger, error: BaseException, text: str, *values: object) -> None:
    """Log `text`, formatted with `values`, and the kind of `error`: a warning where it passes by itself (see
    `is_transient`), else an error with its traceback."""
    told = f"{text} (%s)", *values, type(error).__name__
    if is_transient(error):
        logger.warning(*told)
    else:
        logger.error(*told, exc_info=error)
