"""A sample of the matrix of grants, end to end: both doors let through exactly what the reference allows."""

from collections.abc import Sequence
from itertools import product

from tests.access.reference import Row, may_send
from tests.journeys.conftest import Running
from tests.journeys.doors import CREATE_API_KEY, CREATE_ROLE, Doors, Refused, error_of

SEND = frozenset({"SEND"})
ROLES: dict[str, tuple[Row, ...]] = {
    "reader": (Row(None, frozenset({"READ_MESSAGES", "READ_SERVICES", "MANAGE_SERVICES"})),),
    "free": (Row(None, SEND),),
    "shop": (Row(None, SEND, senders=("*@a.example",), not_senders=("boss@a.example",)),),
    "news": (
        Row(None, SEND, recipients=("*@a.example", "*@*.bücher.example"), not_recipients=("eve@a.example",)),
        Row("other", SEND, not_recipients=("*@*.example",)),
    ),
}
SENDERS = ("ada@A.example", "Boss@a.example", "eve@b.example")
RECIPIENTS = (
    ("bob@a.example",),
    ("EVE@a.example",),
    ("bob@a.example", "carol@b.example"),
    ("bob@x.xn--bcher-kva.example",),
)
NAMES = {"senders": "allowedSenders", "not_senders": "deniedSenders"}
NAMES |= {"recipients": "allowedRecipients", "not_recipients": "deniedRecipients"}


async def test_both_doors_let_through_exactly_what_the_grants_say(sqlite_running: Running) -> None:
    async with sqlite_running() as admin:
        await admin.graphql.create_service("other", kind="SANDBOX", host=None)
        accepted = 0
        seen = set()
        for name, role in ROLES.items():
            doors = admin.with_key(await _key(admin, name, role))
            for service, sender, recipients in product(("email", "other"), SENDERS, RECIPIENTS):
                expected = may_send(role, service, sender, recipients)
                answers = [
                    await _by_graphql(doors, service, sender, recipients),
                    await _by_rest(doors, service, sender, recipients),
                ]
                assert [answer == [] for answer in answers] == [expected, expected], (name, service, sender, recipients)
                assert answers[0] == answers[1]
                assert all(answer.startswith("FORBIDDEN Access Forbidden. ") for answer in answers[0])
                accepted += 2 * expected
                seen.add(expected)
        assert seen == {True, False}
        assert len(await admin.graphql.messages()) == min(accepted, 100)


async def _key(admin: Doors, name: str, role: Sequence[Row]) -> str:
    grants = [
        {
            "service": row.service,
            "actions": sorted(row.actions),
            **{field: list(getattr(row, own)) for own, field in NAMES.items()},
        }
        for row in role
    ]
    made = (await admin.graphql.change(CREATE_ROLE, name=name, grants=grants))["role"]
    key: str = (await admin.graphql.change(CREATE_API_KEY, roleId=made["id"], name=name))["key"]
    return key


async def _by_graphql(doors: Doors, service: str, sender: str, recipients: Sequence[str]) -> list[str]:
    """The codes and sentences with which the mail was refused."""
    to = [{"email": email} for email in recipients]
    try:
        await doors.graphql.send_email(service=service, to=to, text="Hello.", **{"from": {"email": sender}})
    except Refused as refused:
        return [f"{problem.code} {problem.message}" for problem in refused.problems]
    return []


async def _by_rest(doors: Doors, service: str, sender: str, recipients: Sequence[str]) -> list[str]:
    body = {"to": list(recipients), "body_text": "Hello.", "from_email": sender}
    response = await doors.rest.send(service, body, prefer="respond-async")
    if response.status_code == 202:
        return []
    error = error_of(response)
    assert response.status_code == 403
    problems = error["context"].get("problems") or [error | error["context"]]
    return [f"{problem['error_code']} {problem['message']}" for problem in problems]


async def test_the_field_of_what_is_forbidden_is_named_as_each_door_names_it(sqlite_running: Running) -> None:
    async with sqlite_running() as admin:
        row = Row(None, SEND, not_senders=("*",), not_recipients=("bob@a.example",))
        doors = admin.with_key(await _key(admin, "shop", [row]))
        mail = {"service": "email", "to": [{"email": "bob@a.example"}], "text": "Hello."}
        try:
            await doors.graphql.send_email(**mail, **{"from": {"email": "ada@a.example"}})
            raise AssertionError("it was accepted")
        except Refused as refused:
            fields = [problem.field for problem in refused.problems]
        assert fields == [("from", "email"), ("to", "0", "email")]
        body = {"to": "bob@a.example", "body_text": "Hello.", "from_email": "ada@a.example"}
        context = error_of(await doors.rest.send("email", body))["context"]
        assert [problem["field"] for problem in context["problems"]] == ["from_email", "to.0.email"]
