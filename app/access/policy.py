"""What a principal may do. Pure.

Nothing is allowed that no grant allows. A grant for a service replaces the grant for all services, for that
service: it can add actions and it can take them away.
"""

from dataclasses import dataclass
from uuid import UUID

from app.access.principal import FOR_ALL_ONLY, SEES_SERVICE, Action, GrantRule, Principal
from app.errors import Forbidden


def allows(principal: Principal, action: Action, service_id: UUID | None) -> bool:
    """Whether the principal may do `action` with this service; None asks for the grant for all services.

    None is also the answer to ask for where the service does not exist, or exists no more. Roles, API keys and
    templates are of no service: for their actions the grant for all services decides, whichever service is asked for.
    """
    rule = rule_for(principal, None if action in FOR_ALL_ONLY else service_id)
    return rule is not None and action in rule.actions


def rule_for(principal: Principal, service_id: UUID | None) -> GrantRule | None:
    """The rule for this service, else the one for all services."""
    for_all = None
    for rule in principal.grants:
        if rule.service_id == service_id:
            return rule
        if rule.service_id is None:
            for_all = rule
    return for_all


def require(principal: Principal, action: Action, service_id: UUID | None) -> None:
    """Return if `allows` says yes, else raise Forbidden.

    The message is the same for every service and for None, so that it does not tell whether a service exists.
    """
    if not allows(principal, action, service_id):
        raise Forbidden(not_granted(principal, action))


def not_granted(principal: Principal, action: Action) -> str:
    """The sentence for a service with which `action` is not allowed, or that does not exist."""
    return f"Access Forbidden. The role {principal.role_name!r} is not granted {action} for this service."


def require_for_all(principal: Principal, action: Action) -> None:
    """Return if `action` is granted for all services, else raise Forbidden.

    New services need MANAGE_SERVICES in this way, roles and API keys MANAGE_ACCESS, templates MANAGE_TEMPLATES.
    """
    if not allows(principal, action, None):
        raise Forbidden(f"Access Forbidden. The role {principal.role_name!r} is not granted {action} for all services.")


def require_manage(by: Principal | None, action: Action) -> None:
    """As `require_for_all`, for who changes something; the operator at the machine, None, may everything."""
    if by is not None:
        require_for_all(by, action)


def owns(principal: Principal, role_id: UUID | None) -> bool:
    """Whether what this role sent is the principal's own; to a browser key, which everybody has, nothing is."""
    return principal.browser is None and principal.role_id == role_id


def require_intervene(principal: Principal, service_id: UUID | None, *, own: bool) -> None:
    """Return if the principal may cancel, hold or otherwise change accepted mail of this service, else raise Forbidden.

    MANAGE_SERVICES allows it for all mail of the service, SEND for `own`: what the same role sent.
    """
    may_send_own = own and allows(principal, Action.SEND, service_id)
    if not may_send_own and not allows(principal, Action.MANAGE_SERVICES, service_id):
        raise Forbidden(not_granted(principal, Action.SEND if own else Action.MANAGE_SERVICES))


@dataclass(frozen=True, slots=True)
class ServiceScope:
    """Which services an action is allowed with, in a form that a query can filter by.

    `all` false: only `service_ids`. `all` true: every service but `service_ids`, and what has no service any more.
    """

    all: bool
    service_ids: frozenset[UUID]

    def includes(self, service_id: UUID | None) -> bool:
        """Whether the service is in the scope; None stands for a service that exists no more."""
        return (service_id in self.service_ids) is not self.all


def visible_services(principal: Principal, *actions: Action) -> ServiceScope:
    """The services for which `allows(principal, action, service)` holds with any of the actions."""

    def visible(service_id: UUID | None) -> bool:
        return any(allows(principal, action, service_id) for action in actions)

    everywhere = visible(None)
    named = (rule.service_id for rule in principal.grants if rule.service_id is not None)
    return ServiceScope(everywhere, frozenset(key for key in named if visible(key) is not everywhere))


def sees_service(principal: Principal, service_id: UUID) -> bool:
    """Whether the principal may read this service, its password excepted."""
    return visible_services(principal, *SEES_SERVICE).includes(service_id)
