"""Who is asking, and what their role was granted."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any
from uuid import UUID

from app.access.browser import BrowserRules
from app.access.restrictions import NO_RESTRICTIONS, Restrictions, restrictions_of
from app.limits.window import Limits


class Action(StrEnum):
    """What a grant allows. Those of FOR_ALL_ONLY are not of any service: only the grant for all services holds them."""

    SEND = "SEND"
    READ_MESSAGES = "READ_MESSAGES"
    READ_SERVICES = "READ_SERVICES"
    MANAGE_SERVICES = "MANAGE_SERVICES"
    MANAGE_ACCESS = "MANAGE_ACCESS"
    MANAGE_TEMPLATES = "MANAGE_TEMPLATES"


FOR_ALL_ONLY = frozenset({Action.MANAGE_ACCESS, Action.MANAGE_TEMPLATES})
SEES_SERVICE = (Action.READ_SERVICES, Action.MANAGE_SERVICES)
"""Either lets a service be read."""


@dataclass(frozen=True, slots=True)
class GrantRule:
    """What may be done with one service, or with all services where `service_id` is None; and with which mail.
    `limits`: to how many recipients, with each of them."""

    service_id: UUID | None
    actions: frozenset[Action]
    restrictions: Restrictions = NO_RESTRICTIONS
    limits: Limits = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Principal:
    """The API key of a request, with its role. `grants` has at most one rule per service.

    `origin`: the remote address of the request, for the audit log and for limits per client address; None where there
    is none. `digest`: of the secret that was shown, one of two while a rotation overlaps. `browser`: what a browser key
    is bound to; None for any other key. `page_origin`, `at_the_machine`: as `authenticate` was told. `revision`: the
    facts are those of this number, or newer; None where nobody looked.
    """

    role_id: UUID
    role_name: str
    api_key_id: UUID
    api_key_name: str
    grants: tuple[GrantRule, ...]
    role_limits: Limits = field(default_factory=dict, hash=False)
    api_key_limits: Limits = field(default_factory=dict, hash=False)
    origin: str | None = None
    digest: str = field(default="", repr=False)
    browser: BrowserRules | None = None
    page_origin: str | None = None
    at_the_machine: bool = False
    revision: int | None = field(default=None, compare=False)


def grant_rule(service_id: UUID | None, actions: Collection[str], restrictions: Mapping[str, Any] | None) -> GrantRule:
    """The rule in the columns of a grant.

    An action that a newer version knows is not granted by this one; with a restriction of that kind, SEND is not.
    """
    known = restrictions_of(restrictions)
    granted = frozenset(action for action in Action if action in actions)
    return GrantRule(service_id, granted if known is not None else granted - {Action.SEND}, known or NO_RESTRICTIONS)


def for_browsers(rule: GrantRule, browser: BrowserRules) -> GrantRule:
    """What of the rule a browser key has: SEND alone, and that only from templates which the key and the rule allow."""
    own = rule.restrictions.templates
    templates = tuple(template_id for template_id in browser.templates if not own or template_id in own)
    actions = rule.actions & {Action.SEND} if templates else frozenset()
    return replace(rule, actions=actions, restrictions=replace(rule.restrictions, templates=templates))
