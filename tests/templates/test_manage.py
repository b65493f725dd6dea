"""Templates are made, changed and removed, on both databases."""

import asyncio
from collections.abc import Coroutine
from typing import Any
from uuid import UUID

import pytest

from app.access.principal import Action, GrantRule, Principal
from app.errors import Conflict, ErrorCode, Forbidden, InvalidInput, NotFound
from app.mail.address import Mailbox
from app.templates.check import MAX_NUMBER, TemplateValues
from app.templates.content import TemplateContent, Variable, VariableType
from app.templates.manage import (
    TemplateChanges,
    create_template,
    current_versions,
    delete_template,
    get_template,
    get_version,
    list_templates,
    list_versions,
    restore_version,
    update_template,
)
from app.templates.models import Template, TemplateVersion
from tests.factories import NOW, count
from tests.templates.stored import LATER, LIMITS, change, current, make, versions

pytestmark = pytest.mark.usefixtures("database")

NOBODY = UUID(int=7)
FULL = TemplateContent(
    subject="Hi {name}",
    text="T",
    html="<b>{name}</b>",
    from_email="desk@bücher.example",
    from_name="Desk",
    reply_to_email="help@example.com",
    reply_to_name="Help",
    to=(Mailbox("a@example.com", "A"), Mailbox("b@example.com")),
    cc=(Mailbox("c@example.com"),),
    bcc=(Mailbox("d@example.com", "Ö"),),
    variables=(
        Variable("name", required=True),
        Variable("n", VariableType.NUMBER, default=0),
        Variable("b", VariableType.BOOLEAN, default=False),
        Variable("s", default=""),
    ),
)


async def refused(attempt: Coroutine[Any, Any, Any], kind: type[Exception]) -> list[tuple[str, ErrorCode]]:
    with pytest.raises(kind) as caught:
        await attempt
    return [(".".join(problem.field), problem.code) for problem in caught.value.problems]  # type: ignore[attr-defined]


async def test_a_template_is_stored_as_it_was_given() -> None:
    values = TemplateValues(" Welcome ", "For\nnew ones.", 7, FULL)
    made = await create_template(values, None, LIMITS, now=lambda: NOW)
    stored = await get_template(made.id)

    assert (stored.name, stored.description, stored.number) == ("Welcome", "For\nnew ones.", 7)
    assert (stored.created_at, stored.updated_at) == (NOW, NOW)
    assert await current(made.id) == FULL
    assert [type(variable.default) for variable in (await current(made.id)).variables] == [type(None), int, bool, str]
    assert await versions(made.id) == [(1, True, "T")]


async def test_empty_texts_are_stored_as_none() -> None:
    values = TemplateValues("n", "", content=TemplateContent(subject="", text="x", from_email="", reply_to_name=""))
    made = await create_template(values, None, LIMITS)
    assert (await get_template(made.id)).description is None
    assert await current(made.id) == TemplateContent(text="x")
    await change(made, {"subject": "s", "text": ""})
    assert await current(made.id) == TemplateContent(subject="s")


async def test_a_wrong_template_leaves_nothing_behind() -> None:
    values = TemplateValues("", number=0, content=TemplateContent(variables=(Variable("v", default=[]),)))
    problems = await refused(create_template(values, None, LIMITS), InvalidInput)
    assert [path for path, _ in problems] == ["name", "number", "text", "variables.0.default"]
    assert (await count("template"), await count("template_version")) == (0, 0)


async def test_numbers_go_on_from_the_highest() -> None:
    given = (None, 40, None, 7, None)
    assert [(await make(f"t{place}", number)).number for place, number in enumerate(given)] == [1, 40, 41, 7, 42]


async def test_past_the_highest_number_there_can_be_the_lowest_free_one_is_taken() -> None:
    given = (MAX_NUMBER, None, 3, None, None)
    assert [(await make(f"t{place}", number)).number for place, number in enumerate(given)] == [MAX_NUMBER, 1, 3, 2, 4]


async def test_a_number_that_is_taken_is_refused_by_name() -> None:
    await make("one", 5)
    assert await refused(make("two", 5), Conflict) == [("number", ErrorCode.NAME_TAKEN)]
    assert await refused(make("ONE", 5), Conflict) == [("name", ErrorCode.NAME_TAKEN)]
    assert (await count("template"), await count("template_version")) == (1, 1)


async def test_many_made_at_once_get_numbers_of_their_own() -> None:
    made = await asyncio.gather(*(make(f"t{place}") for place in range(12)))
    assert sorted(template.number for template in made) == list(range(1, 13))
    assert await count("template_version") == 12


