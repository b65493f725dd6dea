"""The same mistake, made at either door, has the same code; door two answers with the status of its contract."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.journeys.conftest import Running
from tests.journeys.doors import Refused, error_of


@dataclass(frozen=True)
class Mistake:
    """What is wrong, in the words of each door; laid over a mail that is right."""

    code: str
    status: int
    graphql: dict[str, Any] = field(default_factory=dict)
    rest: dict[str, Any] = field(default_factory=dict)
    service: str = "email"
    says: str = ""


def nested(levels: int) -> Any:
    """An empty list in lists."""
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


LONG_NAME = "n" * 300

MISTAKES = {
    "no such service": Mistake(
        "SERVICE_NOT_FOUND", 404, service="nowhere", says="Could not find a service for nowhere"
    ),
    "a service with an impossible name": Mistake(
        "SERVICE_NOT_FOUND", 404, service="no way", says="Could not find a service for no way"
    ),
    "no recipient": Mistake("NO_RECIPIENTS", 400, {"to": []}, {"to": []}, says="Invalid email - ''."),
    "an empty address": Mistake(
        "INVALID_EMAIL", 400, {"to": [{"email": ""}]}, {"to": [{"email": ""}]}, says="Invalid email - ''."
    ),
    "half an address": Mistake(
        "INVALID_EMAIL", 400, {"to": [{"email": "ann@"}]}, {"to": "ann@"}, says="Invalid email - 'ann@'."
    ),
    "two addresses in one": Mistake(
        "INVALID_EMAIL",
        400,
        {"to": [{"email": "a@x.example, b@x.example"}]},
        {"to": [{"email": "a@x.example, b@x.example"}]},
        says="Invalid email - 'a@x.example, b@x.example'.",
    ),
    "a bad address in bcc": Mistake(
        "INVALID_EMAIL", 400, {"bcc": [{"email": "x"}]}, {"bcc": ["x"]}, says="Invalid email - 'x'."
    ),
    "a header in a display name": Mistake(
        "INVALID_INPUT",
        400,
        {"to": [{"email": "a@x.example", "name": "A\r\nBcc: b@x.example"}]},
        {"to": [{"email": "a@x.example", "name": "A\r\nBcc: b@x.example"}]},
    ),
    "a header in the subject": Mistake(
        "INVALID_INPUT", 400, {"subject": "A\r\nBcc: b@x.example"}, {"subject": "A\r\nBcc: b@x.example"}
    ),
    "a header that comes by a placeholder": Mistake(
        "INVALID_INPUT",
        400,
        {"subject": "{name}", "templateData": {"name": "A\r\nBcc: b@x.example"}},
        {"subject": "{name}", "template_data": {"name": "A\r\nBcc: b@x.example"}},
    ),
    "a bad sender": Mistake(
        "INVALID_EMAIL", 400, {"from": {"email": "me@"}}, {"from_email": "me@"}, says="Invalid email - 'me@'."
    ),
    "a bad reply-to": Mistake(
        "INVALID_EMAIL", 400, {"replyTo": {"email": "me@"}}, {"reply_to_email": "me@"}, says="Invalid email - 'me@'."
    ),
    "no sender anywhere": Mistake("NO_SENDER", 400, service="senderless", says="No sender"),
    "no body": Mistake(
        "NO_BODY",
        400,
        {"text": None},
        {"body_text": None},
        says="A message must have a text or an HTML part or attachments.",
    ),
    "an attachment that is not base64": Mistake(
        "INVALID_INPUT",
        400,
        {"attachments": [{"name": "a.txt", "content": "no base64!"}]},
        {"attachments": [{"name": "a.txt", "content": "no base64!"}]},
    ),
    "an attachment that is too large": Mistake(
        "TOO_LARGE",
        413,
        {"attachments": [{"name": "a.txt", "content": "A" * 4000}]},
        {"attachments": [{"name": "a.txt", "content": "A" * 4000}]},
    ),
    "a text that is too long": Mistake("TOO_LARGE", 413, {"text": "x" * 3000}, {"body_text": "x" * 3000}),
    "a name that is too long": Mistake(
        "TOO_LARGE",
        413,
        {"to": [{"email": "a@x.example", "name": LONG_NAME}]},
        {"to": [{"email": "a@x.example", "name": LONG_NAME}]},
    ),
    "too many recipients": Mistake(
        "TOO_LARGE",
        413,
        {"to": [{"email": f"{number}@x.example"} for number in range(11)]},
        {"to": [f"{number}@x.example" for number in range(11)]},
    ),
    "template data that is a list": Mistake("INVALID_INPUT", 400, {"templateData": ["x"]}, {"template_data": ["x"]}),
    "template data that nests too deeply": Mistake(
        "INVALID_INPUT", 400, {"templateData": {"x": nested(9)}}, {"template_data": {"x": nested(9)}}
    ),
    "a character that cannot be stored": Mistake("INVALID_INPUT", 400, {"text": "nul \x00"}, {"body_text": "nul \x00"}),
}


@pytest.mark.parametrize("name", MISTAKES)
async def test_both_doors_refuse_for_the_same_reason(name: str, sqlite_running: Running) -> None:
    mistake = MISTAKES[name]
    limits = {"max_attachment_bytes": 2000, "max_body_chars": 2000, "max_recipients": 10, "max_json_depth": 9}
    async with sqlite_running(**limits) as doors:
        await doors.graphql.create_service("senderless", fromEmail=None)
        right = {"service": mistake.service, "to": [{"email": "a@x.example"}], "subject": "Hello", "text": "Hello."}
        with pytest.raises(Refused) as caught:
            await doors.graphql.send_email(**right | mistake.graphql)
        response = await doors.rest.send(
            mistake.service, {"to": "a@x.example", "subject": "Hello", "body_text": "Hello."} | mistake.rest
        )
        assert await doors.graphql.messages() == []
    [problem] = caught.value.problems
    error = error_of(response)
    assert (problem.code, error["context"]["error_code"]) == (mistake.code, mistake.code)
    assert (response.status_code, error["code"]) == (mistake.status, mistake.status)
    assert error["message"].startswith(mistake.says)
    assert problem.message.startswith(mistake.says)
    assert problem.retryable is False
    if mistake.service == "email":
        assert problem.field
        assert "field" in error["context"]


async def test_every_mistake_of_one_mail_is_named_at_once(sqlite_running: Running) -> None:
    async with sqlite_running() as doors:
        with pytest.raises(Refused) as caught:
            await doors.graphql.send_email(service="email", to=[{"email": "x"}, {"email": "y"}], subject="a\nb")
        response = await doors.rest.send("email", {"to": ["x", "y"], "subject": "a\nb"})
    codes = ["INVALID_EMAIL", "INVALID_EMAIL", "INVALID_INPUT", "NO_BODY"]
    assert sorted(problem.code for problem in caught.value.problems) == codes
    assert sorted(problem["error_code"] for problem in error_of(response)["context"]["problems"]) == codes


async def test_door_two_has_its_envelope_for_whatever_goes_wrong(sqlite_running: Running) -> None:
    async with sqlite_running() as doors:
        key = {"X-API-Key": str(doors.api_key)}
        post = doors.http.post
        for body in (b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000):
            response = await post("/api/v2/email", content=body, headers=key | {"Content-Type": "application/json"})
            assert (response.status_code, error_of(response)["code"]) == (400, 400)
        get = await doors.http.get("/api/v2/email", headers=key)
        assert (get.status_code, get.headers["allow"], error_of(get)["context"]) == (405, "POST", None)
        assert error_of(await doors.http.get("/api/v2"))["code"] == 404
        assert await doors.graphql.messages() == []
