"""The template that a mail asks for: by name, by number, by id."""

from dataclasses import replace
from uuid import UUID

import pytest

from app.database.key import public_id
from app.errors import ErrorCode, NotFound
from app.mail.draft import Draft
from app.templates.content import TemplateContent, UsedTemplate
from app.templates.find import find_template, find_used_template
from app.templates.manage import delete_template, restore_version
from app.templates.models import Template
from tests.templates.stored import change, make

pytestmark = pytest.mark.usefixtures("database")

UNSTORABLE = ("\x00", "a\x00b", "\ud800", "\udfff")


@pytest.fixture
async def welcome() -> Template:
    return await make("Welcome Straße", 42)


async def used(**fields: str) -> UsedTemplate:
    found = await find_used_template(Draft(**fields))  # type: ignore[arg-type]
    assert found is not None
    return found


async def not_found(**fields: str) -> tuple[str, str]:
    with pytest.raises(NotFound) as caught:
        await used(**fields)
    (problem,) = caught.value.problems
    assert problem.code is ErrorCode.TEMPLATE_NOT_FOUND
    return problem.field[0], problem.message


async def test_a_draft_that_names_none_has_none(welcome: Template) -> None:
    assert await find_used_template(Draft()) is None


@pytest.mark.parametrize("name", ["Welcome Straße", "WELCOME STRASSE", "  welcome straße\n"])
async def test_a_template_is_found_by_its_name_in_any_case(welcome: Template, name: str) -> None:
    expected = UsedTemplate(welcome.id, "Welcome Straße", 1, TemplateContent(text="Hello."))
    assert await used(template=name) == await used(template_id=name) == expected
    found = await find_template(name)
    assert found is not None
    assert found.id == welcome.id


@pytest.mark.parametrize("number", ["42", "042", "\N{ARABIC-INDIC DIGIT FOUR}\N{ARABIC-INDIC DIGIT TWO}"])
async def test_a_template_is_found_by_its_number(welcome: Template, number: str) -> None:
    assert (await used(template_id=number)).id == welcome.id


async def test_a_template_is_found_by_its_id(welcome: Template) -> None:
    key = public_id("tmpl", welcome.id)
    assert await used(template=key) == await used(template_id=f" {key} ") == await used(template_id="42")


async def test_a_name_of_digits_is_a_name_and_a_number_a_number(welcome: Template) -> None:
    digits = await make("42", 7)
    assert (await used(template="42")).id == digits.id
    assert (await used(template_id="42")).id == welcome.id
    assert (await used(template_id="7")).id == digits.id


async def test_the_name_wins_and_decides(welcome: Template) -> None:
    other = await make("other", 1)
    assert (await used(template="other", template_id="42")).id == other.id
    assert await not_found(template="none", template_id="42") == ("template", "Email Template 'none' not found")


@pytest.mark.parametrize(
    "name", ["", " ", "Welcome", "welcome%", "42", "x" * 5000, "svc_" + "0" * 32, public_id("tmpl", UUID(int=7))]
)
async def test_an_unknown_name_is_told(welcome: Template, name: str) -> None:
    assert await not_found(template=name) == ("template", f"Email Template '{name[:100]}' not found")
    assert await find_template(name) is None


@pytest.mark.parametrize("number", ["0", "7", "-42", "+42", "4.2", "²", "2147483648", "9" * 5000, ""])
async def test_an_unknown_number_is_told(welcome: Template, number: str) -> None:
    assert await not_found(template_id=number) == ("template_id", f"Email Template '{number[:100]}' not found")


@pytest.mark.parametrize("name", UNSTORABLE)
async def test_what_cannot_be_stored_names_nothing(welcome: Template, name: str) -> None:
    written = name.encode("unicode_escape").decode()
    expected = f"Email Template '{written}' not found"
    assert await not_found(template=name) == ("template", expected)
    assert await not_found(template_id=name) == ("template_id", expected)
    assert await find_template(name) is None


async def test_the_current_version_is_used(welcome: Template) -> None:
    await change(welcome, {"text": "Hi."})
    second = await used(template_id="42")
    assert (second.version, second.content.text) == (2, "Hi.")
    await restore_version(welcome.id, 1, None)
    assert await used(template_id="42") == replace(second, version=1, content=TemplateContent(text="Hello."))
    await change(welcome, {"name": "Farewell"})
    assert (await used(template="FAREWELL")).name == "Farewell"
    await not_found(template="Welcome Straße")
    await delete_template(welcome.id, None)
    await not_found(template_id="42")
    await not_found(template=public_id("tmpl", welcome.id))
