"""What a role may not see is answered like what is not there, to the byte: by every query and every mutation."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from app.access.check import GrantValues
from app.access.restrictions import Restrictions
from app.database.key import parse_public_id, public_id
from app.domains.manage import generate_dkim_key
from app.domains.models import DkimAlgorithm, DkimKey
from app.graphql.errors import RequestErrorCode
from app.inbox.models import CapturedMail
from app.services.models import Service
from tests.factories import NOW, make_key, make_service
from tests.graphql.api import USER_ERRORS, Api
from tests.templates.stored import make

NAMES = {"secret": "absent", "Hidden": "Absent"}
"""A service and a template that exist and may not be seen, and the names of nothing that stand for them."""

QUERIES: Mapping[str, str] = {
    "node": "node(id: $id) { id }",
    "canSend": 'canSend(role: $role, service: $service, from: "a@a.example", to: ["b@a.example"]) { allowed }',
    "message": "message(id: $id) { id }",
    "messages": "messages(first: 9, after: $msg, filter: {service: $service}) { nodes { id } }",
    "inbox": "inbox(first: 9, after: $cap) { nodes { id } }",
    "capturedMail": "capturedMail(id: $id) { id }",
    "service": "service(name: $service) { id }",
    "services": "services(first: 9, after: $svc) { nodes { name } }",
    "template": "template(name: $template) { id }",
    "templates": "templates(first: 9, after: $tmpl) { nodes { id } }",
    "previewEmail": 'previewEmail(input: {service: "mine", template: $template, to: [{email: "b@a.example"}]})'
    f" {{ preview {{ text }} {USER_ERRORS} }}",
    "previewTemplate": f"previewTemplate(input: {{template: $template}}) {{ preview {{ text }} {USER_ERRORS} }}",
    "role": "role(id: $id) { id }",
    "roles": "roles(first: 9, after: $role) { nodes { id } }",
    "apiKey": "apiKey(id: $id) { id }",
    "apiKeys": "apiKeys(first: 9, after: $key, roleId: $role) { nodes { id } }",
    "auditLog": "auditLog(first: 9, filter: {subject: $id}) { nodes { id } }",
    "dkimKeys": "dkimKeys(first: 9, after: $dkim) { nodes { id } }",
    "checkDomain": 'checkDomain(service: $service, domain: "dns.invalid") { domain }',
    "viewer": "viewer { actions(service: $service)"
    ' canSend(service: $service, from: "a@a.example", to: ["b@a.example"], template: $template) { allowed message } }',
}
MUTATIONS: Mapping[str, str] = {
    "sendEmail": '{service: "mine", template: $template, to: [{email: "b@a.example"}]}',
    "sendTestEmail": '{service: $service, to: "b@a.example"}',
    "cancelEmail": "{id: $id}",
    "rescheduleEmail": '{id: $id, sendAt: "2099-01-01T00:00:00Z"}',
    "retryEmail": "{id: $id}",
    "holdEmail": "{id: $id}",
    "releaseEmail": "{id: $id}",
    "createService": '{name: $service, host: "a.example", fallbacks: [$service]}',
    "updateService": '{id: $id, label: "mine", fallbacks: [$service]}',
    "pauseService": '{id: $id, reason: "why"}',
    "resumeService": "{id: $id}",
    "deleteService": "{id: $id, cancelUnsent: true}",
    "generateDkimKey": '{domain: "a.example", selector: $service, algorithm: ED25519}',
    "importDkimKey": '{domain: "a.example", selector: $service, privateKey: "x"}',
    "activateDkimKey": "{id: $id, force: true}",
    "retireDkimKey": "{id: $id}",
    "deleteDkimKey": "{id: $id}",
    "diagnoseService": '{id: $id, recipient: "b@a.example"}',
    "createTemplate": '{name: $template, text: "t"}',
    "updateTemplate": '{id: $id, name: "mine"}',
    "restoreTemplateVersion": "{id: $id, version: 1}",
    "deleteTemplate": "{id: $id}",
    "createRole": '{name: "x", grants: [{service: $service, templates: [$tmpl], actions: [SEND]}]}',
    "updateRole": '{id: $id, name: "x", grants: [{service: $service, templates: [$tmpl], actions: [SEND]}]}',
    "deleteRole": "{id: $id}",
    "createApiKey": '{roleId: $role, name: "x"}',
    "updateApiKey": '{id: $id, name: "x", limits: {perDay: 9}}',
    "rotateApiKey": "{id: $id, overlapSeconds: 0}",
    "revokeApiKey": "{id: $id}",
}
OF_NO_OBJECT = {"provider", "providers"}
"""Queries of what everybody may see."""

SUBSCRIPTIONS: Mapping[str, str] = {"serviceDiagnosis": 'serviceDiagnosis(id: $id, recipient: "b@a.example") { code }'}
NOT_ASKED = {code.value for code in RequestErrorCode} | {"INTERNAL"}
VARIABLES = ("id", "msg", "cap", "svc", "tmpl", "role", "key", "dkim", "service", "template")
FIELDS = [*(("query", name, field) for name, field in QUERIES.items())]
FIELDS += [("mutation", name, f"{name}(input: {given}) {{ {USER_ERRORS} }}") for name, given in MUTATIONS.items()]
FIELDS += [("subscription", name, field) for name, field in SUBSCRIPTIONS.items()]
SEND_IN_SECRET = (
    "mutation",
    "sendEmail",
    'sendEmail(input: {service: $service, template: $template, to: [{email: "b@a.example"}]}) { ' + USER_ERRORS + " }",
)


PREVIEW_IN_SECRET = ("query", "previewEmail", SEND_IN_SECRET[2].replace("sendEmail", "previewEmail"))


@dataclass(frozen=True)
class World:
    """Who asks, and the ids of what they may not see, by kind."""

    askers: Mapping[str, Api]
    hidden: Mapping[str, str]


@pytest.fixture
async def world(api: Api) -> World:
    await make_service("mine", from_email="me@a.example")
    secret = await make_service("secret", from_email="me@a.example")
    own, hidden = await make("Own", 1, text="Hello"), await make("Hidden", 2, text="Hello", to=())
    sent = await api.mutate("sendEmail", "message { id }", service="secret", to=[{"email": "b@a.example"}], text="t")
    viewer = (await api.ask("{ viewer { roleId apiKeyId } }"))["viewer"]
    template = (await api.ask('{ template(name: "hidden") { current { id } } }'))["template"]
    ids = {
        "msg": sent["message"]["id"],
        "cap": public_id("cap", await _captured(secret)),
        "svc": public_id("svc", secret.id),
        "tmpl": public_id("tmpl", hidden.id),
        "tver": template["current"]["id"],
        "dkim": public_id("dkim", (await _dkim_key(api)).id),
        "role": viewer["roleId"],
        "key": viewer["apiKeyId"],
    }
    everything = ["SEND", "READ_MESSAGES", "READ_SERVICES", "MANAGE_SERVICES"]
    grant = GrantValues("mine", everything, Restrictions(templates=(own.id,)))
    nobody, shop = await make_key("nobody", []), await make_key("shop", [grant])
    return World({"nobody": api.as_key(nobody), "shop": api.as_key(shop)}, ids)


async def _dkim_key(api: Api) -> DkimKey:
    return await generate_dkim_key("a.example", "hidden", DkimAlgorithm.ED25519, None, api.parts.sealer)


async def _captured(service: Service) -> UUID:
    mail = await CapturedMail.create(
        service=service, received_at=NOW, reverse_path="", recipients=[], size_bytes=0, octets=b""
    )
    return mail.id


async def test_the_table_holds_every_field_of_the_schema(api: Api) -> None:
    fields = "fields { name }"
    kinds = " ".join(f"{kind}Type {{ {fields} }}" for kind in ("query", "mutation", "subscription"))
    schema = (await api.ask(f"{{ __schema {{ {kinds} }} }}"))["__schema"]
    assert {field["name"] for field in schema["queryType"]["fields"]} == set(QUERIES) | OF_NO_OBJECT
    assert {field["name"] for field in schema["mutationType"]["fields"]} == set(MUTATIONS)
    assert {field["name"] for field in schema["subscriptionType"]["fields"]} == set(SUBSCRIPTIONS)


@pytest.mark.parametrize(("kind", "name", "field"), [*FIELDS, SEND_IN_SECRET, PREVIEW_IN_SECRET])
async def test_what_may_not_be_seen_is_answered_like_what_is_not_there(
    world: World, kind: str, name: str, field: str
) -> None:
    used = [variable for variable in VARIABLES if f"${variable}" in field]
    assert used, "each field names something"
    kinds = world.hidden if "id" in used else ["msg"]
    for asker in world.askers.values():
        for id_kind in kinds:
            known = {**world.hidden, "id": world.hidden[id_kind], "service": "secret", "template": "Hidden"}
            unknown = {key: NAMES.get(value) or _of_nothing(value) for key, value in known.items()}
            answers = [await _answer(asker, kind, field, used, values) for values in (known, unknown)]
            assert _without(answers[0], known, used) == _without(answers[1], unknown, used), (name, id_kind)


async def test_who_may_see_them_is_answered_otherwise(api: Api, world: World) -> None:
    for name in ("node", "message", "capturedMail", "role", "apiKey", "service", "template"):
        field = QUERIES[name]
        used = [variable for variable in VARIABLES if f"${variable}" in field]
        kind = {"message": "msg", "capturedMail": "cap", "role": "role", "apiKey": "key"}.get(name, "tver")
        values = {"id": world.hidden[kind], "service": "secret", "template": "Hidden"}
        assert '"id"' in await _answer(api, "query", field, used, values)


def _of_nothing(known: str) -> str:
    """Another id of the same kind; a moment later, so that it is also another cursor."""
    parsed = parse_public_id(known)
    assert parsed is not None
    return public_id(parsed[0], UUID(int=parsed[1].int + (1 << 20)))


async def _answer(api: Api, kind: str, field: str, used: list[str], values: Mapping[str, str]) -> str:
    types = {"id": "ID!", "role": "ID!", "tmpl": "ID!", "service": "String!", "template": "String!"}
    declared = ", ".join(f"${name}: {_type(name, field, types)}" for name in used)
    given = {name: values[name] for name in used}
    result = await api.first(f"{kind} ({declared}) {{ {field} }}", **given)
    errors: list[Any] = [error.formatted for error in result.errors or ()]
    assert not {error["extensions"]["code"] for error in errors} & NOT_ASKED, errors
    return json.dumps({"data": result.data, "errors": errors})


def _type(name: str, field: str, types: Mapping[str, str]) -> str:
    if f"after: ${name}" in field and f"roleId: ${name}" not in field:
        return "String!"
    if name == "template" and "canSend" in field:
        return "ID!"
    return types.get(name, "String!")


def _without(answer: str, values: Mapping[str, str], used: list[str]) -> str:
    for name in used:
        answer = answer.replace(values[name], f"<{name}>")
    return answer
