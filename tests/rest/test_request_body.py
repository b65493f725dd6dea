"""Every form of a request: JSON, a form, a query, and what may stand beside what."""

from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from app.errors import InvalidInput, TooLarge
from app.mail.address import Mailbox
from app.mail.draft import Draft, Link
from app.rest.request_body import read_request_draft
from app.settings import Settings
from tests.rest.asked import FORM, JSON, MULTIPART, asked, asked_in_chunks, multipart

A = Mailbox("a@x")
SENT = Draft(to=(A,), subject="Hi {n}", text="T", variables={"n": "1"})
AS_JSON = b'{"to": "a@x", "subject": "Hi {n}", "body_text": "T", "n": "1"}'
AS_FORM = b"to=a%40x&subject=Hi+%7Bn%7D&body_text=T&n=1"


@pytest.mark.parametrize(
    ("body", "content_type", "query"),
    [
        (AS_JSON, JSON, ""),
        (AS_JSON, "Application/JSON ; charset=utf-8", ""),
        (AS_JSON, "application/vnd.mail+json", ""),
        (AS_JSON, "text/plain;charset=UTF-8", ""),
        (AS_JSON, "image/png", ""),
        (AS_JSON, "multipart/mixed; boundary=XX", ""),
        (AS_JSON, FORM, ""),
        (b" \r\n\t" + AS_JSON, f"{FORM}; charset=UTF-8", ""),
        (AS_JSON, "", ""),
        (AS_JSON, None, ""),
        (AS_FORM, FORM, ""),
        (AS_FORM, "APPLICATION/X-WWW-Form-URLencoded;charset=utf-8", ""),
        (AS_FORM, "", ""),
        (AS_FORM, None, ""),
        (b"", None, AS_FORM.decode()),
        (b"", JSON, AS_FORM.decode()),
        (b" \r\n", FORM, AS_FORM.decode()),
        (b"", MULTIPART, AS_FORM.decode()),
        (b"--XX--\r\n", MULTIPART, AS_FORM.decode()),
        (b"", JSON, AS_FORM.decode() + "&api_key=secret"),
        (AS_JSON, JSON, "api_key=secret&subject=Other&name=x&to[]=b"),
        (AS_FORM, FORM, "api_key=secret&subject=Other"),
        (AS_FORM + b"&api_key=secret", FORM, "api_key=secret"),
        (AS_JSON[:-1] + b', "api_key": "secret"}', JSON, "api_key=secret"),
        (
            multipart(*((f'name="{name}"', text) for name, text in (
                ("to", "a@x"), ("subject", "Hi {n}"), ("body_text", "T"), ("n", "1")
            ))),
            MULTIPART,
            "subject=Other",
        ),
    ],
)  # fmt: skip
async def test_the_same_mail_comes_in_every_form(body: bytes, content_type: str | None, query: str) -> None:
    assert await asked(body, content_type, query) == SENT
    octets = [body[at : at + 1] for at in range(len(body))] or [b""]
    assert await asked_in_chunks(octets, content_type, query) == SENT


@pytest.mark.parametrize(
    ("body", "query", "named"),
    [
        (b'{"to": "a@x"}', "template=q", ("q", None)),
        (b'{"to": [{"email": "a@x"}]}', "template=q", ("q", None)),
        (b'{"to": "a@x"}', "template_id=7", (None, "7")),
        (b'{"to": "a@x", "template": null, "template_id": ""}', "template=q&template_id=7", ("q", "7")),
        (b'{"template": "b"}', "template=q", ("b", None)),
        (b'{"template_id": 5}', "template=q&template_id=7", (None, "5")),
        (b"", "template=q&template_id=7", ("q", "7")),
        (b"to=a", "template=q", ("q", None)),
        (b"template=b", "template=q", ("b", None)),
    ],
)
async def test_a_template_is_named_in_the_body_or_else_in_the_query(
    body: bytes, query: str, named: tuple[str | None, str | None]
) -> None:
    draft = await asked(body, FORM, query)
    assert (draft.template, draft.template_id) == named


async def test_a_form_carries_what_json_carries() -> None:
    form = (
        b"to[0][email]=a@x&to[0][name]=Ann&cc=b@x&cc=c@x&template_data[name]=Ann&template_data[n]=2"
        b"&attachments[0][name]=a.txt&attachments[0][content]=b2N0ZXRz&attachment=https://x/a&order[id]=7&from=f"
    )
    draft = await asked(form, FORM)
    assert draft.to == (Mailbox("a@x", "Ann"),)
    assert draft.cc == (Mailbox("b@x"), Mailbox("c@x"))
    assert draft.template_data == {"name": "Ann", "n": "2"}
    assert [(file.name, file.content) for file in draft.attachments] == [("a.txt", b"octets")]
    assert draft.links == (Link("https://x/a", ("attachment", "0")),)
    assert draft.variables == {"order": {"id": "7"}, "from": "f"}


