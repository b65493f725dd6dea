"""Files by URL from real servers: what is fetched, what is refused, and what the refusal says."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.errors import InvalidInput, Refusal, TooLarge
from app.mail.draft import Attachment
from app.outbound.fetch import Fetcher
from app.settings import Settings
from tests.outbound.conftest import LOOPBACK, Names, WebServer, answer, make_fetcher, redirect

SECRET = "Signature=s3cr3t"


async def fetched(fetcher: Fetcher, url: str) -> Attachment:
    async with fetcher.session() as session:
        return await session.fetch(url)


async def refusal(fetcher: Fetcher, url: str) -> Refusal:
    with pytest.raises(Refusal) as refused:
        await fetched(fetcher, url)
    message = str(refused.value)
    assert "s3cr3t" not in message
    assert not any(address in message for address in (LOOPBACK, "169.254", "10.0.0.1") if address not in url)
    return refused.value


def at(web: WebServer, path: str, scheme: str = "http", host: str = "files.example") -> str:
    return f"{scheme}://{host}:{web.port}{path}"


async def test_a_file_is_fetched_with_its_name_and_type(web: WebServer) -> None:
    web.answers[f"/a/report.pdf?{SECRET}"] = answer(b"octets", Content_Type="Application/PDF; name=x")
    file = await fetched(make_fetcher(), at(web, f"/a/report.pdf?{SECRET}#part"))
    assert file == Attachment("report.pdf", b"octets", "application/pdf")
    (header,) = web.headers
    assert header == {
        "host": f"files.example:{web.port}",
        "accept": "*/*",
        "accept-encoding": "identity",
        "user-agent": "Heliograph",
    }


async def test_nothing_of_the_environment_is_used(
    web: WebServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine files.example login me password s3cr3t\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    web.answers["/1"] = answer(b"one", Set_Cookie="a=s3cr3t; Path=/")
    web.answers["/2"] = answer(b"two")
    async with make_fetcher().session() as session:
        assert [(await session.fetch(at(web, path))).content for path in ("/1", "/2")] == [b"one", b"two"]
    assert not any({"cookie", "authorization", "proxy-authorization"} & set(header) for header in web.headers)


async def test_tls_verifies_the_name_by_the_operators_authority(secure_web: WebServer, ca_file: Path) -> None:
    secure_web.answers["/f"] = answer(b"sealed")
    url = at(secure_web, "/f", "https")
    assert (await fetched(make_fetcher(trusted_ca_file=ca_file), url)).content == b"sealed"
    assert (await fetched(make_fetcher(trusted_ca_file=ca_file), url.replace("files.", "FILES."))).content == b"sealed"

    names = Names(**{"other.example": [[LOOPBACK]]})
    other = make_fetcher(names, trusted_ca_file=ca_file, attachment_hosts="other.example")
    for fetcher, asked in ((make_fetcher(), url), (other, at(secure_web, "/f", "https", "other.example"))):
        refused = await refusal(fetcher, asked)
        assert "TLS failed, or its server's certificate is not trusted" in str(refused)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "localhost",
        "[::1]",
        "evil.example",
        "files.example.evil.example",
        "xfiles.example",
        "example",
        "sub.files.example",
        "files.example\\@evil.example",
    ],
)
async def test_a_host_that_is_not_listed_is_never_asked(web: WebServer, host: str) -> None:
    names = Names()
    refused = await refusal(make_fetcher(names), at(web, f"/f?{SECRET}", host=host))
    assert isinstance(refused, InvalidInput)
    assert not refused.problems[0].retryable
    assert names.asked == []
    assert web.connections == 0


async def test_a_refused_host_is_named_with_what_to_do_instead(web: WebServer) -> None:
    refused = await refusal(make_fetcher(attachment_hosts=""), f"https://files.example/f?{SECRET}")
    assert str(refused) == (
        "This server fetches no files from the host 'files.example':"
        " send each one as an object with 'name' and 'content' (base64)."
    )


@pytest.mark.parametrize(
    "url",
    [
        "ftp://files.example/f",
        "file:///etc/passwd",
        "files.example/f",
        "//files.example/f",
        "http://",
        "http:///f",
        "",
        "http://user:s3cr3t@files.example/",
        "http://files.example@evil.example/",
        "http://files.example:0/",
        "http://files.example:99999/",
        "http://files.example/\r\nX: y",
        "http://999.1.1.1/",
        "gopher://files.example/",
        "http://[::1/",
        f"http://files.example/{'a' * 70_000}",
        "http://files.example\x00/",
        "data:text/plain,hello",
    ],
)
async def test_what_is_no_url_of_a_file_is_refused(url: str) -> None:
    names = Names()
    assert isinstance(await refusal(make_fetcher(names), url), InvalidInput)
    assert names.asked == []


@pytest.mark.parametrize(
    ("hosts", "host"),
    [
        ("files.example", "FILES.example."),
        ("a.example, Files.Example", "files.example"),
        ("*.example", "files.example"),
        ("b\u00fccher.example".encode("idna").decode(), "B\u00dcCHER.example"),
    ],
)
async def test_a_listed_host_is_found_however_it_is_spelt(web: WebServer, hosts: str, host: str) -> None:
    web.answers["/f"] = answer(b"octets")
    names = Names(**{"xn--bcher-kva.example": [[LOOPBACK]]})
    assert (await fetched(make_fetcher(names, attachment_hosts=hosts), at(web, "/f", host=host))).content == b"octets"


@pytest.mark.parametrize("address", [LOOPBACK, "169.254.169.254", "10.0.0.1", "::1", "::ffff:127.0.0.1"])
async def test_an_address_that_is_not_public_is_not_connected_to(web: WebServer, address: str) -> None:
    fetcher = make_fetcher(Names(**{"files.example": [[address]]}), attachment_networks="")
    refused = await refusal(fetcher, at(web, f"/f?{SECRET}"))
    assert str(refused) == (
        "The file http://files.example/f cannot be had: its host has an address that this server does not connect to."
    )
    assert web.connections == 0


async def test_the_address_that_was_checked_is_the_one_connected_to(web: WebServer) -> None:
    """A name that is public when it is checked, and something else when it is looked up again (DNS rebinding)."""
    web.answers["/f"] = answer(b"octets")
    rebinding = Names(**{"files.example": [[LOOPBACK], ["10.0.0.1"]]})
    assert (await fetched(make_fetcher(rebinding), at(web, "/f"))).content == b"octets"
    assert rebinding.asked == ["files.example"]
    refused = await refusal(make_fetcher(rebinding), at(web, "/f"))
    assert "does not connect to" in str(refused)


async def test_a_redirect_is_followed_where_all_of_it_is_listed(web: WebServer) -> None:
    web.answers["/start"] = redirect("/next?x=1", "301 Moved Permanently")
    web.answers["/next?x=1"] = redirect(at(web, "/end%20here.txt", host="cdn.example"), "307 Temporary Redirect")
    web.answers["/end%20here.txt"] = answer(b"octets")
    names = Names(**{"cdn.example": [[LOOPBACK]]})
    fetcher = make_fetcher(names, attachment_hosts="files.example,cdn.example", attachment_max_redirects=2)
    assert await fetched(fetcher, at(web, "/start")) == Attachment("end here.txt", b"octets")
    assert names.asked == ["files.example", "files.example", "cdn.example"], "each hop was checked anew"


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("http://169.254.169.254/latest/meta-data", "it redirects to where this server fetches no files from"),
        ("http://127.0.0.1:1/", "it redirects to where this server fetches no files from"),
        ("http://evil.example/", "it redirects to where this server fetches no files from"),
        ("file:///etc/passwd", "it redirects to where this server fetches no files from"),
        ("http://user:s3cr3t@files.example/", "it redirects to where this server fetches no files from"),
        ("http://999.1.1.1/", "it redirects to what"),
        ("http://inside.example/", "its host has an address that this server does not connect to"),
        ("/again", "it redirects more than 3 times"),
        ("", "it redirects more than 3 times"),
    ],
)
async def test_a_redirect_is_held_to_the_same_rules(web: WebServer, location: str, said: str) -> None:
    web.answers["/again"] = redirect(location)
    names = Names(**{"inside.example": [["10.0.0.1"]]})
    fetcher = make_fetcher(names, attachment_hosts="files.example,inside.example")
    assert said in str(await refusal(fetcher, at(web, "/again")))
    assert set(names.asked) <= {"files.example", "inside.example"}
    assert len(web.targets) == (4 if "more than" in said else 1)


async def test_a_redirect_to_less_than_https_is_refused(web: WebServer, secure_web: WebServer, ca_file: Path) -> None:
    secure_web.answers["/f"] = redirect(at(web, "/f"))
    web.answers["/f"] = answer(b"octets")
    refused = await refusal(make_fetcher(trusted_ca_file=ca_file), at(secure_web, "/f", "https"))
    assert "it redirects from https to http" in str(refused)
    assert web.connections == 0


@pytest.mark.parametrize(("status", "retryable"), [("404 Not Found", False), ("403 Forbidden", False)])
@pytest.mark.parametrize("length", [None, 10**9])
async def test_any_other_status_is_told(web: WebServer, status: str, retryable: bool, length: int | None) -> None:
    web.answers[f"/f?{SECRET}"] = answer(b"", status, length)
    refused = await refusal(make_fetcher(), at(web, f"/f?{SECRET}"))
    said = f"The file http://files.example/f cannot be had: its server answered with status {status[:3]}."
    assert [(problem.message, problem.retryable) for problem in refused.problems] == [(said, retryable)]


@pytest.mark.parametrize("status", ["500 Internal Server Error", "503 Service Unavailable", "429 Too Many Requests"])
async def test_what_may_pass_is_retryable(web: WebServer, status: str) -> None:
    web.answers["/f"] = answer(b"", status)
    assert (await refusal(make_fetcher(), at(web, "/f"))).problems[0].retryable


@pytest.mark.parametrize("status", ["204 No Content", "206 Partial Content", "304 Not Modified"])
async def test_success_is_200_alone(web: WebServer, status: str) -> None:
    web.answers["/f"] = answer(b"", status)
    assert f"status {status[:3]}" in str(await refusal(make_fetcher(), at(web, "/f")))


async def test_what_is_announced_as_too_large_is_not_read(web: WebServer) -> None:
    web.answers["/f"] = answer(b"", length=101)
    refused = await refusal(make_fetcher(max_attachment_bytes=100), at(web, "/f"))
    assert isinstance(refused, TooLarge)
    assert str(refused) == "The file http://files.example/f is larger than the limit of 100 bytes."


@pytest.mark.parametrize("size", [100, 101])
async def test_the_size_is_bounded_while_reading(web: WebServer, size: int) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * size)
        if size == 100:
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        await web.silence(writer)

    web.answers["/f"] = endless
    fetcher = make_fetcher(max_attachment_bytes=100)
    if size == 100:
        assert (await fetched(fetcher, at(web, "/f"))).content == b"x" * 100
    else:
        assert isinstance(await refusal(fetcher, at(web, "/f")), TooLarge)


async def test_the_files_of_one_mail_have_its_room_together(web: WebServer) -> None:
    web.answers["/f"] = answer(b"x" * 60)
    async with make_fetcher(max_message_bytes=100).session() as session:
        await session.fetch(at(web, "/f"))
        with pytest.raises(TooLarge, match="together larger than the limit of 100 bytes"):
            await session.fetch(at(web, "/f"))


async def test_compressed_content_is_refused(web: WebServer) -> None:
    web.answers["/f"] = answer(b"\x1f\x8b", Content_Encoding="gzip")
    assert "compressed" in str(await refusal(make_fetcher(), at(web, "/f")))


def slow_answers(web: WebServer) -> Iterator[Any]:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b"x", length=1000))
        await web.silence(writer)

    async def slow_header(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX: y")
        await web.silence(writer)

    yield from (drip, slow_header, web.silence)


@pytest.mark.parametrize("which", [0, 1, 2], ids=["body", "header", "silence"])
async def test_the_deadline_holds_for_all_of_it(web: WebServer, which: int) -> None:
    web.answers["/f"] = list(slow_answers(web))[which]
    refused = await refusal(make_fetcher(attachment_fetch_timeout=0.2), at(web, "/f"))
    assert "it took longer than 0.2 seconds" in str(refused)
    assert refused.problems[0].retryable


async def test_the_deadline_holds_for_the_look_up(web: WebServer) -> None:
    async def never(host: str) -> Any:
        await asyncio.Event().wait()

    fetcher = make_fetcher(attachment_fetch_timeout=0.1)
    fetcher._resolve = never
    assert "longer than 0.1 seconds" in str(await refusal(fetcher, at(web, "/f")))


@pytest.mark.parametrize("octets", [answer(b"x", length=5), b"220 smtp.example ESMTP\r\n", b""])
async def test_an_answer_that_breaks_off_or_is_no_http_is_told(web: WebServer, octets: bytes) -> None:
    async def broken(writer: asyncio.StreamWriter) -> None:
        writer.write(octets)
        writer.close()

    web.answers["/f"] = broken
    assert "its server broke off, or does not speak HTTP" in str(await refusal(make_fetcher(), at(web, "/f")))


async def test_a_server_that_is_not_there_is_told() -> None:
    refused = await refusal(make_fetcher(), "http://files.example:1/f")
    assert "its server takes no connection" in str(refused)
    refused = await refusal(Fetcher(Settings(attachment_hosts=("*.invalid",))), "http://no.invalid/f")
    assert "its host was not found" in str(refused)


async def test_the_next_address_is_tried_where_one_takes_no_connection(web: WebServer) -> None:
    web.answers["/f"] = answer(b"octets")
    names = Names(**{"files.example": [["127.0.0.2", LOOPBACK]]})
    assert (await fetched(make_fetcher(names), at(web, "/f"))).content == b"octets"
