"""The table of SMTP services."""

from enum import StrEnum

from tortoise import fields
from tortoise.models import Model

from app.database.key import new_key


class ServiceKind(StrEnum):
    """SMTP: a real server. SANDBOX: delivers into the built-in inbox, so that nothing leaves the machine."""

    SMTP = "SMTP"
    SANDBOX = "SANDBOX"


class Service(Model):
    """One named SMTP account. `version` grows with every change, so that warm connections can be told stale.

    `provider` and `region` are what it was filled in from. While `paused_at` is set, mail is accepted and kept; nothing
    of it is tried. Limits are null where there is none; for `max_connections` and `max_recipients_per_transaction`,
    where the setting holds. `respond_async`: the REST route answers 202 without waiting for the verdict. `fallbacks`:
    the ids of the services by which its mail leaves while its server cannot be talked to, in this order; null for none.
    Those that were deleted may still be in it. `is_managed`: the environment (MAIL_*) says what it is, and nobody else
    changes it. `announced_size`: what the server last said about SIZE; null where it said nothing, or was not asked.
    """

    id = fields.UUIDField(primary_key=True, default=new_key)
    name = fields.CharField(max_length=40)
    label = fields.CharField(max_length=128, null=True)
    description: fields.Field[str | None] = fields.TextField(null=True)  # type: ignore[assignment]
    kind = fields.CharField(max_length=16)
    is_active = fields.BooleanField(default=True)
    provider = fields.CharField(max_length=32, null=True)
    region = fields.CharField(max_length=32, null=True)
    host = fields.CharField(max_length=255, null=True)
    port = fields.IntField(null=True)
    encryption = fields.CharField(max_length=8)
    username = fields.CharField(max_length=255, null=True)
    sealed_password: fields.Field[str | None] = fields.TextField(null=True)  # type: ignore[assignment]
    oauth2_grant = fields.CharField(max_length=40, null=True)
    oauth2_client_id = fields.CharField(max_length=255, null=True)
    oauth2_tenant = fields.CharField(max_length=255, null=True)
    oauth2_scope = fields.CharField(max_length=500, null=True)
    oauth2_token_endpoint = fields.CharField(max_length=500, null=True)
    sealed_client_secret: fields.Field[str | None] = fields.TextField(null=True)  # type: ignore[assignment]
    sealed_refresh_token: fields.Field[str | None] = fields.TextField(null=True)  # type: ignore[assignment]
    sealed_private_key: fields.Field[str | None] = fields.TextField(null=True)  # type: ignore[assignment]
    clear_text_auth = fields.BooleanField(default=False)
    trusted_ca: fields.Field[str | None] = fields.TextField(null=True)  # type: ignore[assignment]
    from_email = fields.CharField(max_length=320, null=True)
    from_name = fields.CharField(max_length=256, null=True)
    reply_to_email = fields.CharField(max_length=320, null=True)
    reply_to_name = fields.CharField(max_length=256, null=True)
    max_connections = fields.IntField(null=True)
    max_recipients_per_transaction = fields.IntField(null=True)
    messages_per_second = fields.FloatField(null=True)
    recipients_per_minute = fields.IntField(null=True)
    recipients_per_hour = fields.IntField(null=True)
    recipients_per_day = fields.IntField(null=True)
    respond_async = fields.BooleanField(default=False, db_default=False)
    fallbacks: fields.Field[list[str] | None] = fields.JSONField(null=True)
    is_managed = fields.BooleanField(default=False, db_default=False)
    announced_size = fields.BigIntField(null=True)
    paused_at = fields.DatetimeField(null=True)
    paused_reason: fields.Field[str | None] = fields.TextField(null=True)  # type: ignore[assignment]
    version = fields.IntField(default=1)
    created_at = fields.DatetimeField()
    updated_at = fields.DatetimeField()

    class Meta:
        table = "service"


class AccessToken(Model):
    """The access token of a service that has one, for all workers; who requests another one holds the lease.

    It is good until `expires_at`, and from `refresh_at` on somebody requests the next one.
    """

    service: fields.OneToOneRelation[Service] = fields.OneToOneField(
        "heliograph.Service", related_name="access_token", primary_key=True, on_delete=fields.CASCADE
    )
    sealed_token: fields.Field[str | None] = fields.TextField(null=True)  # type: ignore[assignment]
    refresh_at = fields.DatetimeField(null=True)
    expires_at = fields.DatetimeField(null=True)
    lease_owner = fields.UUIDField(null=True)
    lease_until = fields.DatetimeField(null=True)

    class Meta:
        table = "access_token"


class Circuit(Model):
    """What is known against a service's server. A service without a row may be talked to freely.

    `opened_at` and what follows it are null where new credentials are only to be proven: nothing is known against them.
    Nothing is tried before `probe_at`, no AUTH before `auth_after`.
    """

    service: fields.OneToOneRelation[Service] = fields.OneToOneField(
        "heliograph.Service", related_name="circuit", primary_key=True, on_delete=fields.CASCADE
    )
    opened_at = fields.DatetimeField(null=True)
    reason: fields.Field[str | None] = fields.TextField(null=True)  # type: ignore[assignment]
    reply_code = fields.IntField(null=True)
    reply_enhanced = fields.CharField(max_length=16, null=True)
    reply_text: fields.Field[str | None] = fields.TextField(null=True)  # type: ignore[assignment]
    probe_at = fields.DatetimeField()
    auth_after = fields.DatetimeField()

    class Meta:
        table = "circuit"
