"""Large octets on their way in: kept in temporary files, which have no name and end with who uses them."""

import os
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from msgspec import Struct

from app.errors import Unavailable
from app.settings import Settings

_PIECE = 256 * 1024


class Spooling(Struct, frozen=True):
    """From which size on octets go to a file, and in which folder that is made; of a JSON body that large, strings from
    which size on."""

    over: int = 256 * 1024
    string_over: int = 64 * 1024
    folder: Path | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Spooling":
        """As the operator set it."""
        return cls(settings.spool_over, settings.spool_string_over, settings.spool_folder)


class SpooledOctets:
    """The first `size` octets of a file, which is closed with this. Any thread may read them."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._descriptor = file.fileno()
        self._size = size
        _close_with(self, file)

    def __len__(self) -> int:
        return self._size

    def pieces(self) -> Iterator[bytes]:
        """All of them, in their order."""
        for start in range(0, self._size, _PIECE):
            yield os.pread(self._descriptor, min(_PIECE, self._size - start), start)


class Spool:
    """Takes octets as they arrive: in memory, and once there are more than `over`, in a file."""

    def __init__(self, over: int, folder: Path | None) -> None:
        self._over = over
        self._folder = folder
        self._held = bytearray()
        self._file: IO[bytes] | None = None
        self._closing: weakref.finalize[[], object] | None = None
        self._size = 0

    def write(self, octets: bytes | bytearray) -> None:
        """The next ones. Raises Unavailable where there is no room for them."""
        self._size += len(octets)
        with spooling():
            if self._file is None and self._size > self._over:
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed with this
                self._closing = _close_with(self, self._file)
                self._file.write(self._held)
                self._held.clear()
            if self._file is None:
                self._held += octets
            else:
                self._file.write(octets)

    def finish(self) -> bytes | SpooledOctets:
        """All of them. Raises as `write` does."""
        if self._file is None:
            return bytes(self._held)
        with spooling():
            self._file.flush()
        assert self._closing is not None, "it was opened"
        self._closing.detach()
        return SpooledOctets(self._file, self._size)


def finished(file: IO[bytes], size: int) -> SpooledOctets:
    """The octets of a file that is written, which may be closed then. Raises Unavailable where there is no room."""
    with spooling():
        file.flush()
        return SpooledOctets(os.fdopen(os.dup(file.fileno()), "rb", buffering=0), size)


@contextmanager
def spooling() -> Iterator[None]:
    """What is written in the block is refused for now where there is no room for it."""
    try:
        yield
    except OSError as error:
        raise Unavailable("The server has no room for the mail right now. Try again soon.") from error


def _close_with(owner: object, file: IO[bytes]) -> "weakref.finalize[[], object]":
    """Close the file when its owner is gone: in a thread, because that frees all its room, which takes milliseconds."""
    closing = weakref.finalize(owner, lambda: threading.Thread(target=file.close).start())
    closing.atexit = False
    return closing
