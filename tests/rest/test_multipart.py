"""Forms with files: whatever they are called, none is lost, and none does harm."""

import email
import email.policy
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any

import httpx2
import pytest
from starlette.requests import ClientDisconnect, Request

from app.errors import InvalidInput, Refusal, TooLarge
from app.inbox.receiver import Receiver
from app.mail.address import Mailbox
from app.mail.draft import Attachment, Link
from app.mail.octets import pieces_of
from app.rest.request_body import read_request_draft
from app.settings import Settings
from app.spool import SpooledOctets
from tests.factories import count
from tests.rest.asked import MULTIPART, Part, asked, asked_in_chunks, file_part, multipart
from tests.rest.conftest import MAIL, URL, error_of


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[SpooledTemporaryFile[bytes]]]:
    """Every temporary file that a request opened."""
    files: list[SpooledTemporaryFile[bytes]] = []

    def open_file(**options: Any) -> SpooledTemporaryFile[bytes]:
        files.append(SpooledTemporaryFile(**options))  # noqa: SIM115 - who opened it shall close it
        return files[-1]

    monkeypatch.setattr("starlette.formparsers.SpooledTemporaryFile", open_file)
    yield files
    assert all(file.closed for file in files)


@pytest.mark.parametrize(
    "field", ["file", "file[]", "file[0]", "attachment", "attachment[]", "attachments", "attachments[]", "photo", "to"]
)
async def test_a_file_under_any_name_is_attached(field: str) -> None:
    draft = await asked(multipart((file_part(field, "a.txt"), b"o\r\nctets"), ('name="subject"', "S")), MULTIPART)
    assert draft.attachments == (Attachment("a.txt", b"o\r\nctets"),)
    assert (draft.subject, draft.variables) == ("S", {})


async def test_many_files_stay_in_their_order(opened: list[SpooledTemporaryFile[bytes]]) -> None:
    parts = [(file_part("attachments[]", f"{number}.bin"), bytes([number])) for number in range(20)]
    draft = await asked(multipart(*parts), MULTIPART)
    assert [(file.name, file.content) for file in draft.attachments] == [
        (f"{number}.bin", bytes([number])) for number in range(20)
    ]
    assert len(opened) == 20


async def test_a_large_file_arrives_whole_in_small_chunks(opened: list[SpooledTemporaryFile[bytes]]) -> None:
    content = bytes(range(256)) * 12_000 + b"\r\n--X\r\n--XY"
    body = multipart((file_part("file", "a.bin"), content))
    draft = await asked_in_chunks([body[at : at + 5000] for at in range(0, len(body), 5000)], MULTIPART)
    (file,) = draft.attachments
    assert isinstance(file.content, SpooledOctets)
    assert (file.name, len(file.content), b"".join(file.content.pieces())) == ("a.bin", len(content), content)
    assert len(opened) == 1
    assert opened[0].closed, "what is attached is a file of its own"


async def test_large_files_are_kept_in_the_folder_that_is_set(tmp_path: Path) -> None:
    body = multipart((file_part("file", "a.bin"), b"octets" * 100))
    (file,) = (await asked(body, MULTIPART, spool_over=10, spool_folder=tmp_path)).attachments
    assert b"".join(pieces_of(file.content)) == b"octets" * 100
    assert os.listdir(tmp_path) == [], "no file has a name"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, None),
        ("application/octet-stream", None),
        ("Application/Octet-Stream; charset=binary", None),
        ("image/png", "image/png"),
        ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
    ],
)
async def test_a_type_that_says_nothing_is_guessed_later(given: str | None, kept: str | None) -> None:
    (file,) = (await asked(multipart((file_part("file", "a.png", given), b"")), MULTIPART)).attachments
    assert file.content_type == kept


