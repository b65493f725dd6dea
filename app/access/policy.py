"""What a principal may do. Pure.

Nothing is allowed that no grant allows. A grant for a service replaces the grant for all services, for that
service: it can add actions and it can take them away.
"""

from dataclasses import dataclass
from uuid import UUID

from app.access.principal import Action, GrantRule, Principal
from app.errors import Forbidden


def allows(principal: Principal, action: Action, service_id: UUID | None) -> bool:
    """Whether the principal may do `action` with this service; None asks for the grant for all services.

    None is also the answer to ask for where the service does not exist, or exists no more.
    """
    rule = _rule_for(principal, service_id) or _rule_for(principal, None)
    return rule is not None and action in rule.actions


def require(principal: Principal, action: Action, service_id: UUID | None) -> None:
    """Return if `allows` says yes, else raise Forbidden.

    The message is the same for every service and for None, so that it does not tell whether a service exists.
    """
    if not allows(principal, action, service_id):
        raise Forbidden(f"Access Forbidden. The role {principal.role_name!r} is not granted {action} for this service.")


def require_for_all(principal: Principal, action: Action) -> None:
    """Return if `action` is granted for all services, else raise Forbidden.

    Roles, API keys and new services need MANAGE in this way.
    """
    if not allows(principal, action, None):
        raise Forbidden(f"Access Forbidden. The role {principal.role_name!r} is not granted {action} for all services.")


def require_intervene(principal: Principal, service_id: UUID | None, *, own: bool) -> None:
    """Return if the principal may cancel, hold or otherwise change accepted mail of this service, else raise Forbidden.

    MANAGE allows it for all mail of the service, SEND for `own`: what the same role sent.
    """
    if not allows(principal, Action.MANAGE, service_id) and not (own and allows(principal, Action.SEND, service_id)):
        needed = Action.SEND if own else Action.MANAGE
        raise Forbidden(f"Access Forbidden. The role {principal.role_name!r} is not granted {needed} for this service.")


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


def visible_services(principal: Principal, action: Action) -> ServiceScope:
    """The services for which `allows(principal, action, service)` holds."""
    everywhere = allows(principal, action, None)
    exceptions = (
        rule.service_id
        for rule in principal.grants
        if rule.service_id is not None and (action in rule.actions) is not everywhere
    )
    return ServiceScope(everywhere, frozenset(exceptions))


def _rule_for(principal: Principal, service_id: UUID | None) -> GrantRule | None:
    return next((rule for rule in principal.grants if rule.service_id == service_id), None)
