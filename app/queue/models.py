"""The tables of accepted mail. Hot paths use plain SQL on them; the models define columns and migrations."""

from typing import Any

from tortoise import fields
from tortoise.models import Model

from app.access.models import ApiKey, Role
from app.database.key import new_key
from app.services.models import Service


class Message(Model):
    """One accepted mail. `state` is always what `states.message_state` derives from the recipients.

    `due_at` is when a worker should next look at it: null once every recipient is settled; the end of the
    lease while a worker holds it, so that a dead worker's mail becomes due by itself. `fence` grows with
    every claim; a result is written only by the holder of the current number. `verdict_awaited`: a client
    still waits for the first attempt's verdict, so a fault of the service fails the mail instead of deferring it.
    `scheduled_at` and `expires_at` are the author's: not tried before the one, nor from the other on. `crashes`: how
    often in a row a worker was lost with it. `template_*`: what it was made from; kept when the template is deleted.
    `route_id`: the service by which it leaves, its own or one of its `fallbacks`, which its author may send with too;
    `route_reason` then says why. See `route`.
    """

    id = fields.UUIDField(primary_key=True, default=new_key)
    service: fields.ForeignKeyNullableRelation[Service] = fields.ForeignKeyField(
        "heliograph.Service", related_name="messages", null=True, on_delete=fields.SET_NULL
    )
    service_name = fields.CharField(max_length=40)
    route_id = fields.UUIDField(null=True)
    route_reason: fields.Field[str | None] = fields.TextField(null=True)  # type: ignore[assignment]
    fallbacks: fields.Field[list[str] | None] = fields.JSONField(null=True)
    role: fields.ForeignKeyNullableRelation[Role] = fields.ForeignKeyField(
        "heliograph.Role", related_name="messages", null=True, on_delete=fields.SET_NULL
    )
    api_key: fields.ForeignKeyNullableRelation[ApiKey] = fields.ForeignKeyField(
        "heliograph.ApiKey", related_name="messages", null=True, on_delete=fields.SET_NULL
    )
    state = fields.CharField(max_length=16)
    priority = fields.SmallIntField(default=1)
    message_id_header = fields.CharField(max_length=255)
    reverse_path = fields.CharField(max_length=320)
    smtputf8 = fields.BooleanField(default=False)
    from_email = fields.CharField(max_length=320)
    from_name = fields.CharField(max_length=256, null=True)
    subject = fields.TextField(null=True)
    metadata: fields.JSONField[dict[str, Any]] = fields.JSONField()
    tags: fields.JSONField[list[str]] = fields.JSONField()
    size_bytes = fields.IntField()
    verdict_awaited = fields.BooleanField(default=False)
    on_doubt = fields.CharField(max_length=8, default="retry", db_default="retry")
    template_id = fields.UUIDField(null=True)
    template_name = fields.CharField(max_length=128, null=True)
    template_version = fields.IntField(null=True)
    scheduled_at = fields.DatetimeField(null=True)
    expires_at = fields.DatetimeField(null=True)
    due_at = fields.DatetimeField(null=True)
    lease_owner = fields.UUIDField(null=True)
    lease_until = fields.DatetimeField(null=True)
    fence = fields.IntField(default=0)
    claimed_at = fields.DatetimeField(null=True)
    crashes = fields.IntField(default=0, db_default=0)
    created_at = fields.DatetimeField()
    settled_at = fields.DatetimeField(null=True)

    class Meta:
        table = "message"


class Content(Model):
    """The final bytes of a message: header section and body, CRLF line ends, 7-bit. Never changed."""

    message: fields.OneToOneRelation[Message] = fields.OneToOneField(
        "heliograph.Message", related_name="content", primary_key=True, on_delete=fields.CASCADE
    )
    octets = fields.BinaryField()

    class Meta:
        table = "message_content"


class LargeContent(Model):
    """The content of a message that is stored in slices; of no message until that is accepted, or if it never is."""

    id = fields.UUIDField(primary_key=True, default=new_key)
    message: fields.ForeignKeyNullableRelation[Message] = fields.ForeignKeyField(
        "heliograph.Message", related_name="large_contents", null=True, on_delete=fields.CASCADE
    )
    begun_at = fields.DatetimeField()

    class Meta:
        table = "large_content"


