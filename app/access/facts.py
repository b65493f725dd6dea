"""What the audit log tells of roles and API keys. Pure."""

from collections.abc import Mapping, Sequence

from app.access.browser import browser_rules_of
from app.access.check import GrantValues, granted_service
from app.access.models import ApiKey, Role
from app.access.restrictions import stored_restrictions
from app.audit.diff import Secret
from app.audit.record import Subject
from app.limits.recipients import RecipientLimits, given_limits


def role_subject(role: Role) -> Subject:
    """The role, as an audit entry names it."""
    return Subject("role", role.id, role.name)


def role_facts(role: Role, grants: Sequence[GrantValues] | None = None) -> Mapping[str, object]:
    """The role by the names of its GraphQL fields; its grants, where they are given."""
    facts: dict[str, object] = {
        "name": role.name,
        "description": role.description,
        "isActive": role.is_active,
        "limits": _limit_facts(given_limits(vars(role))) or None,
    }
    return facts if grants is None else facts | {"grants": sorted(map(_grant_facts, grants), key=str)}


def key_subject(key: ApiKey) -> Subject:
    """The API key, as an audit entry names it."""
    return Subject("key", key.id, key.name)


def key_facts(key: ApiKey, role_name: str) -> Mapping[str, object]:
    """The API key by the names of its GraphQL fields."""
    return {
        "name": key.name,
        "role": role_name,
        "key": Secret(key.digest),
        "prefix": key.prefix,
        "expiresAt": key.expires_at,
        "revokedAt": key.revoked_at,
        "previousPrefix": key.previous_prefix,
        "previousExpiresAt": key.previous_expires_at,
        "allowedNetworks": key.allowed_networks,
        "limits": _limit_facts(given_limits(vars(key))) or None,
        "browser": _browser_facts(key),
    }


def _browser_facts(key: ApiKey) -> Mapping[str, object] | None:
    rules = browser_rules_of(vars(key))
    if rules is None:
        return None
    return {
        "origins": rules.origins,
        "templates": rules.templates,
        "recipients": rules.recipients,
        "replyToFromVisitor": rules.visitor_reply_to,
        "limitsPerClientAddress": _limit_facts(rules.limits),
    }


def _grant_facts(grant: GrantValues) -> dict[str, object]:
    facts: dict[str, object] = {"service": granted_service(grant), "actions": sorted(grant.actions)}
    if restrictions := stored_restrictions(grant.restrictions):
        facts["restrictions"] = restrictions
    if limits := _limit_facts(grant.limits):
        facts["limits"] = limits
    return facts


def _limit_facts(limits: RecipientLimits) -> dict[str, int]:
    named = {"perMinute": limits.per_minute, "perHour": limits.per_hour, "perDay": limits.per_day}
    return {name: limit for name, limit in named.items() if limit is not None}
