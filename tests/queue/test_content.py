"""Content in slices: stored before the mail is accepted, of no message until then, and read as it was."""

import asyncio
from uuid import UUID

import pytest

from app.clock import now
from app.database.connection import execute, rows
from app.errors import Unavailable
from app.mail.content import Composed
from app.queue.content import SlicedContent, StoredContent, in_storage, load_content, remove_unfinished
from app.queue.embedded import EmbeddedEngine
from app.queue.put import put
from app.queue.wakeup import Wakeup
from app.settings import Settings
from tests.factories import NOW, after, count, make_principal, make_service, new_message, stored_content

HEAD = b"Subject: Gr\xc3\xbc\xc3\x9fe\r\n\r\n"
CONTENT = HEAD + b"line of text\r\n" * 40
SLICE = 100


async def accept(content: Composed | None = None) -> UUID:
    service, principal = await make_service(), await make_principal()
    async with in_storage(content or Composed((CONTENT,)), SLICE) as stored:
        message = new_message(service, principal, content=stored)
        return (await put(message, NOW, EmbeddedEngine(Wakeup(), 1))).message_id


@pytest.mark.usefixtures("database")
async def test_large_content_is_read_as_it_was_written() -> None:
    message_id = await accept()
    assert await count("content_slice") == -(-len(CONTENT) // SLICE)
    assert await count("message_content") == 0
    content = await load_content(message_id)
    assert isinstance(content, StoredContent)
    assert (len(content), content.head, content.isascii()) == (len(CONTENT), HEAD, False)
    assert await stored_content(message_id) == CONTENT
    assert await rows("SELECT size_bytes FROM message") == [{"size_bytes": len(CONTENT)}]


async def test_a_head_may_be_longer_than_a_slice(sqlite_database: Settings) -> None:
    message_id = await accept(Composed((b"A: " + b"a" * 3 * SLICE + b"\r\n\r\n", b"body\r\n")))
    content = await load_content(message_id)
    assert isinstance(content, StoredContent)
    assert len(content.head) == 3 * SLICE + 7


async def test_content_of_which_a_slice_is_missing_is_never_taken_for_whole(sqlite_database: Settings) -> None:
    message_id = await accept()
    await execute("DELETE FROM content_slice WHERE number = 5")
    with pytest.raises(LookupError):
        await stored_content(message_id)


@pytest.mark.usefixtures("database")
async def test_slices_of_a_mail_that_is_not_accepted_are_removed() -> None:
    async with in_storage(Composed((CONTENT,)), SLICE):
        assert await count("content_slice") > 1
    assert [await count(table) for table in ("large_content", "content_slice")] == [0, 0]


async def test_slices_of_a_request_that_is_broken_off_are_removed(sqlite_database: Settings) -> None:
    written = asyncio.Event()

    async def request() -> None:
        async with in_storage(Composed((CONTENT,)), SLICE):
            written.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(request())
    await written.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await count("content_slice") == 0


@pytest.mark.usefixtures("database")
async def test_slices_of_a_process_that_died_are_removed_later_and_those_of_mail_are_kept() -> None:
    message_id = await accept()
    dead = SlicedContent(UUID(int=1), 3)
    await execute("INSERT INTO large_content (id, begun_at) VALUES ($1, $2)", dead.id, NOW)
    await execute("INSERT INTO content_slice (id, content_id, number, octets) VALUES ($1, $1, 0, $2)", dead.id, b"one")
    assert await remove_unfinished(after(60), 60) == 0
    assert await remove_unfinished(after(61), 60) == 1
    assert await count("large_content") == 1
    assert await stored_content(message_id) == CONTENT


@pytest.mark.usefixtures("database")
async def test_a_mail_whose_slices_are_gone_is_not_accepted() -> None:
    service, principal = await make_service(), await make_principal()
    async with in_storage(Composed((CONTENT,)), SLICE) as stored:
        assert await remove_unfinished(now(), -60) == 1
        with pytest.raises(Unavailable):
            await put(new_message(service, principal, content=stored), NOW, EmbeddedEngine(Wakeup(), 1))
    assert await count("message") == 0


@pytest.mark.usefixtures("database")
async def test_slices_go_with_their_message() -> None:
    await accept()
    await execute("DELETE FROM message")
    assert [await count(table) for table in ("large_content", "content_slice")] == [0, 0]
