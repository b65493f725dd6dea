"""Scheduling, cancelling, holding, retrying and pausing through the schema."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from app.access.check import GrantValues
from app.clock import now
from app.database.connection import execute
from app.database.key import new_key, parse_public_id, public_id
from app.queue.claim import claim_message
from app.queue.settle import Settlement, settle
from app.queue.states import RecipientState
from app.services.models import Service
from app.settings import Settings
from tests.factories import count, make_key, make_service, message_row
from tests.graphql.api import Api, codes

MAIL: dict[str, Any] = {
    "service": "email",
    "to": [{"email": "bob@example.com"}],
    "text": "t",
    "from": {"email": "ada@example.com"},
}
FAR, PAST = "9000-01-01T00:00:00Z", "2026-01-01T00:00:00Z"
CHANGES = "message { id state scheduledAt } recipients { email changed state }"


@pytest.fixture(autouse=True)
async def service(sqlite_database: Settings) -> Service:
    return await make_service()


async def send(api: Api, **fields: Any) -> str:
    payload = await api.mutate("sendEmail", "message { id }", **{**MAIL, **fields})
    assert payload["userErrors"] == []
    return str(payload["message"]["id"])


async def end_in(message: str, state: RecipientState) -> None:
    parsed = parse_public_id(message)
    assert parsed is not None
    claim = await claim_message(new_key(), parsed[1], now(), 60)
    assert claim is not None
    settlements = [Settlement(recipient.id, recipient.number, state) for recipient in claim.recipients]
    assert await settle(claim, lambda _: settlements, now(), now())


def in_hours(hours: float) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


async def test_a_mail_can_be_scheduled_with_an_expiry_and_a_priority(api: Api) -> None:
    send_at, expires_at = datetime.fromisoformat(in_hours(100)), in_hours(200)
    in_vienna = send_at.astimezone(timezone(timedelta(hours=1))).isoformat()
    payload = await api.mutate(
        "sendEmail",
        "message { state priority scheduledAt expiresAt recipients { nextAttemptAt } }",
        **{**MAIL, "sendAt": in_vienna, "expiresAt": expires_at, "priority": "HIGH"},
    )

    assert payload["message"] == {
        "state": "QUEUED",
        "priority": "HIGH",
        "scheduledAt": send_at.isoformat(),
        "expiresAt": expires_at,
        "recipients": [{"nextAttemptAt": send_at.isoformat()}],
    }


async def test_a_mail_without_a_schedule_is_due_at_once_with_normal_priority(api: Api) -> None:
    payload = await api.mutate("sendEmail", "message { id priority scheduledAt expiresAt }", **MAIL)
    assert payload["message"] | {"id": ""} == {"id": "", "priority": "NORMAL", "scheduledAt": None, "expiresAt": None}


async def test_the_author_says_what_becomes_of_a_mail_in_doubt(api: Api) -> None:
    for given, shown in (({}, "RETRY"), ({"onDoubt": "RETRY"}, "RETRY"), ({"onDoubt": "FAIL"}, "FAIL")):
        payload = await api.mutate("sendEmail", "message { onDoubt }", **MAIL, **given)
        assert payload["message"] == {"onDoubt": shown}


async def test_a_time_to_send_that_has_passed_means_at_once(api: Api) -> None:
    parsed = parse_public_id(await send(api, sendAt=in_hours(-1)))
    assert parsed is not None
    row = await message_row(parsed[1])
    assert row["due_at"] == row["created_at"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"sendAt": "2027-03-01T10:00:00"}, "sendAt"),
        ({"expiresAt": "2027-03-01T10:00:00"}, "expiresAt"),
        ({"sendAt": FAR}, "sendAt"),
        ({"expiresAt": PAST}, "expiresAt"),
        ({"sendAt": PAST, "expiresAt": PAST}, "expiresAt"),
        ({"sendAt": PAST, "waitSeconds": 1}, "waitSeconds"),
    ],
)
async def test_a_schedule_that_makes_no_sense_is_refused(api: Api, fields: dict[str, Any], field: str) -> None:
    payload = await api.mutate("sendEmail", "message { id }", **{**MAIL, **fields})
    assert (payload["message"], codes(payload)) == (None, [(field, "INVALID_INPUT")])
    assert await count("message") == 0


async def test_the_schedule_is_part_of_what_an_idempotency_key_stands_for(api: Api) -> None:
    send_at = in_hours(1)
    first = await send(api, sendAt=send_at, idempotencyKey="k")
    assert await send(api, sendAt=send_at, idempotencyKey="k") == first
    other = await api.mutate("sendEmail", "message { id }", **{**MAIL, "sendAt": in_hours(2), "idempotencyKey": "k"})
    assert codes(other) == [("idempotencyKey", "IDEMPOTENCY_CONFLICT")]


async def test_a_mail_goes_through_every_verb(api: Api) -> None:
    key = await send(api)
    steps: list[tuple[str, dict[str, Any], str]] = [
        ("holdEmail", {}, "HELD"),
        ("rescheduleEmail", {"sendAt": in_hours(1)}, "HELD"),
        ("releaseEmail", {}, "QUEUED"),
        ("rescheduleEmail", {"sendAt": in_hours(-1)}, "QUEUED"),
        ("cancelEmail", {}, "CANCELLED"),
    ]
    for mutation, given, state in steps:
        payload = await api.mutate(mutation, CHANGES, id=key, **given)
        assert payload["userErrors"] == []
        assert payload["message"]["state"] == state
        assert payload["recipients"] == [{"email": "bob@example.com", "changed": True, "state": state}]


async def test_what_failed_is_retried(api: Api) -> None:
    key = await send(api)
    await end_in(key, RecipientState.FAILED)
    payload = await api.mutate("retryEmail", CHANGES, id=key)
    assert payload["recipients"] == [{"email": "bob@example.com", "changed": True, "state": "QUEUED"}]


@pytest.mark.parametrize("mutation", ["cancelEmail", "holdEmail", "releaseEmail", "retryEmail"])
async def test_who_comes_too_late_is_told_where_each_recipient_stands(api: Api, mutation: str) -> None:
    key = await send(api)
    await end_in(key, RecipientState.SENT)
    payload = await api.mutate(mutation, CHANGES, id=key)

    assert codes(payload) == [("id", "WRONG_STATE")]
    assert payload["userErrors"][0]["message"] == "Too late: it was sent."
    assert payload["recipients"] == [{"email": "bob@example.com", "changed": False, "state": "SENT"}]
    assert payload["message"]["state"] == "SENT"


@pytest.mark.parametrize(("send_at", "words"), [("2027-03-01T10:00:00", "offset from UTC"), (FAR, "days ahead")])
async def test_a_time_to_reschedule_to_is_checked(api: Api, send_at: str, words: str) -> None:
    payload = await api.mutate("rescheduleEmail", CHANGES, id=await send(api), sendAt=send_at)
    assert codes(payload) == [("sendAt", "INVALID_INPUT")]
    assert words in payload["userErrors"][0]["message"]


async def test_only_those_who_may_change_a_mail(api: Api) -> None:
    sender = api.as_key(await make_key("sender", [GrantValues("email", ["SEND"])]))
    theirs, own = await send(api), await send(sender)
    assert codes(await sender.mutate("cancelEmail", CHANGES, id=theirs)) == [("id", "NOT_FOUND")]
    assert codes(await sender.mutate("cancelEmail", CHANGES, id="msg_nonsense")) == [("id", "NOT_FOUND")]
    assert (await sender.mutate("cancelEmail", CHANGES, id=own))["message"] == {
        "id": own,
        "state": "CANCELLED",
        "scheduledAt": None,
    }
    reader = api.as_key(await make_key("reader", [GrantValues("email", ["READ_MESSAGES"])]))
    assert codes(await reader.mutate("cancelEmail", CHANGES, id=theirs)) == [("", "FORBIDDEN")]


async def test_a_paused_service_takes_mail_and_shows_why_it_keeps_it(api: Api, service: Service) -> None:
    key = public_id("svc", service.id)
    paused = await api.mutate("pauseService", "service { pausedReason pausedAt isActive }", id=key, reason="Audit")
    assert paused["service"]["pausedReason"] == "Audit"
    assert paused["service"]["pausedAt"] is not None
    assert paused["service"]["isActive"] is True
    await send(api)

    resumed = await api.mutate("resumeService", "service { pausedReason pausedAt }", id=key)
    assert resumed["service"] == {"pausedReason": None, "pausedAt": None}


async def test_an_inactive_service_takes_no_mail_paused_or_not(api: Api) -> None:
    await execute("UPDATE service SET is_active = $1", False)
    payload = await api.mutate("sendEmail", "message { id }", **MAIL)
    assert codes(payload) == [("service", "SERVICE_INACTIVE")]


async def test_a_pause_is_refused_without_a_reason_a_service_or_the_right(api: Api, service: Service) -> None:
    key = public_id("svc", service.id)
    assert codes(await api.mutate("pauseService", "service { id }", id=key, reason=" ")) == [
        ("reason", "INVALID_INPUT")
    ]
    for mutation, given in (("pauseService", {"reason": "r"}), ("resumeService", {})):
        for unknown in ("svc_x", public_id("svc", new_key())):
            payload = await api.mutate(mutation, "service { id }", id=unknown, **given)
            assert codes(payload) == [("id", "SERVICE_NOT_FOUND")]
        sender = api.as_key(await make_key(f"{mutation} sender", [GrantValues(None, ["SEND"])]))
        assert codes(await sender.mutate(mutation, "service { id }", id=key, **given)) == [("", "FORBIDDEN")]
