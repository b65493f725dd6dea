"""Where mail may go: said when a service is made, and held to when it is sent."""

from typing import Any

import pytest

from app.inbox.receiver import Receiver
from tests.journeys.conftest import Eventually, Running
from tests.journeys.doors import CREATE_SERVICE, UPDATE_SERVICE, Doors, Problem, Refused, error_of

MAIL = {"to": "a@x.example", "subject": "Hello", "body_text": "Hello."}
STRICT = {"smtp_loopback": False, "smtp_private_networks": False}


async def refusal(doors: Doors, mutation: str, **given: Any) -> Problem:
    with pytest.raises(Refused) as caught:
        await doors.graphql.change(mutation, **given)
    [problem] = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("given", "field", "setting"),
    [
        ({"host": "127.0.0.1"}, "host", "HELIOGRAPH_SMTP_LOOPBACK"),
        ({"host": "::ffff:7f00:1"}, "host", "HELIOGRAPH_SMTP_LOOPBACK"),
        ({"host": "localhost"}, "host", "HELIOGRAPH_SMTP_LOOPBACK"),
        ({"host": "10.0.0.5"}, "host", "HELIOGRAPH_SMTP_PRIVATE_NETWORKS"),
        ({"host": "198.18.0.1"}, "host", "HELIOGRAPH_SMTP_NETWORKS"),
        ({"host": "169.254.169.254"}, "host", "metadata"),
        ({"host": "relay.example", "port": 5432}, "port", "HELIOGRAPH_SMTP_PORTS"),
    ],
)
async def test_an_address_and_a_port_are_refused_at_once_with_the_setting(
    given: dict[str, Any], field: str, setting: str, sqlite_running: Running
) -> None:
    async with sqlite_running(**STRICT) as doors:
        made = (await doors.graphql.change(CREATE_SERVICE, name="relay", host="relay.example"))["service"]
        for mutation, target in ((CREATE_SERVICE, {"name": "other"}), (UPDATE_SERVICE, {"id": made["id"]})):
            problem = await refusal(doors, mutation, **target, **given)
            assert (problem.code, problem.field) == ("INVALID_INPUT", (field,))
            assert setting in problem.message


async def test_a_stored_host_that_is_not_permitted_any_more_keeps_its_mail_until_it_is(
    running: Running, receiver: Receiver, eventually: Eventually
) -> None:
    async with running() as doors:
        service = await doors.graphql.create_service("relay", port=receiver.port)
    async with running(**STRICT) as doors:
        refused = await doors.rest.send("relay", MAIL)
        error = error_of(refused)
        assert (refused.status_code, error["context"]["retryable"]) == (500, False)
        assert error["message"] == "Address not permitted: this server sends nothing to 127.0.0.1."
        kept = await doors.graphql.send_email(service="relay", to=[{"email": "b@x.example"}], text="Hello.")
        await doors.graphql.change(UPDATE_SERVICE, id=service["id"], label="anything else can be changed")
        reason = (await doors.graphql.ask('{ service(name: "relay") { pausedReason } }'))["service"]["pausedReason"]
        assert reason.startswith(error["message"])
    assert receiver.sessions == []
    async with running() as doors:

        async def is_sent() -> bool:
            return (await doors.graphql.message(kept.id)).state == "SENT"

        await eventually(is_sent)
    assert [mail.recipients for mail in receiver.mails] == [("b@x.example",)]
