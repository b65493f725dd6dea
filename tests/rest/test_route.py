"""The route over HTTP: who may, what is answered, and the envelope of every failure."""

import asyncio
from typing import Any

import httpx2
import orjson
import pytest

from app.access.check import GrantValues
from app.inbox.receiver import Receiver, Script, Stage
from app.queue.models import Message
from tests.factories import count, make_key, make_service
from tests.rest.conftest import MAIL, URL, error_of

pytestmark = pytest.mark.usefixtures("service")


@pytest.mark.usefixtures("worker")
async def test_a_mail_that_was_sent_is_counted(client: httpx2.AsyncClient, receiver: Receiver) -> None:
    response = await client.post(URL, json={**MAIL, "cc": "ann@example.com", "bcc": ["eve@example.com"]})

    assert (response.status_code, response.content) == (200, b'{"count":3}')
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-message-status"] == "sent"
    assert "idempotent-replayed" not in response.headers
    message = await Message.get()
    assert response.headers["x-message-id"] == f"msg_{message.id.hex}"
    (mail,) = receiver.mails
    assert mail.recipients == ("bob@example.com", "ann@example.com", "eve@example.com")


@pytest.mark.usefixtures("worker")
async def test_only_accepted_recipients_are_counted(client: httpx2.AsyncClient, script: Script) -> None:
    script.on(Stage.RCPT, "550 5.1.1 no such user", address="ann@example.com")
    response = await client.post(URL, json={**MAIL, "cc": "ann@example.com"})

    assert (response.status_code, response.json()) == (200, {"count": 1})
    assert response.headers["x-message-status"] == "sent"


@pytest.mark.usefixtures("worker")
async def test_a_mail_that_the_server_defers_is_queued(client: httpx2.AsyncClient, script: Script) -> None:
    script.on(Stage.RCPT, "450 4.2.1 busy", address="ann@example.com")
    script.on(Stage.RCPT, "550 5.1.1 no such user", address="eve@example.com")
    response = await client.post(URL, json={**MAIL, "cc": ["ann@example.com", "eve@example.com"]})

    assert (response.status_code, response.json()) == (200, {"count": 2})
    assert response.headers["x-message-status"] == "queued"


@pytest.mark.usefixtures("worker")
async def test_a_mail_that_the_server_refuses_is_a_500_with_its_reply(
    client: httpx2.AsyncClient, script: Script
) -> None:
    script.on(Stage.DOT, "554 5.7.1 no spam here")
    response = await client.post(URL, json=MAIL)

    error = error_of(response, 500)
    assert (error["code"], error["message"]) == (554, "554 5.7.1 no spam here")
    assert error["context"] == {"retryable": False, "smtp_code": 554, "enhanced_code": "5.7.1"}
    assert response.headers["x-message-id"].startswith("msg_")


@pytest.mark.usefixtures("worker")
async def test_a_server_that_is_not_there_is_a_500_and_nothing_is_sent_later(
    client: httpx2.AsyncClient, receiver: Receiver
) -> None:
    await receiver.stop()
    error = error_of(await client.post(URL, json=MAIL), 500)

    assert error["message"].startswith("Connection refused")
    assert (error["code"], error["context"]) == (500, {"retryable": False})
    assert (await Message.get()).state == "failed"


@pytest.mark.parametrize("verdict_wait", [0.01])
async def test_without_a_verdict_in_time_the_mail_is_queued_and_no_longer_awaited(client: httpx2.AsyncClient) -> None:
    response = await client.post(URL, json=MAIL)

    assert (response.status_code, response.json()) == (200, {"count": 1})
    assert response.headers["x-message-status"] == "queued"
    assert not (await Message.get()).verdict_awaited


@pytest.mark.parametrize(
    "prefer", ["respond-async", "Respond-Async", "wait=10, respond-async", "respond-async; x=y", "a;b, respond-async"]
)
async def test_a_client_may_prefer_not_to_wait(client: httpx2.AsyncClient, prefer: str) -> None:
    response = await client.post(URL, json=MAIL, headers={"Prefer": prefer})

    assert (response.status_code, response.json()) == (202, {"count": 1})
    assert response.headers["x-message-status"] == "queued"


@pytest.mark.parametrize("prefer", ["", "wait=100", "no-respond-async", "respond-asynchronously"])
@pytest.mark.usefixtures("worker")
async def test_any_other_preference_waits(client: httpx2.AsyncClient, prefer: str) -> None:
    response = await client.post(URL, json=MAIL, headers={"Prefer": prefer})
    assert (response.status_code, response.headers["x-message-status"]) == (200, "sent")


