"""A message that was accepted just now, as `lookup` would find it."""

from datetime import datetime

from app.queue.lookup import StoredMessage
from app.queue.put import NewMessage
from app.queue.states import MessageState


def as_stored(message: NewMessage, moment: datetime) -> StoredMessage:
    """The row that accepting it at `moment` has made, before anybody has touched it."""
    template = message.template
    return StoredMessage(
        id=message.id,
        service_id=message.service_id,
        service_name=message.service_name,
        state=MessageState.QUEUED,
        message_id_header=message.message_id_header,
        from_email=message.sender.email,
        from_name=message.sender.name,
        subject=message.subject,
        metadata=message.metadata,
        tags=message.tags,
        size_bytes=len(message.content),
        priority=message.schedule.priority,
        on_doubt=message.on_doubt,
        template_id=template.id if template else None,
        template_name=template.name if template else None,
        template_version=template.version if template else None,
        scheduled_at=message.schedule.send_at,
        expires_at=message.schedule.expires_at,
        created_at=moment,
        settled_at=None,
    )
