"""Whatever is sent, and however slowly, the route answers in its envelope, and others are served meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import quote_from_bytes

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.factories import count
from tests.rest.asked import FORM, JSON, MULTIPART, file_part, multipart
from tests.rest.conftest import MAIL, URL, error_of

pytestmark = pytest.mark.usefixtures("service")

PIECES = [
    *(
        b"--XX",
        b"--XX\r\n",
        b"--XX--",
        b"\r\n",
        b"\r\n\r\n",
        b'Content-Disposition: form-data; name="to"',
        b"filename=",
    ),
    *(b'"a"', b"{", b"}", b"[", b"]", b":", b",", b"&", b"=", b"%", b"%ff", b"to", b"to[]=a@x", b"template_data"),
    *(b"body_text", b"attachment", b"\x00", b"\xff", b"null", b"1e999", b"api_key"),
]
BODIES = st.binary(max_size=300) | st.lists(st.sampled_from(PIECES), max_size=25).map(b"".join)
TYPES = st.sampled_from(
    [JSON, FORM, MULTIPART, "", "text/plain", "multipart/form-data", "multipart/mixed", "a+json", "\xff"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(body=BODIES, content_type=TYPES, query=st.binary(max_size=20) | st.sampled_from([b"", b"template=a", b"to=a@x"]))
async def test_no_bytes_whatever_make_a_5xx(
    client: httpx2.AsyncClient, body: bytes, content_type: str, query: bytes
) -> None:
    headers = {b"Content-Type": content_type.encode("latin-1"), b"Prefer": b"respond-async"}
    url = f"{URL}?{quote_from_bytes(query, safe='=&')}"
    response = await client.post(url, content=body, headers=headers)
    if response.status_code != 202:
        assert error_of(response, response.status_code)["status_code"] in (400, 404, 413)


@pytest.mark.parametrize("content_type", [JSON, MULTIPART])
async def test_others_are_answered_while_an_upload_stands_still(client: httpx2.AsyncClient, content_type: str) -> None:
    half_sent, go_on = asyncio.Event(), asyncio.Event()
    fields = [(f'name="{name}"', value) for name, value in MAIL.items()]
    form = multipart(*fields, (file_part("file", "a.bin"), b"x" * 2000))
    body = form if content_type == MULTIPART else b'{"to": "a@x", "body_text": "' + b"x" * 2000 + b'"}'

    async def halting() -> AsyncIterator[bytes]:
        yield body[:1000]
        half_sent.set()
        await go_on.wait()
        yield body[1000:]

    headers = {"Prefer": "respond-async"}
    uploading = asyncio.create_task(
        client.post(URL, content=halting(), headers={**headers, "Content-Type": content_type})
    )
    await half_sent.wait()
    others = [await client.post(URL, json=MAIL, headers=headers) for _ in range(3)]

    assert [other.status_code for other in others] == [202] * 3
    assert not uploading.done()
    go_on.set()
    assert (await uploading).status_code == 202
    assert await count("message") == 4