async def test_of_many_that_want_one_name_at_once_one_gets_it() -> None:
    answers = await asyncio.gather(*(make(name) for name in ("a", "A", " a", "a ") * 2), return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["Conflict"] * 7 + ["Template"]
    assert await count("template_version") == 1


@pytest.mark.parametrize(
    ("name", "other", "same"),
    [
        ("Welcome", "  wELCOME\t", True),
        ("Straße", "STRASSE", True),
        ("ΣΑΣ", "σας", True),
        ("İ", "i̇", True),
        ("I", "\N{LATIN SMALL LETTER DOTLESS I}", False),
        ("I", "İ", False),
        ("42", "042", False),
        ("a b", "a  b", False),
        ("é", "e", False),
    ],
)
async def test_names_are_told_apart_without_regard_to_case(name: str, other: str, same: bool) -> None:
    await make(name)
    if same:
        assert await refused(make(other), Conflict) == [("name", ErrorCode.NAME_TAKEN)]
    else:
        assert (await make(other)).name == other


async def test_the_longest_name_fits_in_every_case() -> None:
    made = await make("ΐ" * 128)  # three characters each, once case-folded
    assert len((await get_template(made.id)).name_key) == 384


async def test_what_it_holds_becomes_a_new_version_and_the_earlier_ones_stay() -> None:
    template = await make()
    changed = await change(template, {"text": "Hi.", "to": (Mailbox("a@example.com"),)})
    await change(template, {"variables": (Variable("v", default=0),), "to": ()})

    assert (changed.created_at, changed.updated_at) == (NOW, LATER)
    assert await versions(template.id) == [(1, False, "Hello."), (2, False, "Hi."), (3, True, "Hi.")]
    assert await current(template.id) == TemplateContent(text="Hi.", variables=(Variable("v", default=0),))


@pytest.mark.parametrize(
    "changes",
    [{}, {"name": "other"}, {"description": "x"}, {"text": "Hello."}, {"subject": None, "to": ()}, {"html": ""}],
)
async def test_a_change_that_holds_the_same_makes_no_version(changes: TemplateChanges) -> None:
    template = await make()
    changed = await change(template, changes)
    assert (changed.name, changed.description) == (changes.get("name", "Welcome"), changes.get("description"))
    assert await versions(template.id) == [(1, True, "Hello.")]


async def test_a_default_of_another_kind_is_another_version() -> None:
    template = await make(variables=(Variable("v", default=1),))
    for default in (1.0, "1", 0, "", None):
        await change(template, {"variables": (Variable("v", default=default),)})
        await change(template, {"variables": (Variable("v", default=default),)})
        (variable,) = (await current(template.id)).variables
        assert (type(variable.default), variable.default) == (type(default), default)
    assert len(await versions(template.id)) == 6


@pytest.mark.parametrize(
    ("changes", "kind", "expected"),
    [
        ({"name": "OTHER", "text": "new"}, Conflict, [("name", ErrorCode.NAME_TAKEN)]),
        ({"name": " ", "text": "new"}, InvalidInput, [("name", ErrorCode.INVALID_INPUT)]),
        ({"name": "new", "text": None}, InvalidInput, [("text", ErrorCode.INVALID_INPUT)]),
        ({"name": "new", "to": (Mailbox("x"),)}, InvalidInput, [("to.0.email", ErrorCode.INVALID_EMAIL)]),
        ({"description": "\x00", "text": "new"}, InvalidInput, [("description", ErrorCode.INVALID_INPUT)]),
    ],
)
async def test_a_refused_change_leaves_nothing_behind(
    changes: TemplateChanges, kind: type[Exception], expected: list[tuple[str, ErrorCode]]
) -> None:
    template = await make()
    await make("Other")
    before = await Template.get(id=template.id).values()
    assert await refused(change(template, changes), kind) == expected
    assert await Template.get(id=template.id).values() == before
    assert await versions(template.id) == [(1, True, "Hello.")]


async def test_a_template_takes_its_own_name_in_another_case() -> None:
    template = await make()
    assert (await change(template, {"name": "WELCOME"})).name == "WELCOME"


async def test_changes_side_by_side_make_versions_without_gaps() -> None:
    template = await make()
    await asyncio.gather(*(change(template, {"text": f"t{place}"}) for place in range(10)))
    found = await versions(template.id)
    assert [number for number, _, _ in found] == list(range(1, 12))
    assert [is_current for _, is_current, _ in found] == [False] * 10 + [True]
    assert {text for _, _, text in found} == {"Hello.", *(f"t{place}" for place in range(10))}


async def test_different_fields_changed_side_by_side_are_all_kept() -> None:
    template = await make()
    await asyncio.gather(*(change(template, {name: "x"}) for name in ("subject", "html", "from_name", "description")))  # type: ignore[misc]
    assert await current(template.id) == TemplateContent(subject="x", text="Hello.", html="x", from_name="x")
    assert (await get_template(template.id)).description == "x"


async def test_an_earlier_version_is_restored_and_changed_from_there() -> None:
    template = await make()
    await change(template, {"text": "Hi."})
    restored = await restore_version(template.id, 1, None, now=lambda: LATER)
    assert restored.updated_at == LATER
    assert await versions(template.id) == [(1, True, "Hello."), (2, False, "Hi.")]
    await change(template, {"subject": "s"})
    assert await versions(template.id) == [(1, False, "Hello."), (2, False, "Hi."), (3, True, "Hello.")]
    await restore_version(template.id, 3, None)
    assert [is_current for _, is_current, _ in await versions(template.id)] == [False, False, True]


@pytest.mark.parametrize("number", [0, -1, 2, MAX_NUMBER])
async def test_a_version_that_is_not_there_is_not_restored(number: int) -> None:
    template = await make()
    assert await refused(restore_version(template.id, number, None), NotFound) == [("version", ErrorCode.NOT_FOUND)]
    assert await versions(template.id) == [(1, True, "Hello.")]


async def test_changes_and_restorations_side_by_side_leave_one_current() -> None:
    template = await make()
    await asyncio.gather(
        *(change(template, {"text": f"t{place}"}) for place in range(5)),
        *(restore_version(template.id, 1, None) for _ in range(5)),
    )
    found = await versions(template.id)
    assert [number for number, _, _ in found] == list(range(1, len(found) + 1))
    assert sum(is_current for _, is_current, _ in found) == 1


async def test_a_deleted_template_takes_its_versions_with_it() -> None:
    template, other = await make(), await make("other")
    await change(template, {"text": "Hi."})
    await delete_template(template.id, None)
    assert await Template.all().values_list("id", flat=True) == [other.id]
    assert await TemplateVersion.all().values_list("template_id", flat=True) == [other.id]
    assert (await make()).number == 3


async def test_what_is_not_there_is_not_found() -> None:
    attempts = (
        get_template(NOBODY),
        get_version(NOBODY),
        change(Template(id=NOBODY), {"name": "x"}),
        restore_version(NOBODY, 1, None),
        delete_template(NOBODY, None),
    )
    for attempt in attempts:
        assert await refused(attempt, NotFound) == [("id", ErrorCode.TEMPLATE_NOT_FOUND)]
    assert await current_versions([NOBODY]) == {}


async def test_templates_and_versions_come_in_pages() -> None:
    made = [await make(f"t{place}") for place in range(3)]
    ids = [template.id for template in made]
    assert [template.id for template in await list_templates(None, 2)] == ids[:2]
    assert [template.id for template in await list_templates(ids[0], 5)] == ids[1:]
    for text in ("2", "3", "4"):
        await change(made[0], {"text": text})
    newest = await list_versions(ids[0], None, 2)
    assert [version.number for version in newest] == [4, 3]
    assert [version.number for version in await list_versions(ids[0], newest[1].id, 5)] == [2, 1]
    foreign = (await list_versions(ids[1], None, 1))[0].id
    assert await refused(list_versions(ids[0], foreign, 5), InvalidInput) == [("after", ErrorCode.INVALID_INPUT)]
    found = await current_versions(ids)
    assert {key: version.number for key, version in found.items()} == {ids[0]: 4, ids[1]: 1, ids[2]: 1}


@pytest.mark.parametrize(
    "rules", [(), (GrantRule(None, frozenset({Action.SEND})),), (GrantRule(NOBODY, frozenset(Action)),)]
)
async def test_changing_anything_needs_manage_for_all_services(rules: tuple[GrantRule, ...]) -> None:
    template = await make()
    who = Principal(NOBODY, "shop", NOBODY, "laptop", rules)
    for key in (template.id, NOBODY):
        for attempt in (
            create_template(TemplateValues(""), who, LIMITS),
            update_template(key, {"text": "x"}, who, LIMITS),
            restore_version(key, 9, who),
            delete_template(key, who),
        ):
            assert await refused(attempt, Forbidden) == [("", ErrorCode.FORBIDDEN)]
    assert await versions(template.id) == [(1, True, "Hello.")]
