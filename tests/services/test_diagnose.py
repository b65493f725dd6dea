"""Who may diagnose a service, one at a time, and AUTH no sooner than its circuit allows; on both databases."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest

from app.access.check import GrantValues
from app.database.connection import as_moment, rows, transaction
from app.database.key import new_key
from app.errors import Conflict, Forbidden, InvalidInput, NotFound
from app.inbox.receiver import Receiver, Script
from app.inbox.receiver import Stage as Scripted
from app.inbox.script import Wait
from app.mail.reply import Reply
from app.services.circuit import CircuitPolicy, Fault, open_circuit, permit_probe, read_circuits
from app.services.diagnose import Diagnoser, Probe
from app.services.models import Service
from app.services.secret import Sealer
from app.settings import Settings
from app.smtp.diagnosis.report import DiagnosisCode as Code
from app.smtp.diagnosis.report import Stage, StageName, StageStatus, is_ok
from tests.factories import NOW, after, count, make_principal, make_service

USERNAME, PASSWORD = "me@x.example", "canary-password-5d1f"
SEALER = Sealer(["k" * 32])


class Clock:
    moment = NOW

    def __call__(self) -> datetime:
        return self.moment


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def diagnoser(database: Settings, clock: Clock) -> Diagnoser:
    return Diagnoser(database, SEALER, now=clock)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver(keep=True, credentials={USERNAME: PASSWORD}) as started:
        yield started


async def make_relay(receiver: Receiver, **columns: Any) -> Service:
    key = new_key()
    sealed = SEALER.seal(PASSWORD, key)
    values = {"kind": "SMTP", "host": "127.0.0.1", "port": receiver.port, "username": USERNAME} | columns
    return await make_service("relay", **{"id": key, "sealed_password": sealed, **values})


async def diagnosed(diagnoser: Diagnoser, service: Service, probe: Probe | None = None) -> dict[StageName, Stage]:
    return {stage.name: stage async for stage in diagnoser.diagnose(service.id, probe or Probe(), None)}


def auths(receiver: Receiver) -> int:
    return sum(session.verbs.count("AUTH") for session in receiver.sessions)


async def test_a_healthy_service_is_ok_and_its_mail_not_held_up(
    diagnoser: Diagnoser, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    service = await make_relay(receiver, from_email="me@x.example")
    caplog.set_level(logging.INFO)
    stages = await diagnosed(diagnoser, service, Probe("bob@x.example"))
    assert is_ok(stages.values())
    assert (stages[StageName.AUTH].code, stages[StageName.ENVELOPE].code) == (Code.OK, Code.OK)
    assert receiver.mails == []
    assert await count("circuit") == 0
    assert "diagnosis: nothing is wrong" in caplog.text
    assert "bob" not in caplog.text


async def test_a_refused_auth_is_not_repeated_before_its_interval_by_anybody(
    database: Settings, clock: Clock, diagnoser: Diagnoser, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    script = Script().on(Scripted.AUTH, f"535 5.7.8 not {PASSWORD}")
    async with Receiver(keep=True, credentials={USERNAME: PASSWORD}, script=script) as receiver:
        service = await make_relay(receiver)
        first = await diagnosed(diagnoser, service)
        second = await diagnosed(Diagnoser(database, SEALER, now=clock), service)
        assert auths(receiver) == 1
        assert not await permit_probe(service.id, after(59), CircuitPolicy())
        clock.moment = after(60)
        third = await diagnosed(diagnoser, service)
        assert auths(receiver) == 2
    assert [one[StageName.AUTH].code for one in (first, second, third)] == [
        Code.BAD_CREDENTIALS,
        Code.AUTH_TOO_SOON,
        Code.BAD_CREDENTIALS,
    ]
    assert first[StageName.AUTH].evidence == "535 5.7.8 not …"
    assert PASSWORD not in caplog.text + repr((first, second, third))
    assert await read_circuits([service.id]) == {}, "a diagnosis opens no circuit"


async def test_an_open_circuit_keeps_its_interval_and_tells_what_was_said(
    clock: Clock, diagnoser: Diagnoser, receiver: Receiver
) -> None:
    service = await make_relay(receiver)
    fault = Fault("Authentication failed (535 5.7.8).", Reply(535, "no", "5.7.8"), of_auth=True)
    async with transaction():
        await open_circuit(service.id, service.version, fault, NOW, CircuitPolicy(), probing=False)
    early = (await diagnosed(diagnoser, service))[StageName.AUTH]
    assert (early.status, early.code) == (StageStatus.FAILED, Code.BAD_CREDENTIALS)
    assert early.evidence.startswith("535 5.7.8 no (said to the last AUTH")
    assert auths(receiver) == 0
    clock.moment = after(60)
    assert (await diagnosed(diagnoser, service))[StageName.AUTH].status is StageStatus.OK
    (row,) = await rows("SELECT opened_at, probe_at FROM circuit")
    assert row["opened_at"] is not None, "a probe with a mail closes it"
    assert as_moment(row["probe_at"]) == after(60), "which goes at once now"


async def test_no_mechanism_that_fits_is_no_auth(diagnoser: Diagnoser) -> None:
    async with Receiver(credentials={USERNAME: PASSWORD}, mechanisms=["CRAM-MD5"]) as receiver:
        service = await make_relay(receiver)
        for _ in range(2):
            stages = await diagnosed(diagnoser, service)
            assert stages[StageName.MECHANISMS].code is Code.MECHANISM_NOT_OFFERED
    assert await count("circuit") == 0


async def test_a_diagnosis_that_is_broken_off_amid_auth_does_not_make_room_for_another_auth(
    clock: Clock, diagnoser: Diagnoser
) -> None:
    release = asyncio.Event()
    script = Script().on(Scripted.AUTH, Wait(release))
    async with Receiver(keep=True, credentials={USERNAME: PASSWORD}, script=script) as receiver:
        service = await make_relay(receiver)
        task = asyncio.create_task(diagnosed(diagnoser, service))
        async with asyncio.timeout(10):
            while auths(receiver) == 0:  # noqa: ASYNC110 - the peer has no event for it
                await asyncio.sleep(0.005)
        with pytest.raises(Conflict) as busy:
            await diagnosed(diagnoser, service)
        assert busy.value.problems[0].retryable
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        release.set()
        assert (await diagnosed(diagnoser, service))[StageName.AUTH].code is Code.AUTH_TOO_SOON
        clock.moment = after(60)
        assert (await diagnosed(diagnoser, service))[StageName.AUTH].code is Code.OK
    assert auths(receiver) == 2


async def test_who_leaves_before_a_refused_auth_is_told_holds_it_for_everybody_all_the_same(
    database: Settings, clock: Clock, diagnoser: Diagnoser
) -> None:
    script = Script().on(Scripted.AUTH, "535 5.7.8 no")
    async with Receiver(keep=True, credentials={USERNAME: PASSWORD}, script=script) as receiver:
        service = await make_relay(receiver)
        walk = diagnoser.diagnose(service.id, Probe(), None)
        async for stage in walk:
            if stage.name is StageName.MECHANISMS:
                break
        await walk.aclose()
        stages = await diagnosed(Diagnoser(database, SEALER, now=clock), service)
    assert stages[StageName.AUTH].code is Code.AUTH_TOO_SOON
    assert auths(receiver) == 1


async def test_there_is_a_limit_to_diagnoses_at_a_time(database: Settings, receiver: Receiver) -> None:
    limited = Diagnoser(database.model_copy(update={"diagnosis_max_at_once": 1}), SEALER)
    first, second = await make_relay(receiver), await make_service("other")
    walk = limited.diagnose(first.id, Probe(), None)
    await anext(walk)
    with pytest.raises(Conflict, match="1 diagnoses are under way"):
        await diagnosed(limited, second)
    await walk.aclose()
    assert len(await diagnosed(limited, second)) == len(StageName)


async def test_a_sandbox_has_no_server(diagnoser: Diagnoser) -> None:
    stages = await diagnosed(diagnoser, await make_service("email"))
    assert {(stage.status, stage.code) for stage in stages.values()} == {(StageStatus.SKIPPED, Code.SANDBOX)}
    assert stages.keys() == set(StageName)


async def test_a_password_that_cannot_be_unsealed_is_told(diagnoser: Diagnoser, receiver: Receiver) -> None:
    service = await make_relay(receiver, sealed_password="v1.00.AAAA")
    stages = await diagnosed(diagnoser, service)
    assert (stages[StageName.AUTH].code, stages[StageName.ENVELOPE].code) == (
        Code.PASSWORD_UNREADABLE,
        Code.NOT_REACHED,
    )
    assert auths(receiver) == 0
    assert service.username == USERNAME


@pytest.mark.parametrize("action", ["READ_SERVICES", "SEND", "READ_MESSAGES"])
async def test_only_who_manages_a_service_makes_it_connect(
    action: str, diagnoser: Diagnoser, receiver: Receiver
) -> None:
    service = await make_relay(receiver)
    principal = await make_principal("one", [GrantValues("relay", [action])])
    for key in (service.id, new_key()):
        with pytest.raises(Forbidden, match="is not granted MANAGE_SERVICES for this service"):
            await anext(diagnoser.diagnose(key, Probe(), principal))
    assert receiver.sessions == []
    with pytest.raises(NotFound):
        await anext(diagnoser.diagnose(new_key(), Probe(), None))


async def test_wrong_addresses_are_all_named_before_anything_is_connected_to(
    diagnoser: Diagnoser, receiver: Receiver
) -> None:
    service = await make_relay(receiver)
    cases = {("x", "<y>"): [("recipient",), ("from",)], ("a@x.example", None): [("from",)]}
    for (recipient, sender), fields in cases.items():
        with pytest.raises(InvalidInput) as refused:
            await anext(diagnoser.diagnose(service.id, Probe(recipient, sender), None))
        assert [problem.field for problem in refused.value.problems] == fields
    assert receiver.sessions == []
