"""What a template has to be like. Pure: values in, problems out, their fields named as the values name them."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from app.database.key import parse_public_id
from app.errors import ErrorCode, Problem
from app.mail.characters import shown, unstorable
from app.mail.check import check_draft
from app.mail.draft import Draft, DraftLimits
from app.mail.placeholders import is_placeholder
from app.templates.content import RECIPIENT_FIELDS, TEXT_FIELDS, TemplateContent, Variable

MAX_NAME_CHARS = 128
MAX_DESCRIPTION_CHARS = 2000
MAX_NUMBER = 2**31 - 1
MAX_VARIABLE_NAME_CHARS = 64
_JSON_INTEGER_BITS = 63
_LEFT_TO_THE_MAIL = frozenset({ErrorCode.NO_RECIPIENTS, ErrorCode.NO_BODY})


@dataclass(frozen=True, slots=True)
class TemplateLimits:
    """Sizes a template must keep; every one is a setting."""

    draft: DraftLimits = field(default_factory=DraftLimits)
    max_variables: int = 100


@dataclass(frozen=True, slots=True)
class TemplateValues:
    """A whole template, as given. `number` None: the next one that is free."""

    name: str
    description: str | None = None
    number: int | None = None
    content: TemplateContent = field(default_factory=TemplateContent)


def check_template(values: TemplateValues, limits: TemplateLimits) -> tuple[Problem, ...]:
    """Everything that is wrong, each problem with the path of its field; empty if nothing is."""
    return tuple(_problems(values, limits))


def _problems(values: TemplateValues, limits: TemplateLimits) -> Iterator[Problem]:
    yield from _name(values.name)
    if len(values.description or "") > MAX_DESCRIPTION_CHARS or unstorable(values.description or ""):
        yield _problem(
            f"A description has at most {MAX_DESCRIPTION_CHARS} characters that can be stored.", "description"
        )
    if values.number is not None and not 1 <= values.number <= MAX_NUMBER:
        yield _problem(f"A number is from 1 to {MAX_NUMBER}.", "number")
    yield from _content(values.content, limits)
    yield from _variables(values.content.variables, limits)


def _name(name: str) -> Iterator[Problem]:
    if not 1 <= len(name.strip()) <= MAX_NAME_CHARS or not name.strip().isprintable():
        yield _problem(f"A template's name has 1 to {MAX_NAME_CHARS} printable characters.", "name")
    elif parse_public_id(name.strip().casefold()):
        yield _problem("A template's name must not look like an id.", "name")


def _content(content: TemplateContent, limits: TemplateLimits) -> Iterator[Problem]:
    """By the rules of the mail that it will be part of."""
    if not (content.subject or content.text or content.html):
        yield _problem("A template needs a subject, a text or an html part.", "text")
    draft = Draft(**{name: getattr(content, name) for name in (*TEXT_FIELDS, *RECIPIENT_FIELDS)})
    yield from (problem for problem in check_draft(draft, limits.draft) if problem.code not in _LEFT_TO_THE_MAIL)


def _variables(variables: tuple[Variable, ...], limits: TemplateLimits) -> Iterator[Problem]:
    if len(variables) > limits.max_variables:
        message = f"variables has {len(variables)} entries; the limit is {limits.max_variables}."
        yield Problem(ErrorCode.TOO_LARGE, message, ("variables",))
        return
    seen: set[str] = set()
    for position, variable in enumerate(variables):
        for problem in _variable(variable, limits):
            yield problem.under("variables", str(position))
        if variable.name in seen:
            yield _problem(
                f"The variable {shown(variable.name)} is declared twice.", "variables", str(position), "name"
            )
        seen.add(variable.name)


def _variable(variable: Variable, limits: TemplateLimits) -> Iterator[Problem]:
    if len(variable.name) > MAX_VARIABLE_NAME_CHARS or not is_placeholder(variable.name):
        message = f"A variable's name has 1 to {MAX_VARIABLE_NAME_CHARS} letters, digits and '_', no digit first."
        yield _problem(message, "name")
    if variable.default is None:
        return
    if variable.required:
        yield _problem("A variable with a default is never missing: it cannot be required.", "required")
    if not variable.takes(variable.default):
        yield _problem(f"The default must be of type {variable.type}.", "default")
    yield from _default(variable.default, limits.draft.max_body_chars)


def _default(default: object, most: int) -> Iterator[Problem]:
    if isinstance(default, int) and default.bit_length() > _JSON_INTEGER_BITS:
        yield _problem(f"An integer has at most {_JSON_INTEGER_BITS} bits.", "default")
    text = default if isinstance(default, str) else ""
    if len(text) > most:
        yield Problem(ErrorCode.TOO_LARGE, f"default has {len(text)} characters; the limit is {most}.", ("default",))
    if found := unstorable(text):
        yield _problem(f"The default must not contain {found}.", "default")


def _problem(message: str, *path: str) -> Problem:
    return Problem(ErrorCode.INVALID_INPUT, message, path)
