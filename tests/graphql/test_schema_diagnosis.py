"""Diagnoses and test mails through the schema: all at once, stage by stage."""

from app.access.check import GrantValues
from app.database.key import public_id
from app.inbox.receiver import Receiver, Script, Stage
from app.smtp.diagnosis.report import StageName
from tests.factories import make_key, make_service
from tests.graphql.api import Api, codes

DIAGNOSIS = "diagnosis { ok advice service { name } stages { name status code evidence advice milliseconds } }"
FOLLOW = "subscription ($id: ID!) { serviceDiagnosis(id: $id) { name status code } }"
REFUSED = Script().on(Stage.GREETING, "554 5.7.1 go away")


async def make_relay(receiver: Receiver, name: str = "relay") -> str:
    relay = await make_service(name, kind="SMTP", host="127.0.0.1", port=receiver.port, from_email="me@x.example")
    return public_id("svc", relay.id)


async def test_a_healthy_service_is_diagnosed_stage_by_stage(api: Api) -> None:
    async with Receiver(keep=True) as receiver:
        key = await make_relay(receiver)
        payload = await api.mutate("diagnoseService", DIAGNOSIS, id=key, recipient="b@x.example")
        followed = [result async for result in api.follow(FOLLOW, id=key)]
    diagnosis = payload["diagnosis"]
    assert payload["userErrors"] == []
    assert (diagnosis["ok"], diagnosis["advice"], diagnosis["service"]) == (True, None, {"name": "relay"})
    assert diagnosis["stages"][-1]["evidence"] == "RCPT: 250 2.1.5 Recipient ok"
    names = [stage["name"] for stage in diagnosis["stages"]]
    assert sorted(names) == sorted(StageName)
    told = [(result.data or {})["serviceDiagnosis"]["name"] for result in followed]
    assert told == names
    assert receiver.mails == []


async def test_what_is_wrong_comes_with_what_to_change(api: Api) -> None:
    async with Receiver(script=REFUSED) as receiver:
        diagnosis = (await api.mutate("diagnoseService", DIAGNOSIS, id=await make_relay(receiver)))["diagnosis"]
    assert diagnosis["ok"] is False
    failed, *behind = diagnosis["stages"][2:]
    assert (failed["code"], failed["evidence"]) == ("GREETING_REFUSED", "554 5.7.1 go away")
    assert failed["advice"] == diagnosis["advice"]
    assert {(stage["status"], stage["code"]) for stage in behind} == {("SKIPPED", "NOT_REACHED")}


async def test_who_goes_after_the_first_stage_leaves_nothing_under_way(api: Api) -> None:
    async with Receiver(keep=True) as receiver:
        key = await make_relay(receiver)
        first = await api.first(FOLLOW, id=key)
        assert first.data == {"serviceDiagnosis": {"name": "DNS", "status": "OK", "code": "OK"}}
        assert (await api.mutate("diagnoseService", DIAGNOSIS, id=key))["diagnosis"]["ok"]


async def test_wrong_input_is_named_as_the_input_names_it(api: Api) -> None:
    key = public_id("svc", (await make_service("email")).id)
    wrong = {"id": key, "recipient": "x", "from": "y"}
    assert codes(await api.mutate("diagnoseService", DIAGNOSIS, **wrong)) == [
        ("recipient", "INVALID_EMAIL"),
        ("from", "INVALID_EMAIL"),
    ]
    unsent = await api.mutate("diagnoseService", DIAGNOSIS, id=key, recipient="b@x.example")
    assert codes(unsent) == [("from", "NO_SENDER")]
    assert codes(await api.mutate("diagnoseService", DIAGNOSIS, id="svc_1")) == [("id", "SERVICE_NOT_FOUND")]


async def test_nobody_is_told_nothing_whatever_the_id(api: Api) -> None:
    nobody = api.as_key(None)
    for key in ("svc_1", public_id("svc", (await make_service("email")).id)):
        asked = await nobody.first("mutation ($id: ID!) { diagnoseService(input: {id: $id}) { __typename } }", id=key)
        for answer in (asked, await nobody.first(FOLLOW, id=key)):
            assert [error.extensions for error in answer.errors or ()] == [{"code": "UNAUTHENTICATED"}]


async def test_who_may_not_manage_the_service_makes_nothing_connect(api: Api) -> None:
    async with Receiver(keep=True) as receiver:
        key = await make_relay(receiver)
        reader = api.as_key(await make_key("reader", [GrantValues(None, ["READ_SERVICES", "SEND"])]))
        assert codes(await reader.mutate("diagnoseService", DIAGNOSIS, id=key)) == [("", "FORBIDDEN")]
        refused = await reader.first(FOLLOW, id=key)
    assert refused.data is None
    assert [error.extensions for error in refused.errors or ()] == [{"code": "FORBIDDEN"}]
    assert receiver.sessions == []


TEST_MAIL = "message { id state subject messageIdHeader } said"


async def test_a_test_mail_is_refused_like_any_other(api: Api) -> None:
    await make_service("email")
    for given, expected in (
        ({"service": "email", "to": "b@x.example"}, [("service", "NO_SENDER")]),
        ({"service": "email", "to": "x"}, [("to", "INVALID_EMAIL"), ("service", "NO_SENDER")]),
        ({"service": "none", "to": "b@x.example"}, [("service", "SERVICE_NOT_FOUND")]),
        ({"service": "email", "to": "b@x.example", "waitSeconds": 61}, [("waitSeconds", "INVALID_INPUT")]),
    ):
        assert codes(await api.mutate("sendTestEmail", TEST_MAIL, **given)) == expected