@pytest.mark.parametrize(
    ("body", "content_type", "query", "says"),
    [
        (b"", JSON, "", "No valid data in request."),
        (b"", MULTIPART, "", "No valid data in request."),
        (b"", None, "api_key=secret", "No valid data in request."),
        (b"{}", JSON, "to=a", "No valid data in request."),
        (b"{}", FORM, "template=a", "No valid data in request."),
        (b"&", FORM, "to=a", "No valid data in request."),
        (b"[]", JSON, "", "No valid data in request."),
        (b"{", FORM, "", "Invalid or malformed JSON."),
        (b"to=a", JSON, "", "Invalid or malformed JSON."),
        (b"to=%ff", FORM, "", "The form is not valid UTF-8"),
        (b"", None, "to=%ff", "The query is not valid UTF-8"),
        (b'{"v": [[[[[[]]]]]]}', JSON, "", "The field 'v' must be at most 5 levels deep."),
        (b'template_data={"v": [[[[[]]]]]}', FORM, "", "The field 'template_data' must be at most 5 levels deep."),
        (b"", None, "a[b][c][d][e][f][g]=1", "The field 'a' must be at most 5 levels deep."),
        (multipart(('name="a[b][c][d][e][f][g]"', "")), MULTIPART, "", "The field 'a' must be at most 5 levels deep."),
        (b'{"a": [[[[[[]]]]]], "b": [[[[[[]]]]]]}', JSON, "", "The field 'a' must be at most 5 levels deep."),
    ],
)
async def test_what_cannot_be_read_is_refused(body: bytes, content_type: str | None, query: str, says: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await asked(body, content_type, query, max_json_depth=5)
    assert refused.value.problems[0].message.startswith(says)
    assert len(refused.value.problems) == (2 if b'"b"' in body else 1)


async def test_a_usual_mail_is_held_to_the_limits_as_well() -> None:
    usual = b'{"to": [{"email": "a@x.example"}], "subject": "Hello"}'
    await asked(usual, JSON, "", max_json_depth=2, max_json_values=5)
    with pytest.raises(InvalidInput, match="The field 'to' must be at most 1 levels deep"):
        await asked(usual, JSON, "", max_json_depth=1)
    with pytest.raises(TooLarge, match="more than 4 values"):
        await asked(usual, JSON, "", max_json_values=4)


@pytest.mark.parametrize("content_type", [JSON, FORM, MULTIPART, "text/plain", None])
async def test_a_body_is_bounded_in_every_form(content_type: str | None) -> None:
    part = b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"x" * 700 + b"\r\n"
    chunks = [part] * 3 if content_type == MULTIPART else [b"a=" + b"x" * 700] * 3
    with pytest.raises(TooLarge, match="larger than 2000 bytes"):
        await asked_in_chunks([*chunks, b"never read"], content_type, max_body_bytes=2000)


@pytest.mark.parametrize("content_type", [JSON, FORM, MULTIPART])
async def test_nothing_is_read_of_a_body_that_announces_to_be_too_large(content_type: str) -> None:
    async def receive() -> Any:
        raise AssertionError("it was read")

    headers = [(b"content-type", content_type.encode()), (b"content-length", b"2001")]
    request = Request({"type": "http", "method": "POST", "headers": headers, "query_string": b""}, receive)
    with pytest.raises(TooLarge, match="larger than 2000 bytes"):
        await read_request_draft(request, Settings(max_body_bytes=2000))


@pytest.mark.parametrize("content_type", [JSON, FORM, MULTIPART])
async def test_a_client_that_goes_away_has_asked_for_nothing(content_type: str) -> None:
    messages = [{"type": "http.request", "body": multipart()[:3], "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    headers = [(b"content-type", content_type.encode())]
    request = Request({"type": "http", "method": "POST", "headers": headers, "query_string": b""}, receive)
    with pytest.raises(ClientDisconnect):
        await read_request_draft(request, Settings())


async def test_a_large_body_is_read_as_a_small_one() -> None:
    text = "ü" * 200_000
    expected = Draft(to=(A,), text=text)
    assert await asked(b'{"to": "a@x", "body_text": "%s"}' % text.encode(), JSON) == expected
    assert await asked(b"to=a@x&body_text=" + text.encode(), FORM) == expected
    assert await asked(multipart(('name="to"', "a@x"), ('name="body_text"', text)), MULTIPART) == expected


async def test_fields_are_bounded_in_every_form() -> None:
    form = "&".join(f"v{number}=" for number in range(21))
    parts = [(f'name="v{number}"', "") for number in range(21)]
    for body, content_type, query in (
        (form.encode(), FORM, ""),
        (b"", None, form),
        (multipart(*parts), MULTIPART, ""),
    ):
        with pytest.raises(TooLarge, match="more than 20 fields"):
            await asked(body, content_type, query, max_form_fields=20)
