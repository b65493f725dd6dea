"""Whether a role may send a mail, and by which rule not."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Self

import strawberry

from app.access.mail_policy import MailRule, Violation
from app.access.manage import get_role, in_role
from app.access.policy import require_for_all
from app.access.principal import Action, Principal
from app.database.key import public_id
from app.errors import NotFound
from app.graphql.context import Info
from app.graphql.paging import key_of
from app.submission.permission import MailAnswer, MailQuestion, answer

strawberry.enum(
    MailRule,
    description="Which rule of a grant refuses a mail. NOT_GRANTED: no SEND with this service."
    " FIXED_RECIPIENTS, FIXED_FIELD: a browser key has its own recipients, and takes no other fields but values,"
    " replyTo where that is allowed, and idempotencyKey. TEMPLATE_NOT_ALLOWED: not made from one of the grant's"
    " templates. OWN_CONTENT: made from one, with content of its own. SENDER_DENIED, RECIPIENT_DENIED: a denied pattern"
    " matches. SENDER_NOT_ALLOWED, RECIPIENT_NOT_ALLOWED: there are allowed patterns, and none matches."
    " REPLY_TO_REQUIRED: no Reply-To, or not the required one.",
)

Service = Annotated[str, strawberry.argument(description="The service's name, in any case.")]
From = Annotated[
    str,
    strawberry.argument(name="from", description="The sender's address. With a browser key, the one its mail has."),
]
To = Annotated[
    list[str], strawberry.argument(description="The recipients' addresses. With a browser key, none: they are fixed.")
]
Template = Annotated[
    strawberry.ID | None, strawberry.argument(description="Id or name of the template it would be made from.")
]
ReplyTo = Annotated[
    str | None, strawberry.argument(description="The address for replies; absent: the default, as for a mail.")
]


@strawberry.type(description="Whether a mail may go to one recipient.")
class RecipientPermission:
    email: str = strawberry.field(description="The address.")
    allowed: bool = strawberry.field(description="Whether no rule forbids this recipient.")
    rule: MailRule | None = strawberry.field(description="The rule that forbids it.")
    message: str | None = strawberry.field(description="What the refusal would say.")

    @classmethod
    def of(cls, email: str, broken: Violation | None) -> Self:
        return cls(
            email=email,
            allowed=broken is None,
            rule=broken.rule if broken else None,
            message=broken.message if broken else None,
        )


@strawberry.type(
    description="Whether a mail may be sent, as far as the grants go; whether the role and the service are active is"
    " not asked. One recipient that is forbidden refuses the whole mail."
)
class MailPermission:
    allowed: bool = strawberry.field(description="Whether no rule forbids it.")
    rule: MailRule | None = strawberry.field(description="The first rule that forbids it.")
    message: str | None = strawberry.field(description="What the refusal would say first.")
    recipients: list[RecipientPermission] = strawberry.field(
        description="Each recipient by itself, those of the template too where none are given."
    )

    @classmethod
    def of(cls, found: MailAnswer) -> Self:
        first = found.violations[0] if found.violations else None
        by_path: Mapping[tuple[str, ...], Violation] = {broken.field: broken for broken in found.violations}
        return cls(
            allowed=first is None,
            rule=first.rule if first else None,
            message=first.message if first else None,
            recipients=[RecipientPermission.of(email, by_path.get(path)) for path, email in found.mail.recipients],
        )


async def can_send(
    info: Info,
    role: Annotated[strawberry.ID, strawberry.argument(description="The role's id.")],
    service: Service,
    from_: From,
    to: To,
    template: Template = None,
    reply_to: ReplyTo = None,
) -> MailPermission:
    """Whether a role may send a mail, decided as for a real one; nothing is sent. Needs MANAGE_ACCESS, but for
    one's own role."""
    principal = await _in_role(await info.context.principal(), role)
    question = MailQuestion(service, from_, tuple(to), template, reply_to)
    return MailPermission.of(await answer(question, principal, info.context.parts.settings))


async def _in_role(principal: Principal, role: str) -> Principal:
    if role == public_id("role", principal.role_id):
        return principal
    require_for_all(principal, Action.MANAGE_ACCESS)
    key = key_of(role, "role")
    if key is None:
        raise NotFound("There is no such role.", field=("role",))
    try:
        return in_role(await get_role(key), principal)
    except NotFound as missing:
        raise NotFound(problems=[replace(missing.problems[0], field=("role",))]) from None
