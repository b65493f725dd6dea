"""What a version of a template holds. Pure."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any
from uuid import UUID

from msgspec import structs

from app.errors import ErrorCode, Problem
from app.mail.address import Mailbox
from app.mail.draft import Draft


class VariableType(StrEnum):
    """What a declared variable takes. STRING takes numbers too."""

    STRING = "STRING"
    NUMBER = "NUMBER"
    BOOLEAN = "BOOLEAN"


_TYPES: Mapping[VariableType, tuple[type, ...]] = {
    VariableType.STRING: (str, int, float),
    VariableType.NUMBER: (int, float),
    VariableType.BOOLEAN: (bool,),
}


@dataclass(frozen=True, slots=True)
class Variable:
    """A {placeholder} that the template declares. `default` is its value where none, or null, is given."""

    name: str
    type: VariableType = VariableType.STRING
    required: bool = False
    default: object = None

    def takes(self, value: object) -> bool:
        """Whether the value is of the declared type. A boolean is no number, nor is what is infinite or NaN."""
        if isinstance(value, float) and not math.isfinite(value):
            return False
        return isinstance(value, _TYPES[self.type]) and (
            self.type is VariableType.BOOLEAN or not isinstance(value, bool)
        )


@dataclass(frozen=True, slots=True)
class TemplateContent:
    """What a mail takes from the template where its draft leaves it out (None, or no recipients)."""

    subject: str | None = None
    text: str | None = None
    html: str | None = None
    from_email: str | None = None
    from_name: str | None = None
    reply_to_email: str | None = None
    reply_to_name: str | None = None
    to: tuple[Mailbox, ...] = ()
    cc: tuple[Mailbox, ...] = ()
    bcc: tuple[Mailbox, ...] = ()
    variables: tuple[Variable, ...] = ()


RECIPIENT_FIELDS = ("to", "cc", "bcc")
TEXT_FIELDS = tuple(
    field.name for field in fields(TemplateContent) if field.name not in (*RECIPIENT_FIELDS, "variables")
)


@dataclass(frozen=True, slots=True)
class UsedTemplate:
    """The version of a template that a mail is made from."""

    id: UUID
    name: str
    version: int
    content: TemplateContent


def apply_template(draft: Draft, content: TemplateContent) -> Draft:
    """The draft with what it leaves out taken from the template, and the defaults of variables that it gives no value.

    A default counts like `template_data`: it is HTML-escaped in `html`.
    """
    names = (*TEXT_FIELDS, *RECIPIENT_FIELDS)
    taken: dict[str, Any] = {name: getattr(content, name) for name in names if getattr(draft, name) in (None, ())}
    defaults = {
        variable.name: variable.default for variable in content.variables if _value(draft, variable.name) is None
    }
    given = {name: default for name, default in defaults.items() if default is not None}
    return structs.replace(draft, **taken, template_data={**draft.template_data, **given})


def check_values(draft: Draft, template: UsedTemplate) -> tuple[Problem, ...]:
    """MISSING_VARIABLE for each required variable without a value, INVALID_INPUT for each value of another type."""
    return tuple(_value_problems(draft, template))


def _value_problems(draft: Draft, template: UsedTemplate) -> Iterator[Problem]:
    for variable in template.content.variables:
        value, field = _value(draft, variable.name), ("template_data", variable.name)
        if value is None and variable.required:
            message = f"The template '{template.name}' needs a value for {{{variable.name}}}."
            yield Problem(ErrorCode.MISSING_VARIABLE, message, field)
        elif value is not None and not variable.takes(value):
            message = f"The value for {{{variable.name}}} must be of type {variable.type}."
            yield Problem(ErrorCode.INVALID_INPUT, message, field)


def _value(draft: Draft, name: str) -> object:
    """What `fill` takes: a null in `template_data` hides the variable of that name."""
    return draft.template_data[name] if name in draft.template_data else draft.variables.get(name)


def without_empty_texts(content: TemplateContent) -> TemplateContent:
    """The content, each empty text as None: a template says nothing with it. A default may be empty."""
    cleared: dict[str, Any] = {name: getattr(content, name) or None for name in TEXT_FIELDS}
    return replace(content, **cleared)


def is_same(one: TemplateContent, other: TemplateContent) -> bool:
    """Whether mail made from both is the same, to the letter: a default of 1 is not one of 1.0."""
    return one == other and stored_variables(one) == stored_variables(other)


def stored_recipients(content: TemplateContent) -> dict[str, list[dict[str, Any]]]:
    """The default recipients as the JSON column holds them."""
    return {field: [structs.asdict(mailbox) for mailbox in getattr(content, field)] for field in RECIPIENT_FIELDS}


def stored_variables(content: TemplateContent) -> list[dict[str, Any]]:
    """The declared variables as the JSON column holds them.

    Defaults are JSON text in it: jsonb would write 1e16 as an integer, and read it as one.
    """
    return [
        {**asdict(variable), "default": None if variable.default is None else json.dumps(variable.default)}
        for variable in content.variables
    ]


def content_of(columns: Mapping[str, Any]) -> TemplateContent:
    """The content in the columns of a version."""
    recipients: dict[str, Any] = {
        field: tuple(Mailbox(**mailbox) for mailbox in columns["recipients"][field]) for field in RECIPIENT_FIELDS
    }
    variables = tuple(_variable_of(stored) for stored in columns["variables"])
    return TemplateContent(**{name: columns[name] for name in TEXT_FIELDS}, **recipients, variables=variables)


def _variable_of(stored: Mapping[str, Any]) -> Variable:
    default = None if stored["default"] is None else json.loads(stored["default"])
    return Variable(stored["name"], VariableType(stored["type"]), stored["required"], default)