@pytest.mark.parametrize("path", ["/api/v2/email/", "/api/v2/EMail", "/api/v2/EMAIL/", "/api/v2/em%61il"])
async def test_the_service_is_found_in_any_case_with_or_without_a_slash(client: httpx2.AsyncClient, path: str) -> None:
    response = await client.post(path, json=MAIL, headers={"Prefer": "respond-async"})
    assert response.status_code == 202


async def test_an_idempotency_key_replays_the_first_answer(client: httpx2.AsyncClient) -> None:
    headers = {"Prefer": "respond-async", "Idempotency-Key": "order 1"}
    first, again = [await client.post(URL, json=MAIL, headers=headers) for _ in range(2)]

    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["x-message-id"] == first.headers["x-message-id"]
    assert (await count("message"), again.json()) == (1, {"count": 1})
    error = error_of(await client.post(URL, json={**MAIL, "subject": "Other"}, headers=headers), 409)
    assert "'order 1'" in error["message"]
    assert error["context"] == {"error_code": "IDEMPOTENCY_CONFLICT", "field": "Idempotency-Key"}


@pytest.mark.parametrize(
    ("headers", "query", "status"),
    [
        ({"X-DreamFactory-API-Key": "{good}", "X-API-Key": "bad", "Authorization": "Bearer bad"}, "?api_key=bad", 202),
        ({"X-API-Key": "{good}", "Authorization": "Bearer bad"}, "?api_key=bad", 202),
        ({"Authorization": "Bearer {good}"}, "?api_key=bad", 202),
        ({"Authorization": "bearer  {good}"}, "", 202),
        ({}, "?api_key={good}", 202),
        ({"X-DreamFactory-API-Key": "bad", "X-API-Key": "{good}"}, "?api_key={good}", 401),
        ({"X-API-Key": "bad", "Authorization": "Bearer {good}"}, "", 401),
        ({"Authorization": "Bearer bad"}, "?api_key={good}", 401),
        ({"X-DreamFactory-API-Key": "", "X-API-Key": "{good}"}, "", 202),
        ({"Authorization": "Basic {good}"}, "", 401),
    ],
)
async def test_the_first_api_key_that_is_present_counts(
    client: httpx2.AsyncClient, key: str, headers: dict[str, str], query: str, status: int
) -> None:
    del client.headers["X-API-Key"]
    filled = {name: value.replace("{good}", key) for name, value in headers.items()}
    response = await client.post(
        URL + query.replace("{good}", key), json=MAIL, headers={**filled, "Prefer": "respond-async"}
    )
    assert response.status_code == status
    if status == 401:
        assert response.headers["www-authenticate"] == "Bearer"
        error_of(response, 401)


async def test_without_a_key_there_is_no_session(client: httpx2.AsyncClient) -> None:
    del client.headers["X-API-Key"]
    error = error_of(await client.post(URL, json=MAIL), 401)

    assert error["message"] == "No session token (JWT) or API Key detected in request."
    assert error["context"] == {"error_code": "UNAUTHENTICATED"}


async def test_who_may_not_send_is_refused_whether_the_service_exists_or_not(client: httpx2.AsyncClient) -> None:
    client.headers["X-API-Key"] = await make_key("reader", [GrantValues(None, ["READ_MESSAGES"])])
    errors = [error_of(await client.post(f"/api/v2/{name}", json=MAIL), 403) for name in ("email", "nothing")]

    assert errors[0] == errors[1]
    assert errors[0]["message"].startswith("Access Forbidden.")


async def test_an_inactive_role_is_refused(client: httpx2.AsyncClient) -> None:
    client.headers["X-API-Key"] = await make_key("sleeping", is_active=False)
    assert error_of(await client.post(URL, json=MAIL), 403)["context"] == {"error_code": "ROLE_INACTIVE"}


async def test_an_unknown_service_is_not_found(client: httpx2.AsyncClient) -> None:
    error = error_of(await client.post("/api/v2/nothing", json=MAIL), 404)
    assert error["message"] == "Could not find a service for nothing"


async def test_an_inactive_service_is_forbidden(client: httpx2.AsyncClient) -> None:
    await make_service("sleeping", is_active=False)
    error = error_of(await client.post("/api/v2/sleeping", json=MAIL), 403)
    assert error["message"] == "Service sleeping is deactivated."


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/v2", "/api/v2/", "/api/v2/email/send", "/api/v1/email"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_every_other_path_below_api_is_not_found(client: httpx2.AsyncClient, method: str, path: str) -> None:
    error = error_of(await client.request(method, path), 404)
    assert error["code"] == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