async def test_a_part_without_a_file_name_is_a_field() -> None:
    parts: list[Part] = [
        ('name="to[]"', "a@x"),
        ('name="to[]"', '{"email": "b@x", "name": "Bo"}'),
        ('name="attachment"', "https://x/a"),
        ('name="attachments"', '[{"name": "a", "content": "b2N0ZXRz"}]'),
        ('name="file"', "just text"),
        ('name="template_data[name]"', "Ünn"),
        (file_part("file", "f"), b"f"),
        (file_part("file", ""), b""),
    ]
    draft = await asked(multipart(*parts), MULTIPART)
    assert draft.to == (Mailbox("a@x"), Mailbox("b@x", "Bo"))
    assert draft.links == (Link("https://x/a", ("attachment", "0")),)
    assert draft.attachments == (Attachment("a", b"octets"), Attachment("f", b"f"))
    assert (draft.template_data, draft.variables) == ({"name": "Ünn"}, {"file": "just text"})


WHOLE = multipart((file_part("file", "a.txt"), b"octets"))


@pytest.mark.parametrize(
    ("body", "content_type", "says"),
    [
        (WHOLE, "multipart/form-data", "must name a boundary"),
        (WHOLE, "multipart/form-data; boundary=", "must name a boundary"),
        (WHOLE, 'multipart/form-data; boundary="a\\"b"', "must name a boundary"),
        (WHOLE, f"multipart/form-data; boundary={'X' * 201}", "must name a boundary"),
        (WHOLE, "multipart/form-data; boundary=YY", "Invalid multipart data"),
        (b"to=a", MULTIPART, "Invalid multipart data"),
        (b'{"to": "a@x"}', MULTIPART, "Invalid multipart data"),
        (WHOLE[:-6], MULTIPART, "It ends before its last boundary"),
        (WHOLE[:70], MULTIPART, "It ends before its last boundary"),
        (b"--XX", MULTIPART, "It ends before its last boundary"),
        (WHOLE.replace(b'name="file"; ', b""), MULTIPART, '"name" must be provided'),
        (WHOLE.replace(b"Content-Disposition", b"Content-Nothing"), MULTIPART, '"name" must be provided'),
        (WHOLE.replace(b'filename="', b"filename*=\"utf-8''"), MULTIPART, "never only as 'filename*'"),
        (WHOLE.replace(b"a.txt", b"a" * 5000), MULTIPART, "Invalid multipart data"),
        (WHOLE.replace(b"\r\n\r\n", b"\r\nX: y" * 9 + b"\r\n\r\n"), MULTIPART, "Invalid multipart data"),
        (WHOLE.replace(b"a.txt", b"\xfc.txt"), MULTIPART, "The file name '\xfc.txt' is not valid UTF-8."),
        (multipart(('name="subject"', b"\xfc")), MULTIPART, "The field 'subject' is not valid UTF-8."),
        (multipart(('name="q"', b"")).replace(b"q", b"\xfc"), MULTIPART, "The name of the field '\xfc' is not valid"),
    ],
)
@pytest.mark.usefixtures("opened")
async def test_a_malformed_form_is_refused_with_the_reason(body: bytes, content_type: str, says: str) -> None:
    for size in (len(body), 7):
        with pytest.raises(InvalidInput) as refused:
            await asked_in_chunks([body[at : at + size] for at in range(0, len(body), size)], content_type)
        assert says in refused.value.problems[0].message


async def test_a_quoted_boundary_is_taken() -> None:
    body = WHOLE.replace(b"XX", b"a b=c")
    assert len((await asked(body, 'multipart/form-data; charset=utf-8; boundary="a b=c"')).attachments) == 1


async def test_files_are_bounded_in_number_and_in_sum(opened: list[SpooledTemporaryFile[bytes]]) -> None:
    body = multipart(*[(file_part("file", "a"), b"x" * 500)] * 4)
    assert len((await asked(body, MULTIPART, max_attachments=4)).attachments) == 4
    with pytest.raises(TooLarge, match="more than 3 files") as refused:
        await asked(body, MULTIPART, max_attachments=3)
    assert refused.value.problems[0].field == ("attachments",)
    with pytest.raises(TooLarge, match="larger than 2000 bytes"):
        await asked_in_chunks([body[:1500], body[1500:]], MULTIPART, max_body_bytes=2000)
    assert len(opened) >= 4 + 3 + 2


