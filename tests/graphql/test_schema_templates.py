"""Templates through the schema: made, read, changed, restored, previewed, deleted, each by those who may."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest

from app.access.check import GrantValues
from app.access.principal import FOR_ALL_ONLY, Action
from app.database.key import new_key, public_id
from app.errors import ErrorCode, NotFound
from app.graphql.context import Context
from tests.factories import count, make_key, make_service
from tests.graphql.api import Api, codes

MAILBOX = "{ email name }"
VERSION = f"""id number isCurrent subject text html fromEmail fromName replyToEmail replyToName createdAt
    to {MAILBOX} cc {MAILBOX} bcc {MAILBOX} variables {{ name type required default }}"""
ALL = f"id number name description createdAt updatedAt current {{ {VERSION} }}"
HELD: dict[str, Any] = {
    "subject": "Hi {name}",
    "text": "{name} {n}",
    "html": "<b>{name}</b>",
    "fromEmail": "desk@example.com",
    "fromName": "Desk",
    "replyToEmail": "help@example.com",
    "replyToName": "Help",
    "to": [{"email": "a@example.com", "name": "A"}],
    "cc": [{"email": "b@example.com", "name": None}],
    "bcc": [{"email": "c@example.com", "name": None}],
    "variables": [
        {"name": "name", "type": "STRING", "required": True, "default": None},
        {"name": "n", "type": "NUMBER", "required": False, "default": 0},
        {"name": "b", "type": "BOOLEAN", "required": False, "default": False},
        {"name": "s", "type": "STRING", "required": False, "default": ""},
    ],
}
GIVEN: dict[str, Any] = {"name": "Welcome", "description": "For new ones.", **HELD}
NOTHING = public_id("tmpl", UUID(int=1))
PREVIEW = """query ($input: PreviewTemplateInput!) { previewTemplate(input: $input) {
    preview { version subject text html missingVariables unfilledPlaceholders } userErrors { code field message }
} }"""


async def make(api: Api, **given: Any) -> dict[str, Any]:
    payload = await api.mutate("createTemplate", f"template {{ {ALL} }}", **{**GIVEN, **given})
    assert payload["userErrors"] == []
    made: dict[str, Any] = payload["template"]
    return made


async def change(api: Api, key: str, **changes: Any) -> dict[str, Any]:
    payload = await api.mutate("updateTemplate", f"template {{ {ALL} }}", id=key, **changes)
    assert payload["userErrors"] == []
    changed: dict[str, Any] = payload["template"]
    return changed


async def preview(api: Api, **given: Any) -> Mapping[str, Any]:
    payload: Mapping[str, Any] = (await api.ask(PREVIEW, input=given))["previewTemplate"]
    return payload


def held(template: Mapping[str, Any]) -> dict[str, Any]:
    return {name: template["current"][name] for name in HELD}


async def test_a_template_is_made_and_read_as_it_was_given(api: Api) -> None:
    made = await make(api)
    assert held(made) == HELD
    assert (made["name"], made["description"], made["number"]) == ("Welcome", "For new ones.", 1)
    assert (made["current"]["number"], made["current"]["isCurrent"]) == (1, True)
    assert made["createdAt"] == made["updatedAt"] == made["current"]["createdAt"]

    node = f"... on Template {{ {ALL} }}"
    found = await api.ask(
        f'query ($id: ID!) {{ template(name: " WELCOME ") {{ {ALL} }} node(id: $id) {{ {node} }} }}', id=made["id"]
    )
    assert found == {"template": made, "node": made}
    version = await api.ask(
        f"query ($id: ID!) {{ node(id: $id) {{ ... on TemplateVersion {{ {VERSION} }} }} }}", id=made["current"]["id"]
    )
    assert version["node"] == made["current"]


async def test_what_is_absent_from_a_change_stays_and_null_clears(api: Api) -> None:
    made = await make(api)
    renamed = await change(api, made["id"], name="Farewell", description=None)
    assert (renamed["name"], renamed["description"]) == ("Farewell", None)
    assert renamed["current"] == made["current"]
    assert (await change(api, made["id"]))["current"] == made["current"]

    kept = ("text", "to", "cc")
    changed = await change(api, made["id"], **{name: None for name in HELD if name not in kept})
    cleared: dict[str, Any] = {name: [] if name in ("bcc", "variables") else None for name in HELD if name not in kept}
    assert held(changed) == {**HELD, **cleared}
    assert changed["current"]["number"] == 2


async def test_a_version_is_restored(api: Api) -> None:
    made = await make(api)
    await change(api, made["id"], text="Hi.")
    restored = await api.mutate("restoreTemplateVersion", f"template {{ {ALL} }}", id=made["id"], version=1)
    assert restored["userErrors"] == []
    assert restored["template"]["current"] == made["current"]
    for version in (3, 0, -1):
        payload = await api.mutate("restoreTemplateVersion", "template { id }", id=made["id"], version=version)
        assert (payload["template"], codes(payload)) == (None, [("version", "NOT_FOUND")])


async def test_a_deleted_template_is_gone(api: Api) -> None:
    made = await make(api)
    deleted = await api.mutate("deleteTemplate", "deletedTemplateId", id=made["id"])
    assert deleted == {"deletedTemplateId": made["id"], "userErrors": []}
    gone = await api.ask(
        'query ($a: ID!, $b: ID!) { a: node(id: $a) { id } b: node(id: $b) { id } template(name: "Welcome") { id } }',
        a=made["id"],
        b=made["current"]["id"],
    )
    assert gone == {"a": None, "b": None, "template": None}


def invalid(*paths: str) -> list[tuple[str, str]]:
    return [(path, "INVALID_INPUT") for path in paths]


WRONG: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    ({"name": ""}, invalid("name")),
    ({"name": NOTHING}, invalid("name")),
    ({"name": "\ud800"}, invalid("name")),
    ({"description": "\x00"}, invalid("description")),
    ({"subject": "a\r\nb"}, invalid("subject")),
    ({"html": "\udfff", "text": "\x00"}, invalid("text", "html")),
    ({"fromEmail": "desk", "fromName": "\n"}, [("fromEmail", "INVALID_EMAIL"), ("fromName", "INVALID_INPUT")]),
    (
        {"replyToEmail": "x@", "replyToName": "\n"},
        [("replyToEmail", "INVALID_EMAIL"), ("replyToName", "INVALID_INPUT")],
    ),
    (
        {"to": [{"email": "a@x"}, {"email": "", "name": "\x00"}]},
        [("to.1.email", "INVALID_EMAIL"), ("to.1.name", "INVALID_INPUT")],
    ),
    ({"bcc": [{"email": "a@x"}] * 1001}, [("to", "TOO_LARGE")]),
    ({"variables": [{"name": "v"}] * 101}, [("variables", "TOO_LARGE")]),
    ({"variables": [{"name": " "}, {"name": "v"}, {"name": "v"}]}, invalid("variables.0.name", "variables.2.name")),
    ({"variables": [{"name": "v", "default": {"a": 1}}]}, invalid("variables.0.default")),
    ({"variables": [{"name": "v", "default": ["x"]}]}, invalid("variables.0.default")),
    ({"variables": [{"name": "v", "type": "NUMBER", "default": "1"}]}, invalid("variables.0.default")),
    ({"variables": [{"name": "v", "default": "\ud800"}]}, invalid("variables.0.default")),
    ({"variables": [{"name": "v", "type": "NUMBER", "default": 2**64}]}, invalid("variables.0.default")),
    ({"variables": [{"name": "v", "type": "NUMBER", "default": float("nan")}]}, invalid("variables.0.default")),
    ({"variables": [{"name": "v", "required": True, "default": 0}]}, invalid("variables.0.required")),
]


@pytest.mark.parametrize(("given", "expected"), WRONG, ids=[str(place) for place in range(len(WRONG))])
async def test_what_is_wrong_is_refused_with_its_path_and_nothing_changes(
    api: Api, given: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    made = await make(api, name="Other")
    for payload in (
        await api.mutate("createTemplate", "template { id }", **{"name": "n", "text": "x", **given}),
        await api.mutate("updateTemplate", "template { id }", id=made["id"], **{"cc": [], "bcc": [], **given}),
    ):
        assert (payload["template"], codes(payload)) == (None, expected)
    assert (await api.ask(f'{{ template(name: "other") {{ {ALL} }} }}'))["template"] == made
    assert (await count("template"), await count("template_version")) == (1, 1)


async def test_names_and_numbers_that_are_taken_or_cannot_be_are_refused(api: Api) -> None:
    made = await make(api, number=5)
    other = await make(api, name="other")
    assert other["number"] == 6
    create, update = ("createTemplate", "template { id }"), ("updateTemplate", "template { id }")
    assert codes(await api.mutate(*create, name="WELCOME", text="x")) == [("name", "NAME_TAKEN")]
    assert codes(await api.mutate(*create, name="n", text="x", number=5)) == [("number", "NAME_TAKEN")]
    assert codes(await api.mutate(*create, name="n", text="x", number=0)) == [("number", "INVALID_INPUT")]
    assert codes(await api.mutate(*create, name="n", fromName="x")) == [("text", "INVALID_INPUT")]
    assert codes(await api.mutate(*update, id=other["id"], name="welcome")) == [("name", "NAME_TAKEN")]
    same = {"id": made["id"], "text": None, "subject": None, "html": None}
    assert codes(await api.mutate(*update, **same)) == [("text", "INVALID_INPUT")]


LITERALS = ("1e400", "-1e999", pytest.param("9" * 5000, id="more digits than Python reads"))


@pytest.mark.parametrize("literal", [*LITERALS, "{a: 1}", "[1]", "9" * 30])
async def test_a_default_that_cannot_be_kept_is_refused_as_a_literal_too(api: Api, literal: str) -> None:
    variables = f'[{{name: "v", type: NUMBER, default: {literal}}}]'
    payload = await api.ask(
        f'mutation {{ createTemplate(input: {{name: "n", text: "x", variables: {variables}}})'
        " { template { id } userErrors { code field } } }"
    )
    assert codes(payload["createTemplate"]) == [("variables.0.default", "INVALID_INPUT")]


@pytest.mark.parametrize("literal", LITERALS)
async def test_a_value_that_is_no_number_is_refused_wherever_it_stands(api: Api, literal: str) -> None:
    await make_service("mine", from_email="desk@example.com")
    await make(api, variables=[])
    data = f"{{other: {{deep: [{literal}]}}}}"
    mail = f'service: "mine", template: "welcome", templateData: {data}, metadata: {data}'
    sent = await api.ask(f"mutation {{ sendEmail(input: {{{mail}}}) {{ userErrors {{ code field }} }} }}")
    assert codes(sent["sendEmail"]) == invalid("templateData", "metadata")
    shown = await api.ask(
        f'{{ previewTemplate(input: {{template: "welcome", templateData: {data}}}) {{ userErrors {{ code field }} }} }}'
    )
    assert codes(shown["previewTemplate"]) == invalid("templateData")
    assert await count("message") == 0


@pytest.mark.parametrize("wrong", ["", "Welcome", "tmpl_1", public_id("svc", UUID(int=1)), NOTHING])
async def test_an_id_of_nothing_is_not_found(api: Api, wrong: str) -> None:
    await make(api)
    for mutation, more in (("updateTemplate", {}), ("restoreTemplateVersion", {"version": 1}), ("deleteTemplate", {})):
        assert codes(await api.mutate(mutation, "__typename", id=wrong, **more)) == [("id", "TEMPLATE_NOT_FOUND")]
    assert (await api.ask("query ($id: ID!) { node(id: $id) { id } }", id=wrong))["node"] is None


async def test_templates_come_in_pages_in_the_order_they_were_made(api: Api) -> None:
    names = ["c", "a", "b"]
    for name in names:
        await make(api, name=name)
    query = """query ($after: String) { templates(first: 2, after: $after) {
        nodes { name current { number } } pageInfo { hasNextPage endCursor } } }"""
    first = (await api.ask(query))["templates"]
    second = (await api.ask(query, after=first["pageInfo"]["endCursor"]))["templates"]
    assert [node["name"] for node in first["nodes"] + second["nodes"]] == names
    assert (first["pageInfo"]["hasNextPage"], second["pageInfo"]["hasNextPage"]) == (True, False)
    assert (await api.refused(query, after=NOTHING.replace("tmpl", "svc")))["code"] == "INVALID_INPUT"


async def test_versions_come_in_pages_newest_first(api: Api) -> None:
    made, other = await make(api), await make(api, name="other")
    for text in ("2", "3", "4"):
        await change(api, made["id"], text=text)
    query = """query ($first: Int!, $after: String) { template(name: "welcome") {
        versions(first: $first, after: $after) { nodes { number isCurrent text } pageInfo { hasNextPage endCursor } }
    } }"""
    first = (await api.ask(query, first=3))["template"]["versions"]
    assert [(node["number"], node["isCurrent"]) for node in first["nodes"]] == [(4, True), (3, False), (2, False)]
    second = (await api.ask(query, first=3, after=first["pageInfo"]["endCursor"]))["template"]["versions"]
    assert [node["text"] for node in second["nodes"]] == [HELD["text"]]
    assert (first["pageInfo"]["hasNextPage"], second["pageInfo"]["hasNextPage"]) == (True, False)
    for wrong in (other["current"]["id"], made["id"], "x", ""):
        assert (await api.refused(query, first=3, after=wrong))["code"] == "INVALID_INPUT"
    for beyond in (0, 101, -1):
        assert (await api.refused(query, first=beyond))["code"] == "INVALID_INPUT"


async def test_a_preview_fills_without_sending(api: Api) -> None:
    made = await make(api)
    filled = {"version": 1, "subject": "Hi <A>", "text": "<A> 0", "html": "<b>&lt;A&gt;</b>"}
    complete = {**filled, "missingVariables": [], "unfilledPlaceholders": []}
    for name in ("WELCOME", made["id"]):
        payload = await preview(api, template=name, templateData={"name": "<A>"})
        assert payload == {"preview": complete, "userErrors": []}
    bare = (await preview(api, template="welcome"))["preview"]
    assert (bare["subject"], bare["text"]) == ("Hi {name}", "{name} 0")
    assert (bare["missingVariables"], bare["unfilledPlaceholders"]) == (["name"], ["name"])
    assert await count("message") == 0


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([], [("templateData", "INVALID_INPUT")]),
        ("x", [("templateData", "INVALID_INPUT")]),
        ({"name": True, "n": "1"}, [("templateData.name", "INVALID_INPUT"), ("templateData.n", "INVALID_INPUT")]),
        ({"name": "a\nb"}, [("subject", "INVALID_INPUT")]),
        ({"x": "\ud800"}, [("templateData", "INVALID_INPUT")]),
    ],
)
async def test_a_preview_of_what_would_be_refused_is_refused(
    api: Api, data: Any, expected: list[tuple[str, str]]
) -> None:
    await make(api)
    payload = await preview(api, template="welcome", templateData=data)
    assert (payload["preview"], codes(payload)) == (None, expected)


@pytest.mark.parametrize("name", ["none", "", "\x00", NOTHING])
async def test_a_preview_of_nothing_is_not_found(api: Api, name: str) -> None:
    payload = await preview(api, template=name)
    assert (payload["preview"], codes(payload)) == (None, [("template", "TEMPLATE_NOT_FOUND")])


@pytest.mark.parametrize("service", [None, "mine"])
async def test_who_does_not_manage_all_services_learns_and_changes_nothing(api: Api, service: str | None) -> None:
    made = await make(api)
    await make_service("mine")
    actions = [action.value for action in Action if action not in FOR_ALL_ONLY]
    other = api.as_key(await make_key("other", [GrantValues(service, actions)]))
    for key, name in ((made["id"], "Welcome"), (NOTHING, "none")):
        for mutation, given in (
            ("createTemplate", {"name": name}),
            ("updateTemplate", {"id": key, "name": ""}),
            ("restoreTemplateVersion", {"id": key, "version": 1}),
            ("deleteTemplate", {"id": key}),
        ):
            assert codes(await other.mutate(mutation, "__typename", **given)) == [("", "FORBIDDEN")]
        assert codes(await preview(other, template=name)) == [("", "FORBIDDEN")]
        refused = await other.refused("query ($name: String!) { template(name: $name) { id } }", name=name)
        assert refused["code"] == "FORBIDDEN"
    assert (await other.refused("{ templates(first: 1) { nodes { id } } }"))["code"] == "FORBIDDEN"
    for key in (made["id"], made["current"]["id"]):
        assert (await other.ask("query ($id: ID!) { node(id: $id) { id } }", id=key))["node"] is None
    assert (await api.ask(f'{{ template(name: "welcome") {{ {ALL} }} }}'))["template"] == made


async def test_nobody_is_told_to_say_who_he_is(api: Api) -> None:
    nobody = api.as_key(None)
    for query in (
        'mutation { createTemplate(input: {name: "n"}) { __typename } }',
        'mutation { deleteTemplate(input: {id: "x"}) { __typename } }',
        '{ previewTemplate(input: {template: "n"}) { __typename } }',
        "{ templates(first: 1) { __typename } }",
    ):
        assert (await nobody.refused(query))["code"] == "UNAUTHENTICATED"


async def test_a_template_that_is_deleted_before_its_version_is_read_is_not_found(api: Api) -> None:
    loader = Context(api.parts, api.key).current_versions
    with pytest.raises(NotFound) as refused:
        await loader.load(new_key())
    assert refused.value.problems[0].code is ErrorCode.TEMPLATE_NOT_FOUND
