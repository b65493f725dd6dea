"""What the obvious builds store of a mail, by Tortoise: one row, one transaction."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import ModuleType
from typing import Any
from uuid import UUID, uuid4

from starlette.applications import Starlette
from tortoise import Tortoise, fields
from tortoise.models import Model


class Mail(Model):
    """A mail that was asked for."""

    id = fields.UUIDField(primary_key=True)
    recipient = fields.CharField(max_length=320)
    subject = fields.CharField(max_length=998)
    state = fields.CharField(max_length=16)
    body: fields.Field[Mapping[str, Any]] = fields.JSONField()
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "mail"


Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def storing(url: str) -> Lifespan:
    """A lifespan with the database open, its table made."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        modules: dict[str, Iterable[str | ModuleType]] = {"models": ["benchmarks.peers.stored"]}
        await Tortoise.init(db_url=url, modules=modules, _enable_global_fallback=True)
        await Tortoise.generate_schemas()
        yield
        await Tortoise.close_connections()

    return lifespan


async def store(recipient: str, subject: str, body: Mapping[str, Any]) -> UUID:
    """Returns the id, once the row is committed."""
    made = await Mail.create(id=uuid4(), recipient=recipient, subject=subject, state="QUEUED", body=body)
    return made.id