async def test_files_are_closed_when_the_client_goes_away(opened: list[SpooledTemporaryFile[bytes]]) -> None:
    messages = [{"type": "http.request", "body": WHOLE[:-8], "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    headers = [(b"content-type", MULTIPART.encode())]
    request = Request({"type": "http", "method": "POST", "headers": headers, "query_string": b""}, receive)
    with pytest.raises(ClientDisconnect):
        await read_request_draft(request, Settings())
    assert len(opened) == 1


@pytest.mark.usefixtures("opened")
async def test_files_are_closed_when_the_fields_are_wrong() -> None:
    with pytest.raises(Refusal):
        await asked(multipart((file_part("file", "a"), b"x"), ('name="subject[]"', "s")), MULTIPART)


@pytest.mark.usefixtures("service", "worker")
@pytest.mark.parametrize(
    ("given", "arrives"),
    [
        ("a.txt", "a.txt"),
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("C:\\Users\\a.txt", "a.txt"),
        ("..", "attachment"),
        ("Grüße 🎉.txt", "Grüße 🎉.txt"),
        ("a; b=c.txt", "a; b=c.txt"),
    ],
)
async def test_a_file_arrives_under_a_name_that_is_no_path(
    client: httpx2.AsyncClient, receiver: Receiver, given: str, arrives: str
) -> None:
    fields = [(f'name="{name}"', value) for name, value in MAIL.items()]
    body = multipart(*fields, (file_part("file", given, "text/plain"), b"octets"))
    response = await client.post(URL, content=body, headers={"Content-Type": MULTIPART})

    assert (response.status_code, response.json()) == (200, {"count": 1})
    (mail,) = receiver.mails
    parsed = email.message_from_bytes(mail.content, policy=email.policy.default)
    (file,) = parsed.iter_attachments()
    assert (file.get_filename(), file.get_payload(decode=True)) == (arrives, b"octets")


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(
    ("given", "content_type", "field"),
    [
        ("a\nBcc: eve@x", "text/plain", "attachments.0.name"),
        ("a\x00b", "text/plain", "attachments.0.name"),
        ("a\u2028b", "text/plain", "attachments.0.name"),
        ("a.txt", "text/plain\nBcc: eve@x", "attachments.0.content_type"),
        ("a.txt", "text/pl\x00ain", "attachments.0.content_type"),
        ("a.txt", "no type", "attachments.0.content_type"),
        ("a.txt", "multipart/mixed", "attachments.0.content_type"),
        ("n" * 257, "text/plain", "attachments.0.name"),
    ],
)
async def test_what_would_break_a_header_is_refused(
    client: httpx2.AsyncClient, given: str, content_type: str, field: str
) -> None:
    fields = [(f'name="{name}"', value) for name, value in MAIL.items()]
    body = multipart(*fields, (file_part("file", given, content_type), b"octets"))
    response = await client.post(URL, content=body, headers={"Content-Type": MULTIPART})

    error = error_of(response, 413 if len(given) > 256 else 400)
    assert error["context"]["field"] == field
    assert await count("message") == 0


async def test_a_large_file_loads_no_library_while_others_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    async def loaded(*_: object) -> None:
        raise AssertionError("a thread of anyio is asked for")

    monkeypatch.setattr("starlette.datastructures.run_in_threadpool", loaded)
    body = multipart((file_part("file", "a.bin"), b"x" * 2000), (file_part("file", "b.bin"), b"y"))
    large, small = (await asked(body, MULTIPART, spool_over=1000)).attachments
    assert (len(large.content), small.content) == (2000, b"y")
