"""Restrictions of grants through the schema, and whether a role can send by them."""

from typing import Any
from uuid import UUID

import pytest

from app.access.models import Role
from app.database.key import public_id
from tests.factories import make_key, make_service
from tests.graphql.api import Api, codes

GRANT = "serviceName actions allowedSenders deniedSenders allowedRecipients deniedRecipients templates requiredReplyTo"
CAN_SEND = """query ($role: ID!, $service: String!, $from: String!, $to: [String!]!, $template: ID, $replyTo: String) {
    canSend(role: $role, service: $service, from: $from, to: $to, template: $template, replyTo: $replyTo) {
        allowed rule message recipients { email allowed rule message }
    }
}"""
NOTHING = public_id("tmpl", UUID(int=1))


@pytest.fixture
async def template(api: Api) -> str:
    await make_service("email", from_email="desk@example.com")
    made = await api.mutate("createTemplate", "template { id }", name="Welcome", subject="Hi", text="Hello")
    template_id: str = made["template"]["id"]
    return template_id


async def make_role(api: Api, **grant: Any) -> str:
    payload = await api.mutate("createRole", "role { id }", name="shop", grants=[{"actions": ["SEND"], **grant}])
    assert payload["userErrors"] == []
    role_id: str = payload["role"]["id"]
    return role_id


async def can_send(api: Api, role: str, **given: Any) -> Any:
    values = {"service": "EMail", "from": "ada@example.com", "to": ["bob@example.com"], **given}
    return (await api.ask(CAN_SEND, role=role, **values))["canSend"]


async def test_a_grant_holds_its_restrictions_as_they_were_written(api: Api, template: str) -> None:
    given = {
        "allowedSenders": ["*@EXAMPLE.com", "ada@bücher.example"],
        "deniedSenders": ["boss@example.com"],
        "allowedRecipients": ["*"],
        "deniedRecipients": ["*@*.example.com"],
        "templates": [template],
        "requiredReplyTo": "*@example.com",
    }
    role = await make_role(api, **given)
    query = f"query ($id: ID!) {{ role(id: $id) {{ grants {{ {GRANT} }} }} }}"
    stored = (await api.ask(query, id=role))["role"]["grants"]
    assert stored == [{"serviceName": None, "actions": ["SEND"], **given}]
    await api.mutate("deleteTemplate", "__typename", id=template)
    assert (await api.ask(query, id=role))["role"]["grants"] == stored


async def test_everything_wrong_with_restrictions_is_named_by_its_path(api: Api, template: str) -> None:
    grant = {
        "actions": ["SEND"],
        "allowedSenders": ["*@example.com", "no pattern", "*@EXAMPLE.com"],
        "deniedSenders": ["ada@a.example", "ADA@a.example"],
        "allowedRecipients": [f"a{number}@example.com" for number in range(101)],
        "templates": [template, NOTHING, "x", template],
        "requiredReplyTo": "",
    }
    own = {"service": "email", "actions": ["SEND", "MANAGE_ACCESS"]}
    payload = await api.mutate("createRole", "role { id }", name="shop", grants=[grant, own])
    assert codes(payload) == [
        ("grants.0.allowedSenders.1", "INVALID_INPUT"),
        ("grants.0.allowedSenders.2", "INVALID_INPUT"),
        ("grants.0.deniedSenders.1", "INVALID_INPUT"),
        ("grants.0.allowedRecipients", "TOO_LARGE"),
        ("grants.0.templates.1", "TEMPLATE_NOT_FOUND"),
        ("grants.0.templates.2", "TEMPLATE_NOT_FOUND"),
        ("grants.0.templates.3", "INVALID_INPUT"),
        ("grants.0.requiredReplyTo", "INVALID_INPUT"),
        ("grants.1.actions", "INVALID_INPUT"),
    ]
    assert await Role.all().count() == 1


async def test_it_answers_by_which_rule_for_each_recipient(api: Api, template: str) -> None:
    role = await make_role(api, allowedSenders=["*@example.com"], deniedRecipients=["*@evil.example"])
    assert (await can_send(api, role))["allowed"]
    assert (await can_send(api, role, **{"from": "eve@evil.example"}))["rule"] == "SENDER_NOT_ALLOWED"
    answer = await can_send(api, role, to=["bob@example.com", "eve@evil.example"])
    assert (answer["allowed"], answer["rule"]) == (False, "RECIPIENT_DENIED")
    bob, eve = answer["recipients"]
    assert bob == {"email": "bob@example.com", "allowed": True, "rule": None, "message": None}
    assert eve == {
        "email": "eve@evil.example",
        "allowed": False,
        "rule": "RECIPIENT_DENIED",
        "message": "Access Forbidden. The role 'shop' may not send to 'eve@evil.example': it is matched by"
        " '*@evil.example' of the denied recipients.",
    }
    assert answer["message"] == eve["message"]


async def test_it_knows_templates_and_reply_to(api: Api, template: str) -> None:
    role = await make_role(api, templates=[template], requiredReplyTo="*")
    assert (await can_send(api, role))["rule"] == "TEMPLATE_NOT_ALLOWED"
    assert (await can_send(api, role, template=NOTHING))["rule"] == "TEMPLATE_NOT_ALLOWED"
    assert (await can_send(api, role, template="welcome"))["rule"] == "REPLY_TO_REQUIRED"
    assert (await can_send(api, role, template=template, replyTo="help@example.com"))["allowed"]


async def test_what_cannot_be_asked_is_refused_as_for_a_mail(api: Api, template: str) -> None:
    role, other = await make_role(api), public_id("role", UUID(int=7))
    asked = {"role": role, "service": "email", "from": "ada@example.com", "to": ["bob@example.com"]}
    for change, code, field in (
        ({"from": "ada"}, "INVALID_EMAIL", "from"),
        ({"to": ["bob@example.com", "bob"]}, "INVALID_EMAIL", "to.1"),
        ({"replyTo": ""}, "INVALID_EMAIL", "replyTo"),
        ({"to": ["bob@example.com"] * 1001}, "TOO_LARGE", "to"),
        ({"service": "fax"}, "SERVICE_NOT_FOUND", "service"),
        ({"template": NOTHING}, "TEMPLATE_NOT_FOUND", "template"),
        ({"role": other}, "NOT_FOUND", "role"),
        ({"role": "x"}, "NOT_FOUND", "role"),
    ):
        assert await api.refused(CAN_SEND, **(asked | change)) == {"code": code, "field": field.split(".")}


async def test_ones_own_role_may_be_asked_about_and_another_only_with_manage_access(api: Api, template: str) -> None:
    sender = api.as_key(await make_key("sender", []))
    own = (await sender.ask("{ viewer { roleId } }"))["viewer"]["roleId"]
    for service in ("email", "fax"):
        answer = await can_send(sender, own, service=service)
        assert (answer["allowed"], answer["rule"]) == (False, "NOT_GRANTED")
    values = {"service": "email", "from": "ada@example.com", "to": ["bob@example.com"]}
    for role in (await make_role(api), public_id("role", UUID(int=7)), "x"):
        assert await sender.refused(CAN_SEND, role=role, **values) == {"code": "FORBIDDEN"}
