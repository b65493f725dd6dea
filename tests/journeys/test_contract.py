"""The contract of the REST route, row by row: sent over HTTP, read back at an SMTP server."""

import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio

from app.inbox.receiver import ReceivedMail, Receiver, Script, Wait
from tests.journeys import (
    contract_addresses,
    contract_errors,
    contract_files,
    contract_route,
    contract_templates,
    contract_verdicts,
)
from tests.journeys.conftest import Eventually
from tests.journeys.contract import Answer, Arrival, Request, Row
from tests.journeys.contract_rooms import Room, Rooms, firewalled
from tests.journeys.doors import error_of
from tests.journeys.program import ADMIN_KEY
from tests.journeys.reading import read_mail

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("contract")]

SUBJECTS = {
    "route": contract_route.ROWS,
    "addresses": contract_addresses.ROWS,
    "files": contract_files.ROWS,
    "templates": contract_templates.ROWS,
    "verdicts": contract_verdicts.ROWS,
    "errors": contract_errors.ROWS,
}
ROWS = {f"{subject}: {title}": row for subject, rows in SUBJECTS.items() for title, row in rows.items()}

numbers = count(1)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def rooms(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path, ca_file: Path) -> AsyncIterator[Rooms]:
    rooms = Rooms(tmp_path_factory.mktemp("contract"), sqlite_template, ca_file)
    yield rooms
    await rooms.close()


@pytest.fixture(scope="session")
def certificates(certificate: ssl.SSLContext, bad_certificates: dict[str, ssl.SSLContext]) -> dict[str, ssl.SSLContext]:
    return bad_certificates | {"good": certificate}


@pytest.mark.parametrize("title", ROWS)
async def test_the_row_holds(
    title: str, rooms: Rooms, certificates: dict[str, ssl.SSLContext], eventually: Eventually
) -> None:
    row, name = ROWS[title], f"row-{next(numbers)}"
    room = await rooms.room(row.installation)
    async with _smtp_server(row, certificates) as receiver:
        with firewalled() as firewall:
            port = {
                "port": firewall if row.service.get("port") == "firewall" else row.service.get("port", receiver.port)
            }
            await room.doors.graphql.create_service(name, **{**row.service, **port})
            responses = [await _answered(room, name, request, answer) for request, answer in row.exchanges]
        _let_go(row)
        arrived = await receiver.wait_for(len(row.arrives))
        assert len(arrived) == len(row.arrives)
        for mail, expected in zip(arrived, row.arrives, strict=True):
            _assert_is(mail, expected)

        accepted = {response.headers["x-message-id"] for response in responses if "x-message-id" in response.headers}

        async def is_settled() -> bool:
            messages = await room.doors.graphql.messages(service=name)
            assert {message.id for message in messages} == accepted
            states = {recipient.email: recipient.state for message in messages for recipient in message.recipients}
            return states == _expected_states(row)

        await eventually(is_settled)
        assert len(receiver.mails) == len(row.arrives)


async def test_there_are_rows_enough() -> None:
    assert sum(len(row.exchanges) for row in ROWS.values()) >= 60
    assert len(ROWS) == sum(len(rows) for rows in SUBJECTS.values())


async def test_a_key_in_the_query_is_not_logged(rooms: Rooms) -> None:
    room = await rooms.room("plain")
    for key in (ADMIN_KEY, "wrong-key-that-nobody-shall-see"):
        response = await room.doors.http.post(f"/api/v2/nowhere?api_key={key}", content=b"{")
        assert response.status_code in (400, 401)
        assert key not in response.text
    log = rooms.logs()
    assert "Heliograph serves" in log
    for secret in (ADMIN_KEY, "wrong-key-that-nobody-shall-see", contract_verdicts.PASSWORD):
        assert secret not in log


def _smtp_server(row: Row, certificates: dict[str, ssl.SSLContext]) -> Receiver:
    given = {**row.smtp}
    if given.get("tls"):
        given["tls"] = certificates[given["tls"]]
    script = Script()
    for stage, action, rule in row.script:
        script.on(stage, action, **rule)
    return Receiver(keep=True, script=script, **given)


def _let_go(row: Row) -> None:
    for _, action, _ in row.script:
        if isinstance(action, Wait):
            action.event.set()


async def _answered(room: Room, service: str, request: Request, answer: Answer) -> httpx2.Response:
    headers = {name: value.format(**room.keys, service=service) for name, value in request.headers.items()}
    if request.content_type is not None:
        headers["Content-Type"] = request.content_type
    path = request.path.replace("{service}", service).replace("{SERVICE}", service.upper())
    query = request.query.replace("{admin}", room.keys["admin"])
    url = f"{path}?{query}" if query else path
    response = await room.doors.http.request(request.method, url, content=request.body, headers=headers, timeout=60)
    _assert_answers(response, answer, service)
    return response


def _assert_answers(response: httpx2.Response, answer: Answer, service: str) -> None:
    assert response.status_code == answer.status, response.text
    assert response.headers["content-type"] == "application/json"
    assert {name: response.headers.get(name) for name in answer.headers} == answer.headers
    if answer.count is not None:
        assert response.content == b'{"count":%d}' % answer.count
        assert response.headers["x-message-id"].startswith("msg_")
        assert ("idempotent-replayed" in response.headers) == ("Idempotent-Replayed" in answer.headers)
        return
    error = error_of(response)
    assert error["code"] == answer.code
    assert error["message"].startswith(answer.says.replace("{service}", service))
    if answer.context is None:
        assert error["context"] is None
    else:
        assert {name: error["context"].get(name) for name in answer.context} == answer.context
    for secret in (ADMIN_KEY, contract_verdicts.PASSWORD, "/site-packages", "Traceback"):
        assert secret not in response.text


def _assert_is(mail: ReceivedMail, expected: Arrival) -> None:
    assert (mail.reverse_path, mail.recipients) == (expected.reverse_path, tuple(expected.recipients))
    assert (mail.tls, mail.username) == (expected.tls, expected.username)
    assert set(expected.parameters) <= set(mail.parameters)
    assert [text for text in expected.raw if text not in mail.content] == []
    assert max(map(len, mail.content.split(b"\r\n"))) <= 998
    if expected.mail is not None:
        read = read_mail(mail.content)
        assert read.message_id
        assert read.date
        assert replace(read, message_id="", date="") == expected.mail


def _expected_states(row: Row) -> dict[str, str]:
    if row.states is not None:
        return dict(row.states)
    if any("X-Message-Status" in answer.headers for _, answer in row.exchanges):
        return {_as_written(address): "SENT" for arrival in row.arrives for address in arrival.recipients}
    return {"ann@x.example": "FAILED"} if any(answer.status == 500 for _, answer in row.exchanges) else {}


def _as_written(address: str) -> str:
    return address.replace("xn--bcher-kva", "bücher")
