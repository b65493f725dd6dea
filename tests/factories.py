"""Rows that many tests need, made as the application makes them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from app.access.api_keys import create_api_key
from app.access.authenticate import authenticate
from app.access.check import GrantValues, RoleValues
from app.access.manage import create_role
from app.access.principal import Action, Principal
from app.database.connection import as_moment, close_database, open_database, rows
from app.database.key import new_key
from app.first_start import first_start
from app.mail.address import Mailbox
from app.mail.envelope import EnvelopeRecipient
from app.queue.content import load_content
from app.queue.put import NewMessage
from app.services.models import Service
from app.services.secret import sealer_from
from app.settings import Settings

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
"""An explicit clock starts here."""

EVERYTHING = (GrantValues(None, [action.value for action in Action]),)


def after(seconds: float) -> datetime:
    """So many seconds after NOW."""
    return NOW + timedelta(seconds=seconds)


async def make_first_start(settings: Settings) -> str:
    """What `serve` makes in a database that is new, and here not open: a SANDBOX service `email`, and the admin key,
    which is returned."""
    await open_database(settings)
    try:
        made = await first_start(settings, sealer_from(settings))
    finally:
        await close_database()
    assert made is not None
    assert made.admin_key is not None
    return made.admin_key


async def make_service(name: str = "email", **columns: Any) -> Service:
    """A SANDBOX service, unless the columns say otherwise."""
    values = {"kind": "SANDBOX", "encryption": "NONE", "created_at": NOW, "updated_at": NOW, **columns}
    return await Service.create(name=name, **values)


async def make_key(name: str = "mailer", grants: Sequence[GrantValues] = EVERYTHING, *, is_active: bool = True) -> str:
    """The text of a new API key, of a new role with these grants."""
    role = await create_role(RoleValues(name, None, is_active, tuple(grants)), None)
    return (await create_api_key(role.id, f"{name} key", None, None))[1]


async def make_principal(name: str = "mailer", grants: Sequence[GrantValues] = EVERYTHING) -> Principal:
    """A new role with these grants, as a request with its key shows it."""
    return await authenticate(await make_key(name, grants))


def new_message(service: Service, principal: Principal, *emails: str, **fields: Any) -> NewMessage:
    """A mail from ada@example.com to `emails` (default: one), ready to be put."""
    key = new_key()
    values: dict[str, Any] = {
        "id": key,
        "service_id": service.id,
        "service_name": service.name,
        "role_id": principal.role_id,
        "api_key_id": principal.api_key_id,
        "message_id_header": f"<{key.hex}@example.com>",
        "reverse_path": "ada@example.com",
        "smtputf8": False,
        "sender": Mailbox("ada@example.com", "Ada"),
        "subject": "Hello",
        "recipients": [EnvelopeRecipient("to", email, None, email) for email in emails or ("bob@example.com",)],
        "content": b"Subject: Hello\r\n\r\nIt works.\r\n",
    }
    return NewMessage(**{**values, **fields})


async def count(table: str) -> int:
    """How many rows the table has."""
    found = await rows(f"SELECT COUNT(*) AS rows FROM {table}")
    return int(found[0]["rows"])


async def message_row(message_id: UUID) -> dict[str, Any]:
    """The message's row, its moments decoded."""
    (row,) = await rows("SELECT * FROM message WHERE id = $1", message_id)
    moments = ("scheduled_at", "expires_at", "due_at", "lease_until", "claimed_at", "created_at", "settled_at")
    return {**row, **{name: as_moment(row[name]) for name in moments}}


async def stored_content(message_id: UUID) -> bytes:
    """The final bytes of the message, however they are stored."""
    content = await load_content(message_id)
    return content if isinstance(content, bytes) else b"".join([piece async for piece in content.pieces()])


async def recipient_states(message_id: UUID) -> list[str]:
    """The states of the message's recipients, in their order."""
    found = await rows("SELECT state FROM recipient WHERE message_id = $1 ORDER BY position", message_id)
    return [row["state"] for row in found]