@pytest.mark.parametrize("path", [URL, f"{URL}/"])
async def test_every_other_method_is_not_allowed(client: httpx2.AsyncClient, method: str, path: str) -> None:
    response = await client.request(method, path)
    error = error_of(response, 405)
    assert (response.headers["allow"], error["context"]) == ("POST", None)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "No valid data in request."),
        (b" \r\n", "No valid data in request."),
        (b"{}", "No valid data in request."),
        (b"null", "No valid data in request."),
        (b"[]", "No valid data in request."),
        (b'"text"', "No valid data in request."),
        (b"{", "Invalid or malformed JSON."),
        (b"{'to': 'a@x'}", "Invalid or malformed JSON."),
        (b'{"to": NaN}', "Invalid or malformed JSON."),
        (b'{"to": "\xff"}', "Invalid or malformed JSON."),
        (b'{"to": "\\ud800"}', "Invalid or malformed JSON."),
        (b"to=a%40x&subject=s", "Invalid or malformed JSON."),
        (b"[" * 2000, "The JSON must be at most 64 levels deep."),
        (b'{"to": ' + b"[" * 1900 + b"]" * 1900 + b"}", "The JSON must be at most 64 levels deep."),
        (b'{"v": ' + b"[" * 65 + b"]" * 65 + b"}", "The field 'v' must be at most 64 levels deep."),
        (b'{"v": ' + b"[" * 1000 + b"]" * 1000 + b"}", "The field 'v' must be at most 64 levels deep."),
        (b'{"subject": "s", "body_text": "t"}', "Invalid email - ''."),
        (b'{"to": "bob", "body_text": "t"}', "Invalid email - 'bob'."),
        (b'{"to": 5, "body_text": "t"}', "Invalid email - '5'."),
        (b'{"to": "a@x", "subject": "s"}', "A message must have a text or an HTML part or attachments."),
        (b'{"to": "a@x", "subject": 5, "body_text": "t"}', "The field 'subject' must be a string."),
    ],
)
async def test_what_cannot_be_a_mail_is_refused(client: httpx2.AsyncClient, body: bytes, message: str) -> None:
    error = error_of(await client.post(URL, content=body, headers={"Content-Type": "application/json"}), 400)
    assert error["message"].startswith(message)
    assert await count("message") == 0


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/foo+json"]
)
async def test_json_is_read_whatever_its_content_type_says(client: httpx2.AsyncClient, content_type: str) -> None:
    headers = {"Content-Type": content_type, "Prefer": "respond-async"}
    assert (await client.post(URL, content=orjson.dumps(MAIL), headers=headers)).status_code == 202


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_over_the_limit_is_too_large(client: httpx2.AsyncClient, announced: bool) -> None:
    async def chunks() -> Any:
        for _ in range(50):
            yield b" " * 100

    error = error_of(await client.post(URL, content=b" " * 4001 if announced else chunks()), 413)
    assert "4000" in error["message"]
    assert error["context"] == {"error_code": "TOO_LARGE"}


async def test_fields_are_named_as_the_route_names_them_and_all_at_once(client: httpx2.AsyncClient) -> None:
    body = {**MAIL, "cc": ["eve"], "body_html": "\x00", "from_name": "a\nb"}
    error = error_of(await client.post(URL, json=body), 400)

    assert error["context"]["field"] == "cc.0.email"
    fields = [problem["field"] for problem in error["context"]["problems"]]
    assert fields == ["cc.0.email", "from_name", "body_html"]


@pytest.mark.parametrize(("levels", "status"), [(64, 202), (65, 400), (1000, 400)])
async def test_a_value_nests_only_so_deep(client: httpx2.AsyncClient, levels: int, status: int) -> None:
    deep = b'{"to": "a@x", "body_text": "t", "v": ' + b"[" * levels + b"]" * levels + b"}"
    for headers in ({"Prefer": "respond-async"}, {"Prefer": "respond-async", "Idempotency-Key": "k"}):
        response = await client.post(URL, content=deep, headers=headers)
        assert response.status_code == status, response.text


async def test_a_replay_that_does_not_wait_ends_the_wait_of_the_first_request(client: httpx2.AsyncClient) -> None:
    key = {"Idempotency-Key": "k1"}
    waiting = asyncio.create_task(client.post(URL, json=MAIL, headers=key))
    async with asyncio.timeout(20):
        while not await count("message"):  # noqa: ASYNC110 - a row sets no event
            await asyncio.sleep(0.01)
    replay = await client.post(URL, json=MAIL, headers={**key, "Prefer": "respond-async"})

    assert (replay.status_code, replay.headers["x-message-status"]) == (202, "queued")
    assert not (await Message.get()).verdict_awaited
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
