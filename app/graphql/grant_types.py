"""The output and input types of grants."""

from typing import Self, cast
from uuid import UUID

import strawberry

from app.access import models as access
from app.access.check import GrantValues
from app.access.principal import Action
from app.access.restrictions import NO_RESTRICTIONS, PATTERN_FIELDS, Restrictions, restrictions_of
from app.database.key import parse_public_id, public_id
from app.graphql.recipient_limits import RecipientLimits, RecipientLimitsInput, read_limits
from app.services import models as services
from app.templates.find import TEMPLATE_KIND

strawberry.enum(
    Action,
    description="What a grant allows. SEND: submit mail, and cancel, hold or retry what the same role sent."
    " READ_MESSAGES: read messages and captured mail. READ_SERVICES: read services, never their passwords."
    " MANAGE_SERVICES: read, make, change, pause and delete services, and intervene in all their mail."
    " MANAGE_TEMPLATES: read, preview and change templates. MANAGE_ACCESS: roles and API keys; whoever has it can give"
    " every action to every role, its own included. The last two are granted for all services only.",
)
_PATTERNS = (
    "ada@example.com; *@example.com; *@*.example.com, every domain below that one; or *. Domains match in any case and"
    " script,"
)
_ALLOWED = f"Patterns: {_PATTERNS} local parts exactly."
_DENIED = f"Patterns: {_PATTERNS} local parts in any case, quoted or not. Denied wins over allowed."
_TEMPLATES = (
    "Ids of templates. Where there are any, mail is made from one of these: it brings no subject, text, html,"
    " attachments or header fields of its own, and all its values are HTML-escaped in the html part."
)
_REPLY_TO = "Mail needs a Reply-To, given or by default, that this pattern matches; * is any."
_NO_TEMPLATE = UUID(int=0)


@strawberry.input(
    description="What a role may do with one service, or with all of them. The lists and requiredReplyTo say which mail"
    " SEND covers; where one of them forbids a mail, nothing of it is accepted."
)
class GrantInput:
    service: str | None = strawberry.field(
        default=None,
        description="The service's name; absent: all services. A grant for a service replaces the one for all services,"
        " as a whole.",
    )
    actions: list[Action] = strawberry.field(description="What is allowed; at least one.")
    allowed_senders: list[str] = strawberry.field(default_factory=list, description=f"None: any. {_ALLOWED}")
    denied_senders: list[str] = strawberry.field(default_factory=list, description=_DENIED)
    allowed_recipients: list[str] = strawberry.field(default_factory=list, description=f"None: any. {_ALLOWED}")
    denied_recipients: list[str] = strawberry.field(default_factory=list, description=_DENIED)
    templates: list[strawberry.ID] = strawberry.field(default_factory=list, description=_TEMPLATES)
    required_reply_to: str | None = strawberry.field(default=None, description=_REPLY_TO)
    limits: RecipientLimitsInput | None = strawberry.field(
        default=None, description="Rate limits of the role with this service; without one, with each of them."
    )

    def values(self) -> GrantValues:
        """As the rules take it; an id of nothing is the key of no template."""
        restrictions = Restrictions(
            **{name: tuple(getattr(self, name)) for name in PATTERN_FIELDS},
            templates=tuple(map(template_key, self.templates)),
            required_reply_to=self.required_reply_to,
        )
        actions = [action.value for action in self.actions]
        return GrantValues(self.service, actions, restrictions, read_limits(self.limits))


@strawberry.type(description="What a role may do with one service, or with all of them.")
class Grant:
    service_name: str | None = strawberry.field(description="The service; null stands for all services.")
    actions: list[Action] = strawberry.field(description="What is allowed.")
    allowed_senders: list[str] = strawberry.field(description=f"Empty: any. {_ALLOWED}")
    denied_senders: list[str] = strawberry.field(description=_DENIED)
    allowed_recipients: list[str] = strawberry.field(description=f"Empty: any. {_ALLOWED}")
    denied_recipients: list[str] = strawberry.field(description=_DENIED)
    templates: list[strawberry.ID] = strawberry.field(
        description=f"{_TEMPLATES} Those that were deleted stay in the list, so that it is never empty by accident."
    )
    required_reply_to: str | None = strawberry.field(description=_REPLY_TO)
    limits: RecipientLimits = strawberry.field(
        description="Rate limits of the role with the service; of a grant for all services, with each of them."
    )

    @classmethod
    def of(cls, row: access.Grant) -> Self:
        service = cast(services.Service | None, row.service)
        restrictions = restrictions_of(row.restrictions) or NO_RESTRICTIONS
        return cls(
            service_name=service.name if service else None,
            actions=[action for action in Action if action in row.actions],
            **{name: list(getattr(restrictions, name)) for name in PATTERN_FIELDS},
            templates=[strawberry.ID(public_id(TEMPLATE_KIND, key)) for key in restrictions.templates],
            required_reply_to=restrictions.required_reply_to,
            limits=RecipientLimits.of(row),
        )


def template_key(text: str) -> UUID:
    """The key in a template's id; for what is no such id, the key of no template."""
    kind, key = parse_public_id(text) or (None, _NO_TEMPLATE)
    return key if kind == TEMPLATE_KIND else _NO_TEMPLATE
