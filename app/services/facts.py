"""What the audit log tells of services. Pure."""

from app.audit.diff import Secret
from app.audit.record import Subject
from app.services.models import Service

_FIELDS = {
    "name": "name",
    "kind": "kind",
    "label": "label",
    "description": "description",
    "is_active": "isActive",
    "host": "host",
    "port": "port",
    "encryption": "encryption",
    "username": "username",
    "clear_text_auth": "clearTextAuth",
    "trusted_ca": "trustedCa",
    "from_email": "fromEmail",
    "from_name": "fromName",
    "reply_to_email": "replyToEmail",
    "reply_to_name": "replyToName",
    "respond_async": "respondAsync",
    "max_connections": "maxConnections",
    "messages_per_second": "messagesPerSecond",
    "recipients_per_minute": "recipientsPerMinute",
    "recipients_per_hour": "recipientsPerHour",
    "recipients_per_day": "recipientsPerDay",
    "fallbacks": "fallbacks",
    "is_managed": "isManaged",
    "paused_at": "pausedAt",
    "paused_reason": "pausedReason",
}


def service_subject(service: Service) -> Subject:
    """The service, as an audit entry names it."""
    return Subject("svc", service.id, service.name)


def service_facts(service: Service) -> dict[str, object]:
    """The service by the names of its GraphQL fields, the password as a secret."""
    facts: dict[str, object] = {field: getattr(service, column) for column, field in _FIELDS.items()}
    return facts | {"password": Secret(service.sealed_password)}
