"""The content of a large attachment is read where nobody waits for it."""

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.graphql import send_email
from app.graphql.context import Context
from app.graphql.send_email import AttachmentInput, SendEmailInput, read_submission
from app.mail.octets import LongText
from app.mail.transfer_encoding import read_base64
from app.settings import Settings
from app.spool import Spool

CONTEXT = cast(Context, SimpleNamespace(parts=SimpleNamespace(settings=Settings())))


def long_text(text: bytes) -> LongText:
    spool = Spool(0, None)
    spool.write(text)
    octets = spool.finish()
    assert not isinstance(octets, bytes)
    return LongText.of(octets)


@pytest.mark.parametrize(
    ("content", "aside"), [("YWFh", False), ("YWFh" * 20_000, True), (long_text(b"YWFh" * 20_000), True)]
)
async def test_a_large_attachment_is_read_in_a_thread(
    content: str, aside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def noted(text: str) -> Any:
        threads.append(threading.current_thread())
        return read_base64(text)

    monkeypatch.setattr(send_email, "read_base64", noted)
    given = SendEmailInput(service="s", attachments=[AttachmentInput(name="a", content=content)])
    (file,) = (await read_submission(CONTEXT, given, cast(Any, None))).draft.attachments
    assert file.content
    assert (threads[0] is not threading.main_thread()) is aside
