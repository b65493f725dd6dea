"""multipart/form-data: RFC 7578."""

import asyncio
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, BinaryIO, cast

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from app.errors import InvalidInput, Refusal, TooLarge
from app.mail.characters import shown
from app.mail.draft import Attachment
from app.settings import Settings
from app.spool import Spooling, finished, spooling

_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{1,200}")
_OCTETS = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class MultipartForm:
    """The parts without a file name, and the files; each in their order."""

    pairs: tuple[tuple[str, str], ...]
    files: tuple[Attachment, ...]


async def read_multipart(content_type: str, chunks: AsyncGenerator[bytes, None], settings: Settings) -> MultipartForm:
    """The form that the chunks are. Whatever a file's field is called, it is attached: none gets lost.

    Raises InvalidInput where it is malformed, cut off or not UTF-8, TooLarge where it has too many parts,
    Unavailable where there is no room for its files.
    """
    try:
        parser = _Parser(
            _headers(content_type),
            chunks,
            max_files=settings.max_attachments,
            max_fields=settings.max_form_fields,
            max_part_size=settings.max_body_bytes,
            spooling=Spooling.of(settings),
        )
        with spooling():
            form = await parser.parse()
    except MultiPartException as error:
        raise _refusal(error.message, settings) from None
    try:
        return await _read_parts(form, settings.spool_over)
    finally:
        for _, value in form.multi_items():
            if isinstance(value, UploadFile):
                value.file.close()


class _Parser(MultiPartParser):
    """Starlette's, and strict about what it would pass over. Its own error closes the files that it has opened."""

    _ended = False

    def __init__(
        self,
        headers: Headers,
        stream: AsyncGenerator[bytes, None],
        *,
        max_files: int,
        max_fields: int,
        max_part_size: int,
        spooling: Spooling,
    ) -> None:
        whole = self._whole(stream)
        self.spool_max_size = spooling.over
        self._folder = spooling.folder
        super().__init__(headers, whole, max_files=max_files, max_fields=max_fields, max_part_size=max_part_size)

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._current_part.content_disposition)
        if b"filename" not in options and b"filename*=" in (self._current_part.content_disposition or b"").lower():
            raise MultiPartException("A file's name must be given as 'filename', never only as 'filename*'.")
        super().on_headers_finished()
        file = self._current_part.file
        if file is None:
            return
        if self._folder is not None:
            self._files_to_close_on_error.pop().close()
            opened = SpooledTemporaryFile(self.spool_max_size, dir=str(self._folder))  # noqa: SIM115 - closed like its own
            self._files_to_close_on_error.append(opened)
        kept = cast(BinaryIO, self._files_to_close_on_error[-1])
        self._current_part.file = _File(kept, size=0, filename=file.filename, headers=file.headers)

    def on_end(self) -> None:
        self._ended = True

    async def _whole(self, stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        any_octets = False
        async for chunk in stream:
            any_octets = any_octets or bool(chunk)
            yield chunk
        if any_octets and not self._ended:
            raise MultiPartException("It ends before its last boundary.")


class _File(UploadFile):
    """Starlette's, without the threads of anyio: the first of those would load a whole library, and keep everybody
    waiting meanwhile."""

    async def write(self, data: bytes) -> None:
        if self._will_roll(len(data)):
            await asyncio.to_thread(self.file.write, data)
        else:
            self.file.write(data)
        self.size = (self.size or 0) + len(data)

    async def seek(self, offset: int) -> None:
        if self._in_memory:
            self.file.seek(offset)
        else:
            await asyncio.to_thread(self.file.seek, offset)


def _headers(content_type: str) -> Headers:
    """What the parser has to know. As Latin-1 every octet stays what it is, until `_text` decodes it."""
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not _BOUNDARY.fullmatch(boundary):
        raise MultiPartException("Its Content-Type must name a boundary.")
    return Headers(raw=[(b"content-type", b'multipart/form-data; charset=latin-1; boundary="%s"' % boundary)])


def _refusal(message: str, settings: Settings) -> Refusal:
    if message.startswith("Too many files"):
        most = settings.max_attachments
        return TooLarge(f"The form has more than {most} files, which is the limit.", field=("attachments",))
    if message.startswith("Too many fields"):
        return TooLarge(f"The form has more than {settings.max_form_fields} fields, which is the limit.")
    return InvalidInput(f"The multipart body cannot be read. {message}")


async def _read_parts(form: FormData, spool_over: int) -> MultipartForm:
    pairs: list[tuple[str, str]] = []
    files: list[Attachment] = []
    for given, value in form.multi_items():
        name = _text(given, "The name of the field", given)
        if isinstance(value, str):
            pairs.append((name, _text(value, "The field", name)))
        elif value.filename or value.size:  # a file input that nobody filled in sends neither
            files.append(await _attachment(value, spool_over))
    return MultipartForm(tuple(pairs), tuple(files))


async def _attachment(file: UploadFile, spool_over: int) -> Attachment:
    given = file.filename or ""
    content_type = (file.content_type or "").strip()
    unknown = content_type.partition(";")[0].strip().lower() in ("", _OCTETS)
    size = file.size or 0
    content = finished(cast(IO[bytes], file.file), size) if size > spool_over else await file.read()
    return Attachment(_text(given, "The file name", given), content, None if unknown else content_type)


def _text(latin_1: str, what: str, name: str) -> str:
    try:
        return latin_1.encode("latin-1").decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"{what} '{shown(name)}' is not valid UTF-8.") from None
