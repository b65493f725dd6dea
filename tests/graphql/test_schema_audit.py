"""Every administrative mutation leaves one entry when it succeeds and none when it is refused; who may read them."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from app.access.check import GrantValues
from app.audit.read import AuditFilter, StoredEntry, list_entries
from app.database.connection import execute
from app.database.key import public_id
from app.domains.key_pair import generate_key, private_text
from app.domains.models import DkimAlgorithm
from app.queue.put import put
from tests.factories import NOW, make_key, make_principal, make_service, new_message
from tests.graphql.api import ORIGIN, Api, codes

NOT_ADMINISTRATIVE = {"sendEmail", "sendTestEmail", "diagnoseService"}

Prepared = dict[str, Any]
Prepare = Callable[[Api], Awaitable[Prepared]]

LOG = """
  query ($filter: AuditFilterInput) {
    auditLog(first: 100, filter: $filter) {
      nodes { id actor roleId roleName apiKeyName origin action subjectId subjectName before after }
    }
  }
"""


async def service(api: Api) -> Prepared:
    return {"id": public_id("svc", (await make_service("relay")).id)}


async def role(api: Api) -> Prepared:
    return {"id": (await api.mutate("createRole", "role { id }", name="other"))["role"]["id"]}


async def key(api: Api) -> Prepared:
    made = await api.mutate("createApiKey", "apiKey { id }", roleId=(await role(api))["id"], name="shop")
    return {"id": made["apiKey"]["id"]}


async def template(api: Api) -> Prepared:
    made = await api.mutate("createTemplate", "template { id }", name="welcome", text="Hello {name}")
    return {"id": made["template"]["id"]}


async def dkim_key(api: Api) -> Prepared:
    made = await api.mutate("generateDkimKey", "dkimKey { id }", **DKIM_KEY)
    return {"id": made["dkimKey"]["id"]}


async def active_dkim_key(api: Api) -> Prepared:
    given = await dkim_key(api)
    await api.mutate("activateDkimKey", "dkimKey { id }", **given, force=True)
    return given


async def mail(api: Api) -> Prepared:
    """Mail of another role."""
    message = new_message(await make_service("relay"), await make_principal("author"))
    await put(message, NOW, api.parts.intervener.engine)
    return {"id": public_id("msg", message.id)}


async def failed_mail(api: Api) -> Prepared:
    given = await mail(api)
    await execute("UPDATE recipient SET state = 'failed'")
    return given


def having(prepare: Prepare, **more: Any) -> Prepare:
    async def prepared(api: Api) -> Prepared:
        return {**await prepare(api), **more}

    return prepared


async def nothing(api: Api) -> Prepared:
    return {}


async def held_mail(api: Api) -> Prepared:
    given = await mail(api)
    await api.mutate("holdEmail", "message { id }", **given)
    return given


async def new_key(api: Api) -> Prepared:
    return {"roleId": (await role(api))["id"], "name": "shop"}


DKIM_KEY = {"domain": "example.com", "selector": "s1", "algorithm": "ED25519"}
PRIVATE_KEY = private_text(generate_key(DkimAlgorithm.ED25519))
UNKNOWN = {"id": "svc_" + "0" * 32}

# Of each mutation an input that succeeds, and what has to be changed in it to be refused.
ADMINISTRATIVE: dict[str, tuple[Prepare, Prepared]] = {
    "createService": (having(nothing, name="relay", host="127.0.0.1", username="me", password="canary"), {"port": 0}),
    "updateService": (having(service, label="Relay"), {"fromEmail": "x"}),
    "pauseService": (having(service, reason="Moving."), {"reason": ""}),
    "resumeService": (service, UNKNOWN),
    "deleteService": (service, UNKNOWN),
    "generateDkimKey": (having(nothing, **DKIM_KEY), {"selector": ""}),
    "importDkimKey": (having(nothing, domain="example.com", selector="s1", privateKey=PRIVATE_KEY), {"domain": ""}),
    "activateDkimKey": (having(dkim_key, force=True), UNKNOWN),
    "retireDkimKey": (active_dkim_key, UNKNOWN),
    "deleteDkimKey": (dkim_key, UNKNOWN),
    "createTemplate": (having(nothing, name="welcome", text="Hello"), {"name": ""}),
    "updateTemplate": (having(template, text="Bye"), {"name": ""}),
    "restoreTemplateVersion": (having(template, version=1), {"version": 2}),
    "deleteTemplate": (template, UNKNOWN),
    "createRole": (having(nothing, name="other"), {"name": ""}),
    "updateRole": (having(role, name="others"), {"name": ""}),
    "deleteRole": (role, UNKNOWN),
    "createApiKey": (new_key, {"name": ""}),
    "updateApiKey": (having(key, name="two", limits={"perDay": 9}, allowedNetworks=["192.0.2.0/24"]), {"name": ""}),
    "rotateApiKey": (key, {"overlapSeconds": -1}),
    "revokeApiKey": (key, UNKNOWN),
    "cancelEmail": (mail, UNKNOWN),
    "rescheduleEmail": (having(mail, sendAt="2026-01-01T00:00:00Z"), {"sendAt": "2999-01-01T00:00:00Z"}),
    "retryEmail": (failed_mail, UNKNOWN),
    "holdEmail": (mail, UNKNOWN),
    "releaseEmail": (held_mail, UNKNOWN),
}


async def entries() -> list[StoredEntry]:
    return await list_entries(AuditFilter(), None, 100)


def test_every_mutation_is_in_one_list(api: Api) -> None:
    mutation = api.schema.get_type_by_name("Mutation")
    names = {field.graphql_name or _camel(field.name) for field in mutation.fields}  # type: ignore[union-attr]
    assert names == NOT_ADMINISTRATIVE | ADMINISTRATIVE.keys()


def _camel(name: str) -> str:
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)


@pytest.mark.parametrize("name", ADMINISTRATIVE)
async def test_a_success_leaves_one_entry_and_a_refusal_none(api: Api, name: str) -> None:
    prepare, wrong = ADMINISTRATIVE[name]
    given = await prepare(api)
    before = await entries()
    reader = api.as_key(await make_key("reader", [GrantValues(None, ["READ_MESSAGES"])]))
    made = len(await entries())
    for asker, changes in ((reader, {}), (api, wrong)):
        assert codes(await asker.mutate(name, "__typename", **{**given, **changes})) != []
        assert len(await entries()) == made
    assert codes(await api.mutate(name, "__typename", **given)) == []
    entry, *earlier = await entries()
    assert len(earlier) == made > len(before)
    assert entry.action == re.sub(r"([A-Z])", r"_\1", name).upper()
    assert (entry.role_name, entry.origin) == ("admin", ORIGIN)
    if "id" in given:
        assert public_id(entry.subject_kind, entry.subject_id) == given["id"]
    assert "canary" not in repr(entry)


async def test_what_a_role_does_with_its_own_mail_is_no_administration(api: Api) -> None:
    author = api.as_key(await make_key("author"))
    await make_service("relay", from_email="me@x.example")
    sent = await author.mutate("sendEmail", "message { id }", service="relay", to=[{"email": "a@x.example"}], text="x")
    before = len(await entries())
    assert codes(await author.mutate("cancelEmail", "message { id }", id=sent["message"]["id"])) == []
    assert len(await entries()) == before


async def test_the_log_is_read_newest_first_by_whom_may_manage_everything(api: Api) -> None:
    given = await service(api)
    await api.mutate("updateService", "__typename", **given, label="Relay")
    await api.mutate("pauseService", "__typename", **given, reason="Moving.")
    nodes = (await api.ask(LOG, filter={"subject": given["id"]}))["auditLog"]["nodes"]
    paused = nodes[0]
    assert (paused["actor"], paused["roleName"], paused["apiKeyName"]) == ("API_KEY", "admin", "admin key")
    assert (paused["action"], paused["subjectId"], paused["subjectName"]) == ("PAUSE_SERVICE", given["id"], "relay")
    assert paused["before"] == {"pausedAt": None, "pausedReason": None}
    assert paused["after"]["pausedReason"] == "Moving."
    assert (await api.ask("query ($id: ID!) { node(id: $id) { id } }", id=paused["id"]))["node"] == {"id": paused["id"]}
    by_role = {"actor": paused["roleId"], "action": "PAUSE_SERVICE", "from": "2026-01-01T00:00:00Z"}
    assert [node["id"] for node in (await api.ask(LOG, filter=by_role))["auditLog"]["nodes"]] == [paused["id"]]
    assert (await api.ask(LOG, filter={"before": "2026-01-01T00:00:00Z"}))["auditLog"]["nodes"] == []
    operator = (await api.ask(LOG, filter={"actor": "OPERATOR"}))["auditLog"]["nodes"]
    assert {node["action"] for node in operator} == {"CREATE_ROLE", "CREATE_API_KEY"}
    assert (await api.refused(LOG, filter={"actor": "me"}))["field"] == ["filter", "actor"]
    assert nodes[1]["after"] == {"label": "Relay"}


async def test_who_manages_one_service_reads_no_entry(api: Api) -> None:
    await make_service("relay")
    some = api.as_key(await make_key("some", [GrantValues("relay", ["MANAGE_SERVICES"])]))
    entry = (await entries())[0]
    assert (await some.refused(LOG))["code"] == "FORBIDDEN"
    assert (await some.ask("query ($id: ID!) { node(id: $id) { id } }", id=public_id("aud", entry.id)))["node"] is None
