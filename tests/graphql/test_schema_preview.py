"""previewEmail on the real schema: what sendEmail would make of the same input."""

from dataclasses import replace
from typing import Any

import pytest

from app.access.check import GrantValues
from app.access.restrictions import Restrictions
from app.inbox.read import take_apart
from app.services.models import Service
from tests.factories import count, make_key, make_service
from tests.graphql.api import USER_ERRORS, Api, codes

PREVIEW = f"""query ($input: SendEmailInput!) {{ previewEmail(input: $input) {{ preview {{
  source truncated sizeBytes messageIdHeader date reversePath subject text textFromHtml html
  recipients {{ kind email name address verdict rule message }} lint {{ code severity message field }}
}} {USER_ERRORS} }} }}"""
MAIL: dict[str, Any] = {
    "service": "email",
    "to": [{"email": "bob@bücher.example", "name": "Bob"}],
    "bcc": [{"email": "eve@example.com"}],
    "subject": "Hi {name}",
    "html": "<p>Hi <b>{name}</b> <img src=cid:logo alt=Logo>",
    "from": {"email": "ada@example.com"},
    "templateData": {"name": "<Bob>"},
    "unsubscribe": {"url": "https://example.com/u/{name}", "email": "off@example.com", "oneClick": True},
}


@pytest.fixture(autouse=True)
async def service(api: Api) -> Service:
    return await make_service()


async def preview(api: Api, **given: Any) -> dict[str, Any]:
    payload: dict[str, Any] = (await api.ask(PREVIEW, input={**MAIL, **given}))["previewEmail"]
    return payload


def with_settings(api: Api, **changes: Any) -> Api:
    return replace(api, parts=replace(api.parts, settings=api.parts.settings.model_copy(update=changes)))


async def test_a_mail_is_shown_as_it_would_leave(api: Api) -> None:
    payload = await preview(api)
    assert payload["userErrors"] == []
    shown = payload["preview"]
    read = take_apart(shown["source"].encode())
    headers = dict(read.headers)
    assert (shown["sizeBytes"], shown["truncated"]) == (len(shown["source"]), False)
    assert (headers["Message-ID"], headers["Subject"]) == (shown["messageIdHeader"], "Hi <Bob>")
    assert shown["subject"] == "Hi <Bob>"
    assert headers["List-Unsubscribe"] == "<https://example.com/u/%3CBob%3E>, <mailto:off@example.com>"
    assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert (shown["text"], shown["textFromHtml"]) == ("Hi <Bob> Logo", True)
    assert shown["html"] == "<p>Hi <b>&lt;Bob&gt;</b> <img src=cid:logo alt=Logo>"
    assert [(read.text or "").strip(), (read.html or "").strip()] == [shown["text"], shown["html"]]
    assert shown["reversePath"] == "ada@example.com"
    allowed = {"verdict": "ALLOWED", "rule": None, "message": None}
    assert shown["recipients"] == [
        {"kind": "TO", "email": "bob@bücher.example", "name": "Bob", "address": "bob@xn--bcher-kva.example", **allowed},
        {"kind": "BCC", "email": "eve@example.com", "name": None, "address": "eve@example.com", **allowed},
    ]
    found = [(found["severity"], found["code"], found["field"]) for found in shown["lint"]]
    assert found == [("ERROR", "MISSING_INLINE_IMAGE", ["html"]), ("INFO", "AUTOMATIC_TEXT", ["text"])]
    assert await count("message") == 0


async def test_the_grant_s_verdict_comes_with_the_mail(api: Api) -> None:
    grant = GrantValues("email", ["SEND"], Restrictions(denied_recipients=("eve@example.com",)))
    payload = await preview(api.as_key(await make_key("shop", [grant])))
    assert codes(payload) == [("bcc.0.email", "FORBIDDEN")]
    verdicts = [(judged["verdict"], judged["rule"]) for judged in payload["preview"]["recipients"]]
    assert verdicts == [("ALLOWED", None), ("REFUSED", "RECIPIENT_DENIED")]
    assert payload["preview"]["recipients"][1]["message"] == payload["userErrors"][0]["message"]


WRONG: dict[str, dict[str, Any]] = {
    "many things": {"to": [{"email": "x"}], "from": {"email": "y"}, "attachments": [{"name": "", "content": "eA=="}]},
    "no base64": {"attachments": [{"name": "a", "content": "!"}]},
    "one click without https": {"unsubscribe": {"url": "http://x.example", "oneClick": True}},
    "twice": {"headers": [{"name": "List-Unsubscribe", "value": "<https://x.example>"}]},
    "no such service": {"service": "nothing"},
    "no such template": {"template": "nothing"},
    "a wait with a schedule": {"waitSeconds": 1, "sendAt": "2099-01-01T00:00:00Z"},
    "a moment without an offset": {"sendAt": "2099-01-01T00:00:00"},
}


@pytest.mark.parametrize("name", WRONG)
async def test_user_errors_are_those_of_send_email(api: Api, name: str) -> None:
    payload = await preview(api, **WRONG[name])
    sent = await api.mutate("sendEmail", "message { id }", **{**MAIL, **WRONG[name]})
    assert payload == {"preview": None, "userErrors": sent["userErrors"]}
    assert payload["userErrors"]


async def test_fields_are_named_as_the_input_names_them(api: Api) -> None:
    assert codes(await preview(api, **WRONG["one click without https"])) == [("unsubscribe.oneClick", "INVALID_INPUT")]
    attachment = {"name": "a.png", "content": "eA==", "contentId": "a"}
    (found, *_) = (await preview(api, text="t", html="<p>a", attachments=[attachment]))["preview"]["lint"]
    assert (found["code"], found["field"]) == ("UNUSED_INLINE_IMAGE", ["attachments", "0", "contentId"])


async def test_what_is_long_is_cut_and_said_to_be(api: Api) -> None:
    shown = (await preview(with_settings(api, max_preview_chars=20), text="t" * 21))["preview"]
    assert (len(shown["source"]), len(shown["html"]), shown["text"]) == (20, 20, "t" * 20)
    assert shown["truncated"]
    assert shown["sizeBytes"] > 500


async def test_the_server_may_be_told_to_make_no_text(api: Api) -> None:
    shown = (await preview(with_settings(api, automatic_text=False)))["preview"]
    assert (shown["text"], shown["textFromHtml"]) == (None, False)
    assert "NO_TEXT_PART" in [found["code"] for found in shown["lint"]]


async def test_who_may_not_send_gets_no_preview(api: Api) -> None:
    reader = api.as_key(await make_key("reader", [GrantValues(None, ["READ_MESSAGES"])]))
    payload = await preview(reader)
    assert (payload["preview"], codes(payload)) == (None, [("", "FORBIDDEN")])
