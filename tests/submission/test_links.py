"""Files by URL become attachments of an accepted mail; nothing is fetched for a mail that may not be sent anyway."""

import asyncio
from collections.abc import AsyncIterator
from email import message_from_bytes
from typing import Any

import pytest
from msgspec.structs import replace

from app.access.check import GrantValues
from app.access.principal import Principal
from app.errors import ErrorCode, Forbidden, NotFound, Refusal
from app.mail.address import Mailbox
from app.mail.draft import Attachment, Draft, Link
from app.queue.embedded import EmbeddedEngine
from app.queue.put import Receipt
from app.queue.wakeup import Wakeup
from app.settings import Settings
from app.submission.prepare import Submission
from app.submission.submit import Submitter
from tests.factories import count, make_principal, make_service, stored_content
from tests.outbound.conftest import LOOPBACK, WebServer, answer, serving

DRAFT = Draft(to=(Mailbox("bob@example.com"),), subject="Hello", from_email="ada@example.com")
OWN = Attachment("own.txt", b"own", "text/plain")


@pytest.fixture
async def web() -> AsyncIterator[WebServer]:
    async for web in serving():
        web.answers["/a.txt"] = answer(b"first", Content_Type="text/plain")
        web.answers["/b.txt"] = answer(b"second", Content_Type="text/plain")
        yield web


@pytest.fixture
async def principal(sqlite_database: Settings) -> Principal:
    await make_service()
    return await make_principal()


def submitter(settings: Settings, wakeup: Wakeup, **changes: Any) -> Submitter:
    own = {"attachment_hosts": LOOPBACK, "attachment_networks": "127.0.0.0/8"} | changes
    changed = Settings(**settings.model_dump(exclude_defaults=True) | own)
    return Submitter(changed, EmbeddedEngine(wakeup, 1), wakeup)


def linking(web: WebServer, *paths: str, **fields: Any) -> Draft:
    links = (Link(f"http://{LOOPBACK}:{web.port}{path}", ("attachment", str(at))) for at, path in enumerate(paths))
    return replace(DRAFT, links=tuple(links), **fields)


async def submit(to: Submitter, principal: Principal, draft: Draft, **fields: Any) -> Receipt:
    return await to.submit(Submission(**{"service_name": "email", **fields}, draft=draft, principal=principal))


async def refusal(to: Submitter, principal: Principal, draft: Draft, **fields: Any) -> Refusal:
    with pytest.raises(Refusal) as refused:
        await submit(to, principal, draft, **fields)
    assert await count("message") == 0
    return refused.value


async def test_links_become_attachments_behind_the_others(
    sqlite_database: Settings, wakeup: Wakeup, principal: Principal, web: WebServer
) -> None:
    draft = linking(web, "/b.txt", "/a.txt", attachments=(OWN,))
    receipt = await submit(submitter(sqlite_database, wakeup), principal, draft)

    parts = list(message_from_bytes(await stored_content(receipt.message_id)).walk())[1:]
    files = [(part.get_filename(), part.get_payload(decode=True)) for part in parts]
    assert files == [("own.txt", b"own"), ("b.txt", b"second"), ("a.txt", b"first")]


async def test_the_files_of_a_mail_are_fetched_side_by_side(
    sqlite_database: Settings, wakeup: Wakeup, principal: Principal, web: WebServer
) -> None:
    both = asyncio.Barrier(2)

    async def together(writer: asyncio.StreamWriter) -> None:
        await both.wait()
        writer.write(answer(b"octets"))

    web.answers |= {"/1": together, "/2": together}
    await submit(submitter(sqlite_database, wakeup), principal, linking(web, "/1", "/2"))
    assert sorted(web.targets) == ["/1", "/2"]


