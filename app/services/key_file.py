"""The file of secret keys: one key text per line, the first one seals."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from app.settings import SettingsError


def read_key_file(path: Path) -> list[str]:
    """The key texts in the file, without surrounding space and empty lines. Raises SettingsError."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        raise SettingsError(f"{path}: the key file is missing, or cannot be read as ASCII text") from None
    return [line.strip() for line in lines if line.strip()]


def make_key_file(path: Path) -> None:
    """Make the file with one new key of 384 random bits, readable by its owner only, unless it exists.

    The file appears with its whole content at once and is on disk on return; of several processes that start
    together one wins. Raises SettingsError.
    """
    if path.exists():
        return
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _write_durably(draft, secrets.token_urlsafe(48) + "\n")
        # Unlike a rename, a link never replaces the file of a process that was faster.
        with suppress(FileExistsError):
            os.link(draft, path)
        _flush(path.parent)
    except OSError as error:
        raise SettingsError(f"{path}: the key file cannot be made: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)


def _write_durably(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
