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
    "provider": "provider",
    "region": "region",
    "host": "host",
    "port": "port",
    "encryption": "encryption",
    "username": "username",
    "oauth2_grant": "oauth2Grant",
    "oauth2_client_id": "oauth2ClientId",
    "oauth2_tenant": "oauth2Tenant",
    "oauth2_scope": "oauth2Scope",
    "oauth2_token_endpoint": "oauth2TokenEndpoint",
    "clear_text_auth": "clearTextAuth",
    "trusted_ca": "trustedCa",
    "from_email": "fromEmail",
    "from_name": "fromName",
    "reply_to_email": "replyToEmail",
    "reply_to_name": "replyToName",
    "respond_async": "respondAsync",
    "max_connections": "maxConnections",
    "max_recipients_per_transaction": "maxRecipientsPerTransaction",
    "messages_per_second": "messagesPerSecond",
    "recipients_per_minute": "recipientsPerMinute",
    "recipients_per_hour": "recipientsPerHour",
    "recipients_per_day": "recipientsPerDay",
    "fallbacks": "fallbacks",
    "is_managed": "isManaged",
    "paused_at": "pausedAt",
    "paused_reason": "pausedReason",
}


SECRET_FACTS = {
    "sealed_password": "password",
    "sealed_client_secret": "clientSecret",
    "sealed_refresh_token": "refreshToken",
    "sealed_private_key": "privateKey",
}
"""What the log calls that which is sealed in a column."""


def service_subject(service: Service) -> Subject:
    """The service, as an audit entry names it."""
    return Subject("svc", service.id, service.name)


def service_facts(service: Service) -> dict[str, object]:
    """The service by the names of its GraphQL fields, what is sealed as secrets."""
    facts: dict[str, object] = {field: getattr(service, column) for column, field in _FIELDS.items()}
    return facts | {field: Secret(getattr(service, column)) for column, field in SECRET_FACTS.items()}
