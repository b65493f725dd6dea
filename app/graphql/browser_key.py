"""What makes an API key a browser key: how it is given, and how it shows."""

from typing import Self

import strawberry

from app.access import models as access
from app.access.browser import CLIENT, BrowserLimits, BrowserRules, browser_rules_of
from app.database.key import public_id
from app.graphql.grant_types import template_key
from app.graphql.recipient_limits import RecipientLimits, RecipientLimitsInput, read_limits
from app.settings import Settings
from app.templates.find import TEMPLATE_KIND

_ORIGINS = (
    "Origins of the pages that may use it, e.g. https://example.com; a request of another one, or of none, is refused."
)
_RECIPIENTS = "Who gets all its mail; none: the recipients of the template. The page can name nobody."
_REPLY_TO = "Whether the page may give replyTo, for a visitor's own address; nothing is ever sent there."
_CLIENT_LIMITS = (
    "Rate limits of each client address by itself; of IPv6, of each /64 unless the server is set otherwise."
)


@strawberry.input(
    description="Makes the API key fit for a public page: it can only send, and only what is fixed here. That does not"
    " change later: make another key."
)
class BrowserKeyInput:
    origins: list[str] = strawberry.field(default_factory=list, description=f"At least one. {_ORIGINS}")
    templates: list[strawberry.ID] = strawberry.field(
        default_factory=list, description="At least one: ids of the templates that its mail is made from."
    )
    recipients: list[str] = strawberry.field(default_factory=list, description=_RECIPIENTS)
    reply_to_from_visitor: bool = strawberry.field(default=False, description=_REPLY_TO)
    limits_per_client_address: RecipientLimitsInput | None = strawberry.field(
        default=None, description=f"At least one. {_CLIENT_LIMITS}"
    )

    def rules(self) -> BrowserRules:
        """As the rules take it; an id of nothing is the key of no template."""
        return BrowserRules(
            tuple(self.origins),
            tuple(map(template_key, self.templates)),
            tuple(self.recipients),
            self.reply_to_from_visitor,
            read_limits(self.limits_per_client_address),
        )


@strawberry.type(description="What a browser key is bound to.")
class BrowserKey:
    origins: list[str] = strawberry.field(description=_ORIGINS)
    templates: list[strawberry.ID] = strawberry.field(description="Ids of the templates that its mail is made from.")
    recipients: list[str] = strawberry.field(description=_RECIPIENTS)
    reply_to_from_visitor: bool = strawberry.field(description=_REPLY_TO)
    limits_per_client_address: RecipientLimits = strawberry.field(description=_CLIENT_LIMITS)

    @classmethod
    def of(cls, row: access.ApiKey) -> Self | None:
        rules = browser_rules_of(vars(row))
        if rules is None:
            return None
        return cls(
            origins=list(rules.origins),
            templates=[strawberry.ID(public_id(TEMPLATE_KIND, key)) for key in rules.templates],
            recipients=list(rules.recipients),
            reply_to_from_visitor=rules.visitor_reply_to,
            limits_per_client_address=RecipientLimits.of(row, CLIENT),
        )


def browser_limits(settings: Settings) -> BrowserLimits:
    """The sizes that the lists of a browser key must keep."""
    return BrowserLimits(settings.max_browser_origins, settings.max_browser_templates, settings.max_browser_recipients)
