"""The content of large mails: written in slices before the mail is accepted, and read in slices while it leaves.

Each slice is written by itself, so that nobody waits long for the database. Slices are of no message until the
transaction that accepts it; those of a request that came to nothing are removed at once, or by housekeeping.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.clock import now
from app.database.connection import as_key, execute, rows
from app.database.finish import finish
from app.database.key import new_key
from app.database.trouble import log_trouble
from app.errors import Unavailable
from app.mail.content import Composed
from app.mail.octets import in_slices

logger = logging.getLogger(__name__)

_END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class SlicedContent:
    """Octets, as many as `size`, in slices that belong to no message yet."""

    id: UUID
    size: int

    def __len__(self) -> int:
        return self.size


@asynccontextmanager
async def in_storage(content: Composed, slice_bytes: int) -> AsyncIterator[SlicedContent]:
    """While the block accepts a message, its content in slices. Those that are of no message at the end of the block
    are removed."""
    sliced = SlicedContent(new_key(), len(content))
    try:
        await _write(sliced, in_slices(content.pieces(), slice_bytes))
        yield sliced
    finally:
        await finish(_remove_unfinished(sliced))


async def _write(sliced: SlicedContent, slices: Iterator[bytes]) -> None:
    await execute("INSERT INTO large_content (id, begun_at) VALUES ($1, $2)", sliced.id, now())
    number = 0
    while octets := await asyncio.to_thread(next, slices, b""):
        await execute(
            "INSERT INTO content_slice (id, content_id, number, octets) VALUES ($1, $2, $3, $4)",
            new_key(),
            sliced.id,
            number,
            octets,
        )
        number += 1


async def _remove_unfinished(sliced: SlicedContent) -> None:
    try:
        await execute("DELETE FROM large_content WHERE id = $1 AND message_id IS NULL", sliced.id)
    except Exception as error:
        log_trouble(logger, error, "the slices of a mail that was not accepted are left to housekeeping")


async def give_content(sliced: SlicedContent, message_id: UUID) -> None:
    """Make the slices the content of this message, which is accepted in the same transaction. Raises Unavailable where
    they are gone: housekeeping took the request for one that came to nothing."""
    given = await execute(
        "UPDATE large_content SET message_id = $2 WHERE id = $1 AND message_id IS NULL", sliced.id, message_id
    )
    if given != 1:
        raise Unavailable("The mail took too long to be stored. Try again.")


async def remove_unfinished(moment: datetime, seconds: float) -> int:
    """Delete slices of no message that were begun more than so many seconds ago; returns of how many mails."""
    unfinished = await rows(
        "SELECT id FROM large_content WHERE message_id IS NULL AND begun_at < $1", moment - timedelta(seconds=seconds)
    )
    removed = 0
    for row in unfinished:
        removed += await execute("DELETE FROM large_content WHERE id = $1 AND message_id IS NULL", as_key(row["id"]))
    return removed


@dataclass(frozen=True, slots=True)
class StoredContent:
    """The content of an accepted message, read slice by slice. What is stored was composed here: every line ends in
    CRLF, and nothing but the header section may be beyond ASCII."""

    id: UUID
    size: int
    head: bytes

    def __len__(self) -> int:
        return self.size

    def isascii(self) -> bool:
        """Whether no octet is beyond ASCII."""
        return self.head.isascii()

    async def pieces(self) -> AsyncIterator[bytes]:
        """All of it, in its order. Raises what the database raises, and LookupError where some of it is not there."""
        missing = self.size
        async for octets in _slices(self.id):
            missing -= len(octets)
            yield octets
        if missing:
            raise LookupError(f"{missing} octets of a stored mail are missing")


async def load_content(message_id: UUID) -> bytes | StoredContent:
    """The content of an accepted message: its final bytes, or, of a large one, where they can be read."""
    found = await rows("SELECT octets FROM message_content WHERE message_id = $1", message_id)
    if found:
        return bytes(found[0]["octets"])
    (large,) = await rows(
        "SELECT large_content.id, size_bytes FROM large_content JOIN message ON message.id = message_id"
        " WHERE message_id = $1",
        message_id,
    )
    content_id = as_key(large["id"])
    return StoredContent(content_id, large["size_bytes"], await _head(content_id))


async def _head(content_id: UUID) -> bytes:
    head = b""
    async for octets in _slices(content_id):
        head += octets
        if (end := head.find(_END_OF_HEAD)) >= 0:
            return head[: end + len(_END_OF_HEAD)]
    return head


async def _slices(content_id: UUID) -> AsyncIterator[bytes]:
    number = 0
    while found := await rows(
        "SELECT octets FROM content_slice WHERE content_id = $1 AND number = $2", content_id, number
    ):
        yield bytes(found[0]["octets"])
        number += 1