async def test_every_file_that_cannot_be_had_is_named_by_its_field(
    sqlite_database: Settings, wakeup: Wakeup, principal: Principal, web: WebServer
) -> None:
    web.answers["/large"] = answer(b"x" * 101)
    to = submitter(sqlite_database, wakeup, max_attachment_bytes=100)
    refused = await refusal(to, principal, linking(web, "/none", "/a.txt", "/large"))
    assert [(problem.code, problem.field) for problem in refused.problems] == [
        (ErrorCode.INVALID_INPUT, ("attachment", "0")),
        (ErrorCode.TOO_LARGE, ("attachment", "2")),
    ]


@pytest.mark.parametrize("changes", [{"attachment_hosts": ""}, {"attachment_hosts": "files.example"}])
async def test_where_one_host_is_not_listed_nothing_is_fetched(
    sqlite_database: Settings, wakeup: Wakeup, principal: Principal, web: WebServer, changes: dict[str, str]
) -> None:
    draft = linking(web, "/a.txt")
    draft = replace(draft, links=(*draft.links, Link("https://evil.example/?token=s3cr3t", ("import_url",))))
    refused = await refusal(submitter(sqlite_database, wakeup, **changes), principal, draft)
    assert refused.problems[-1].field == ("import_url",)
    assert refused.problems[-1].code is ErrorCode.INVALID_INPUT
    assert "s3cr3t" not in str(refused)
    assert web.connections == 0


@pytest.mark.parametrize(("most", "fetched"), [(3, 2), (2, 0)])
async def test_attachments_and_links_are_counted_together_before_anything_is_fetched(
    sqlite_database: Settings, wakeup: Wakeup, principal: Principal, web: WebServer, most: int, fetched: int
) -> None:
    to = submitter(sqlite_database, wakeup, max_attachments=most)
    draft = linking(web, "/a.txt", "/b.txt", attachments=(OWN,))
    if fetched:
        await submit(to, principal, draft)
    else:
        (problem,) = (await refusal(to, principal, draft)).problems
        assert (problem.code, problem.field) == (ErrorCode.TOO_LARGE, ("attachments",))
        assert problem.message == "attachments has 3 attachments; the limit is 2."
    assert len(web.targets) == fetched


async def test_nothing_is_fetched_for_who_may_not_send_or_a_service_that_is_not_there(
    sqlite_database: Settings, wakeup: Wakeup, principal: Principal, web: WebServer
) -> None:
    to, draft = submitter(sqlite_database, wakeup), linking(web, "/a.txt")
    await make_service("closed", is_active=False)
    reader = await make_principal("reader", [GrantValues(None, ["READ_MESSAGES"])])
    assert isinstance(await refusal(to, reader, draft), Forbidden)
    assert isinstance(await refusal(to, principal, draft, service_name="none"), NotFound)
    assert isinstance(await refusal(to, principal, draft, service_name="closed"), Forbidden)
    assert web.connections == 0


async def test_a_replay_fetches_nothing_and_another_url_is_another_request(
    sqlite_database: Settings, wakeup: Wakeup, principal: Principal, web: WebServer
) -> None:
    to = submitter(sqlite_database, wakeup)
    again = {"idempotency_key": "k", "verdict_wanted": True}
    first = await submit(to, principal, linking(web, "/a.txt"), **again)
    second = await submit(to, principal, linking(web, "/a.txt"), **again)
    assert (second.message_id, second.replayed) == (first.message_id, True)
    with pytest.raises(Refusal) as refused:
        await submit(to, principal, linking(web, "/b.txt"), **again)
    assert refused.value.problems[0].code is ErrorCode.IDEMPOTENCY_CONFLICT
    assert web.targets == ["/a.txt"]


async def test_a_name_that_looks_like_a_path_is_neutralised(
    sqlite_database: Settings, wakeup: Wakeup, principal: Principal, web: WebServer
) -> None:
    web.answers["/x"] = answer(b"octets", Content_Disposition='attachment; filename="../../etc/passwd"')
    receipt = await submit(submitter(sqlite_database, wakeup), principal, linking(web, "/x", text="Hello."))
    mail = message_from_bytes(await stored_content(receipt.message_id))
    assert [part.get_filename() for part in mail.walk() if part.get_filename()] == ["passwd"]
