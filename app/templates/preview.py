"""What mail made from a template would hold, without sending any. Pure."""

from dataclasses import dataclass

from app.errors import ErrorCode, InvalidInput
from app.mail.draft import Draft, DraftLimits
from app.mail.placeholders import fill, unfilled_placeholders
from app.templates.content import UsedTemplate, apply_template, check_values


@dataclass(frozen=True, slots=True)
class Preview:
    """The parts with their placeholders filled. `missing`: required variables without a value; `unfilled`: all
    placeholders that stay as they are."""

    subject: str | None
    text: str | None
    html: str | None
    missing: tuple[str, ...]
    unfilled: tuple[str, ...]


def preview_template(draft: Draft, template: UsedTemplate, limits: DraftLimits) -> Preview:
    """What the draft would become. Raises InvalidInput with every value of another type than its variable, TooLarge."""
    applied = apply_template(draft, template.content)
    problems = check_values(applied, template)
    if wrong := [problem for problem in problems if problem.code is not ErrorCode.MISSING_VARIABLE]:
        raise InvalidInput(problems=wrong)
    filled = fill(applied, limits)
    missing = tuple(problem.field[-1] for problem in problems)
    return Preview(filled.subject, filled.text, filled.html, missing, unfilled_placeholders(applied))
