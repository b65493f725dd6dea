"""Run the inbox's receiver, and store what arrives before its 250 is said."""

import json
import secrets
from uuid import UUID

from app.clock import now
from app.database.connection import execute
from app.database.finish import finish
from app.database.key import new_key
from app.inbox.read import first_fields
from app.inbox.receiver import ReceivedMail, Receiver
from app.outbound.guard import LOOPBACK, Guard
from app.smtp.server import Credentials, Encryption, Server

_MESSAGE_ID_CHARS = 255


class Inbox:
    """The loopback receiver of one worker process. Only that process knows its password, so that nobody else on
    the machine can put mail into the inbox; the user name is the id of the SANDBOX service."""

    def __init__(self, max_message_bytes: int) -> None:
        self._password = secrets.token_urlsafe(32)
        self._receiver = Receiver(
            hostname="sandbox.invalid", credentials=self._check, on_mail=_store, max_bytes=max_message_bytes
        )

    async def start(self) -> None:
        """Listen on a free loopback port."""
        await self._receiver.start()

    async def stop(self) -> None:
        """Stop listening."""
        await self._receiver.stop()

    def server_for(self, service_id: UUID, client_name: str) -> Server:
        """The server that a SANDBOX service means in this process."""
        return Server(
            host=self._receiver.host,
            port=self._receiver.port,
            encryption=Encryption.NONE,
            client_name=client_name,
            credentials=Credentials(service_id.hex, self._password),
            guard=Guard(LOOPBACK),
        )

    def _check(self, username: str, password: str) -> bool:
        return secrets.compare_digest(password.encode(), self._password.encode())


async def _store(mail: ReceivedMail) -> None:
    assert mail.username is not None, "the receiver requires AUTH"
    message_id, sender, subject = first_fields(mail.content, "Message-ID", "From", "Subject")
    await finish(
        execute(
            "INSERT INTO captured_mail (id, service_id, received_at, reverse_path, recipients, message_id_header,"
            " sender, subject, size_bytes, octets) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            new_key(),
            UUID(hex=mail.username),
            now(),
            mail.reverse_path,
            json.dumps(mail.recipients),
            message_id[:_MESSAGE_ID_CHARS] if message_id else None,
            sender,
            subject,
            len(mail.content),
            mail.content,
        )
    )
