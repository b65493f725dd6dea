"""What the audit log tells of roles and API keys. Pure."""

from collections.abc import Mapping, Sequence

from app.access.check import GrantValues, granted_service
from app.access.models import ApiKey, Role
from app.audit.diff import Secret
from app.audit.record import Subject


def role_subject(role: Role) -> Subject:
    """The role, as an audit entry names it."""
    return Subject("role", role.id, role.name)


def role_facts(role: Role, grants: Sequence[GrantValues] | None = None) -> Mapping[str, object]:
    """The role by the names of its GraphQL fields; its grants, where they are given."""
    facts: dict[str, object] = {"name": role.name, "description": role.description, "isActive": role.is_active}
    if grants is None:
        return facts
    told = [{"service": granted_service(grant), "actions": sorted(grant.actions)} for grant in grants]
    return facts | {"grants": sorted(told, key=str)}


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
    }
