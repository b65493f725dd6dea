"""What mail made from a template would hold, without sending any. Pure."""

from dataclasses import dataclass

from app.errors import ErrorCode, InvalidInput
from app.mail.check import check_draft
from app.mail.draft import Draft, DraftLimits
from app.mail.placeholders import fill, unfilled_placeholders
from app.templates.content import UsedTemplate, apply_template, check_values

_LEFT_TO_THE_MAIL = frozenset({ErrorCode.NO_RECIPIENTS, ErrorCode.NO_BODY, ErrorCode.MISSING_VARIABLE})

_SENDER_FIELDS = ("from_email", "from_name", "reply_to_email", "reply_to_name")


@dataclass(frozen=True, slots=True)
class Preview:
    """The parts with their placeholders filled. `missing`: required variables without a value; `unfilled`: the
    placeholders that no mail would fill. {from_name} and its like stay too, where the template leaves that to the mail.
    """

    subject: str | None
    text: str | None
    html: str | None
    missing: tuple[str, ...]
    unfilled: tuple[str, ...]


def preview_template(draft: Draft, template: UsedTemplate, limits: DraftLimits) -> Preview:
    """What the draft would become. A draft may lack what only sending needs: recipients, a body, required variables.

    Raises InvalidInput with everything else that sending would refuse, TooLarge.
    """
    applied = apply_template(draft, template.content)
    own = {name: getattr(applied, name) or f"{{{name}}}" for name in _SENDER_FIELDS}
    filled = fill(applied, limits, own)
    problems = (*check_values(applied, template), *check_draft(filled, limits))
    if wrong := [problem for problem in problems if problem.code not in _LEFT_TO_THE_MAIL]:
        raise InvalidInput(problems=wrong)
    missing = tuple(problem.field[-1] for problem in problems if problem.code is ErrorCode.MISSING_VARIABLE)
    return Preview(filled.subject, filled.text, filled.html, missing, unfilled_placeholders(applied, own))
