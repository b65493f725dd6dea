"""The same mistake, made at either door, has the same code; door two answers with the status of its contract."""

from typing import Any

import pytest

from tests.journeys.conftest import Running
from tests.journeys.doors import (
    CREATE_API_KEY,
    CREATE_ROLE,
    CREATE_TEMPLATE,
    REVOKE_API_KEY,
    SEND_EMAIL,
    Doors,
    Refused,
    error_of,
)
from tests.journeys.mistakes import LIMITS, MISTAKES, TEMPLATES

RIGHT = {"service": "email", "to": [{"email": "a@x.example"}], "subject": "Hello", "text": "Hello."}
RIGHT_FOR_REST = {"to": "a@x.example", "subject": "Hello", "body_text": "Hello."}


async def prepare(doors: Doors) -> None:
    """What the mistakes are made with."""
    await doors.graphql.create_service("senderless", fromEmail=None)
    await doors.graphql.create_service("asleep", isActive=False)
    for template in TEMPLATES:
        await doors.graphql.change(CREATE_TEMPLATE, **template)


@pytest.mark.parametrize("name", MISTAKES)
async def test_both_doors_refuse_for_the_same_reason(name: str, sqlite_running: Running) -> None:
    mistake = MISTAKES[name]
    async with sqlite_running(**LIMITS) as doors:
        await prepare(doors)
        with pytest.raises(Refused) as caught:
            await doors.graphql.send_email(**RIGHT | {"service": mistake.service} | mistake.graphql)
        response = await doors.rest.send(mistake.service, RIGHT_FOR_REST | mistake.rest, **mistake.headers)
        assert await doors.graphql.messages() == []
    [problem] = caught.value.problems
    error = error_of(response)
    assert (problem.code, error["context"]["error_code"]) == (mistake.code, mistake.code)
    assert (response.status_code, error["code"]) == (mistake.status, mistake.status)
    assert error["message"].startswith(mistake.says)
    assert problem.message.startswith(mistake.says)
    assert problem.retryable is False
    if mistake.service == "email" and mistake.names_field:
        assert problem.field
        assert "field" in error["context"]


CLIENTS = {
    "without a key": ("UNAUTHENTICATED", 401, "No session token (JWT) or API Key detected in request."),
    "with a key that is none": ("INVALID_API_KEY", 401, "Invalid API key."),
    "with a revoked key": ("INVALID_API_KEY", 401, "Invalid API key."),
    "of an inactive role": ("ROLE_INACTIVE", 403, "Access Forbidden. The role is inactive."),
    "that may not send": ("FORBIDDEN", 403, "Access Forbidden."),
    "that may send by another service": ("FORBIDDEN", 403, "Access Forbidden."),
}


async def key_of(client: str, doors: Doors) -> str | None:
    """The key that such a client has."""
    if client in ("without a key", "with a key that is none"):
        return None if client == "without a key" else "hg_" + "0" * 43
    granted = "READ_MESSAGES" if client == "that may not send" else "SEND"
    grant = {"actions": [granted]} | ({"service": "senderless"} if "another" in client else {})
    role = {"name": "limited", "isActive": client != "of an inactive role", "grants": [grant]}
    role_id = (await doors.graphql.change(CREATE_ROLE, **role))["role"]["id"]
    made = await doors.graphql.change(CREATE_API_KEY, roleId=role_id, name="limited")
    if client == "with a revoked key":
        await doors.graphql.change(REVOKE_API_KEY, id=made["apiKey"]["id"])
    key: str = made["key"]
    return key


@pytest.mark.parametrize("client", CLIENTS)
async def test_both_doors_turn_the_same_client_away(client: str, sqlite_running: Running) -> None:
    code, status, says = CLIENTS[client]
    async with sqlite_running() as doors:
        await doors.graphql.create_service("senderless", fromEmail=None)
        turned_away = doors.with_key(await key_of(client, doors))
        for service in ("email", "nowhere"):
            with pytest.raises(Refused) as caught:
                await turned_away.graphql.change(SEND_EMAIL, **RIGHT | {"service": service})
            response = await turned_away.rest.send(service, RIGHT_FOR_REST)
            error = error_of(response)
            assert [problem.code for problem in caught.value.problems] == [code]
            assert (response.status_code, error["context"]["error_code"]) == (status, code)
            assert error["message"] == caught.value.problems[0].message
            assert error["message"].startswith(says)
        assert await doors.graphql.messages() == []


DIFFERENT: dict[str, tuple[str, dict[str, Any], str]] = {
    "no value for what is required": ("MISSING_VARIABLE", {"count": 2}, "Dear {name}, 2 times."),
    "null for what is required": ("MISSING_VARIABLE", {"name": None, "count": 2}, "Dear {name}, 2 times."),
    "a value of another type": ("INVALID_INPUT", {"name": "Ann", "count": "two"}, "Dear Ann, two times."),
}


@pytest.mark.parametrize("what", DIFFERENT)
async def test_what_a_template_requires_is_the_one_thing_that_only_door_one_insists_on(
    what: str, sqlite_running: Running
) -> None:
    code, data, text = DIFFERENT[what]
    async with sqlite_running() as doors:
        await prepare(doors)
        to = {"template": "needy", "to": [{"email": "a@x.example"}]}
        with pytest.raises(Refused) as caught:
            await doors.graphql.send_email(service="email", templateData=data, **to)
        assert [problem.code for problem in caught.value.problems] == [code]
        assert caught.value.problems[0].field[0] == "templateData"
        response = await doors.rest.send("email", to | {"template_data": data})
        assert (response.status_code, response.headers["x-message-status"]) == (200, "sent")
        [mail] = await doors.graphql.inbox()
        assert mail["content"]["text"].strip() == text


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
        bodies = {b"": 400, b"{": 400, b"[]": 400, b"null": 400, b"\xff": 400, b"[" * 2000: 400, b"[" * 100_000: 413}
        for body, status in bodies.items():
            response = await post("/api/v2/email", content=body, headers=key | {"Content-Type": "application/json"})
            assert (response.status_code, error_of(response)["code"]) == (status, status)
        get = await doors.http.get("/api/v2/email", headers=key)
        assert (get.status_code, get.headers["allow"], error_of(get)["context"]) == (405, "POST", None)
        assert error_of(await doors.http.get("/api/v2"))["code"] == 404
        assert await doors.graphql.messages() == []
