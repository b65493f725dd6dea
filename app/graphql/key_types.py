"""The output type of API keys."""

from datetime import datetime
from typing import Self

import strawberry

from app.access import models
from app.database.key import public_id
from app.graphql.browser_key import BrowserKey
from app.graphql.recipient_limits import RecipientLimits
from app.graphql.types import Node


@strawberry.type(description="An API key. The key itself is shown once, when it is made.")
class ApiKey(Node):
    name: str = strawberry.field(description="A name for people.")
    prefix: str = strawberry.field(description="The first characters of the key, to recognise it by.")
    role_id: strawberry.ID = strawberry.field(description="Id of the role whose grants the key has.")
    limits: RecipientLimits = strawberry.field(description="Rate limits of this key alone, below those of its role.")
    browser: BrowserKey | None = strawberry.field(description="What a browser key is bound to; null: it is none.")
    created_at: datetime = strawberry.field(description="When it was made.")
    expires_at: datetime | None = strawberry.field(description="From when on it opens nothing.")
    revoked_at: datetime | None = strawberry.field(description="When it was revoked.")
    last_used_at: datetime | None = strawberry.field(
        description="When its present secret was last used, to within a minute; null after a rotation until it is."
    )
    previous_prefix: str | None = strawberry.field(
        description="The first characters of the secret that the last rotation replaced."
    )
    previous_expires_at: datetime | None = strawberry.field(
        description="From when on the secret before the present one opens nothing."
    )
    previous_last_used_at: datetime | None = strawberry.field(
        description="When the secret before the present one was last used, to within a minute."
    )
    allowed_networks: list[str] = strawberry.field(
        description="The only networks and addresses it may be used from; empty: it may be from anywhere."
    )

    @classmethod
    def of(cls, row: models.ApiKey) -> Self:
        return cls(
            id=strawberry.ID(public_id("key", row.id)),
            name=row.name,
            prefix=row.prefix,
            role_id=strawberry.ID(public_id("role", row.role_id)),
            limits=RecipientLimits.of(row),
            browser=BrowserKey.of(row),
            created_at=row.created_at,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
            last_used_at=row.last_used_at,
            previous_prefix=row.previous_prefix,
            previous_expires_at=row.previous_expires_at,
            previous_last_used_at=row.previous_last_used_at,
            allowed_networks=list(row.allowed_networks or ()),
        )