class ContentSlice(Model):
    """Octets of a large content: its slices, in the order of their numbers from 0, are the whole of it."""

    id = fields.UUIDField(primary_key=True, default=new_key)
    content: fields.ForeignKeyRelation[LargeContent] = fields.ForeignKeyField(
        "heliograph.LargeContent", related_name="slices", on_delete=fields.CASCADE
    )
    number = fields.IntField()
    octets = fields.BinaryField()

    class Meta:
        table = "content_slice"


class Recipient(Model):
    """One recipient of one message. `address` is the wire form of `email`. `reply_*` is the last SMTP reply;
    `detail` says what happened where there was no reply. `tried_since`: when the attempts began that did not get it
    sent so far; the give-up age counts from it. Null before, and after someone intervened. `in_doubt`: the final dot
    may have been said since it was claimed; written down only for mail that is to fail in doubt."""

    id = fields.UUIDField(primary_key=True, default=new_key)
    message: fields.ForeignKeyRelation[Message] = fields.ForeignKeyField(
        "heliograph.Message", related_name="recipients", on_delete=fields.CASCADE
    )
    position = fields.IntField()
    kind = fields.CharField(max_length=3)
    email = fields.CharField(max_length=320)
    name = fields.CharField(max_length=256, null=True)
    address = fields.CharField(max_length=320)
    state = fields.CharField(max_length=16)
    attempt_number = fields.IntField(default=0)
    tried_since = fields.DatetimeField(null=True)
    in_doubt = fields.BooleanField(default=False, db_default=False)
    due_at = fields.DatetimeField(null=True)
    reply_code = fields.IntField(null=True)
    reply_enhanced = fields.CharField(max_length=16, null=True)
    reply_text = fields.TextField(null=True)
    detail = fields.TextField(null=True)
    settled_at = fields.DatetimeField(null=True)

    class Meta:
        table = "recipient"


class Attempt(Model):
    """One attempt at one recipient: when, by which worker, how far it came, what was answered.

    `service_*` and `fallback_reason` are set where it went by a fallback, and not by the message's own service. The
    table's own key is `message_id` and `id`: attempts are found by their message.
    """

    id = fields.UUIDField(primary_key=True, default=new_key)
    message: fields.ForeignKeyRelation[Message] = fields.ForeignKeyField(
        "heliograph.Message", related_name="attempts", on_delete=fields.CASCADE
    )
    recipient: fields.ForeignKeyRelation[Recipient] = fields.ForeignKeyField(
        "heliograph.Recipient", related_name="attempts", on_delete=fields.CASCADE, db_constraint=False
    )
    number = fields.IntField()
    worker_id = fields.UUIDField()
    service_id = fields.UUIDField(null=True)
    service_name = fields.CharField(max_length=40, null=True)
    fallback_reason: fields.Field[str | None] = fields.TextField(null=True)  # type: ignore[assignment]
    started_at = fields.DatetimeField()
    finished_at = fields.DatetimeField()
    outcome = fields.CharField(max_length=16)
    phase = fields.CharField(max_length=16, null=True)
    in_doubt = fields.BooleanField(default=False)
    reply_code = fields.IntField(null=True)
    reply_enhanced = fields.CharField(max_length=16, null=True)
    reply_text = fields.TextField(null=True)
    detail = fields.TextField(null=True)

    class Meta:
        table = "attempt"


class IdempotencyKey(Model):
    """The key of an accepted request, the digest of that request, and the message it made."""

    id = fields.UUIDField(primary_key=True, default=new_key)
    role: fields.ForeignKeyRelation[Role] = fields.ForeignKeyField(
        "heliograph.Role", related_name="idempotency_keys", on_delete=fields.CASCADE
    )
    key = fields.CharField(max_length=256)
    digest = fields.CharField(max_length=64)
    message: fields.ForeignKeyRelation[Message] = fields.ForeignKeyField(
        "heliograph.Message", related_name="idempotency_keys", on_delete=fields.CASCADE
    )
    created_at = fields.DatetimeField()

    class Meta:
        table = "idempotency_key"


class Worker(Model):
    """A running worker process and its last sign of life."""

    id = fields.UUIDField(primary_key=True, default=new_key)
    hostname = fields.CharField(max_length=255)
    pid = fields.IntField()
    started_at = fields.DatetimeField()
    beat_at = fields.DatetimeField()

    class Meta:
        table = "worker"
